"""Which measurements a run's configuration asks for, and which of them are still to be made.

measure=full is all of them, of every snapshot; measure=quick leaves out what is estimated
(in FLOPs) to take more than a tenth of the training, and earlier snapshots.

    for task in pending(experiment): ...
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.store import checkpoints
from bench.core.store.rows import result_path
from bench.core.store.runs import COST, find_run, is_readable, read_part
from bench.core.train.cost import flops_until
from bench.training.experiment import Experiment
from probes.heldout import REPEATS

KINDS = ("heldout", "samples", "features")
PROBE_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
SHARE = 0.1  # of the training's FLOPs: what measure=quick may spend on one measurement


@dataclass(frozen=True)
class Task:
    """One kind of measurement of one snapshot, and its estimated FLOPs."""

    kind: str
    images: int
    flops: float


def all_tasks(experiment: Experiment) -> list[Task]:
    """Every measurement that measure=full would make, by snapshot that is there;
    needs a trained run's folder.
    """
    cfg, path = experiment.cfg, experiment.path
    forward = read_part(path, COST).get("forward_flops", 0.0)
    run = find_run(path)
    sizes = (run.data_sizes if run else {}) or {"train": 0, "heldout": 0}
    evaluations = sampling_protocol(cfg.evaluation.protocol).evaluations
    flops = {
        "heldout": forward * min(sizes["heldout"], 50_000) * REPEATS,
        "samples": forward * cfg.evaluation.samples * evaluations,
        "features": forward
        * sum(min(n, cfg.evaluation.probe_images) for n in sizes.values())
        * len(PROBE_TIMES),
    }
    counts = [images for images in checkpoints.snapshots(path) if images <= cfg.images]
    last = cfg.evaluation.snapshots == "last"
    return [
        Task(kind, images, flops[kind])
        for images in (counts[-1:] if last else counts)
        for kind in KINDS
        if kind != "features" or images == cfg.images
    ]


def planned(experiment: Experiment) -> tuple[list[Task], list[Task]]:
    """What this configuration's `measure` asks for, and what it leaves out."""
    cfg = experiment.cfg
    tasks = all_tasks(experiment)
    if cfg.measure == "full":
        return tasks, []
    if cfg.measure == "none":
        return [], tasks
    cost = read_part(experiment.path, COST)
    training = flops_until(cost, cfg.images) if cost else 0.0
    small = [task for task in tasks if task.images == cfg.images and task.flops <= SHARE * training]
    return small, [task for task in tasks if task not in small]


def pending(experiment: Experiment) -> list[Task]:
    """Planned measurements whose results are not there yet, or are damaged."""
    path = experiment.path
    return [
        task
        for task in planned(experiment)[0]
        if not is_readable(result_path(path, task.kind, task.images))
    ]
