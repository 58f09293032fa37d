"""Measure a run's snapshots: held-out loss, samples (distances, agreement, a picture),
features (probes, CKNNA).

Each kind of measurement of each snapshot is one file in results/, so measuring resumes where it
stopped. What is left out (`measure_plan`) is named with the command that would do it.

    python -m bench.run method=selfflow measure=full
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bench.cli import StopFlag
from bench.config.groups import build, encoder_option
from bench.core.data.base import pictures_of
from bench.core.model.backbone import SiT
from bench.core.model.sampling import block_labels, sample_block, velocity_of
from bench.core.model.sampling_protocol import Protocol, sampling_protocol
from bench.core.store import checkpoints
from bench.core.store.files import file_hash
from bench.core.store.rows import Row, result_path, write_rows
from bench.core.store.runs import (
    COST,
    ENVIRONMENT,
    METRICS_LOG,
    is_readable,
    read_metrics,
    read_part,
    read_run,
    row_table,
)
from bench.core.store.tracking import numbers_of_rows
from bench.core.train.cost import flops_until
from bench.core.train.trainer import Stopped
from bench.evaluation import samples as sample_spool
from bench.evaluation.pictures import picture_grid, save_png
from bench.evaluation.request import KINDS, PROBE_TIMES, Task, pending, planned
from bench.evaluation.samples import SampleSpool
from bench.training.experiment import Experiment
from probes.heldout import heldout_loss


def measure(experiment: Experiment, stop: StopFlag) -> None:
    """Make the pending measurements and declare the run complete.

    Raises Stopped between two of them, and between blocks of samples.
    """
    folder, processes = experiment.folder, experiment.processes
    tasks = pending(experiment)
    total = experiment.cfg.images
    if processes.main:
        folder.status(
            now=True,
            state="running",
            phase="measuring",
            images=total,
            images_total=total,
            seconds_left=None,
            message="",
        )

    def stop_if_asked() -> None:
        if processes.main:
            folder.check_exists()
        if not processes.any(stop.reason is not None):
            return
        reason = processes.first(stop.reason)
        message = f"stopped by {reason} while measuring; the same command goes on"
        if processes.main:
            folder.status(now=True, state="stopped", message=message)
        raise Stopped(reason)

    measurer = _Measurer(experiment, stop_if_asked)
    quiet = not (processes.main and experiment.cfg.compute.progress)
    for task in tqdm(
        tasks, desc="measuring", unit="result", disable=None if not quiet else True, leave=False
    ):
        stop_if_asked()
        try:
            measurer.run(task)
        except (OSError, ValueError) as error:
            reason = error.strerror or error if isinstance(error, OSError) else error
            verb = "stored" if isinstance(error, OSError) else "measured"
            what = f"{task.kind} at {task.images} images could not be {verb} ({reason})"
            if processes.main:
                folder.status(now=True, state="failed", message=what)
            again = f"{what}: mend that and run the same command again, or with measure=none"
            raise (
                OSError(error.errno, again) if isinstance(error, OSError) else ValueError(again)
            ) from error
        if processes.main:
            folder.status()
    left_out = planned(experiment)[1]
    if processes.main:
        for images in checkpoints.snapshots(folder.path):
            if is_readable(result_path(folder.path, "samples", images)):
                sample_spool.remove(
                    folder.path, images
                )  # a kill may have come between the result and this
        folder.status(now=True, state="complete", message="")
        print(summary(experiment))
        if left_out:
            kinds = ", ".join(
                f"{kind} of {n} snapshot(s)"
                for kind in KINDS
                if (n := sum(t.kind == kind for t in left_out))
            )
            words = [word for word in experiment.argv if not word.startswith("measure=")]
            print(
                f"not measured: {kinds}. To do it: "
                f"python -m bench.run {shlex.join([*words, 'measure=full'])}"
            )


class _Measurer:
    """Holds what the measurements of one run share, made when first needed."""

    def __init__(self, experiment: Experiment, stop_if_asked: Callable[[], None]):
        self.experiment, self.cfg, self.stop_if_asked = experiment, experiment.cfg, stop_if_asked
        self.data, self.processes = experiment.data, experiment.processes
        self.cache = Path(self.cfg.cache)
        self._reference: Any = None
        self._lines = (
            read_metrics(experiment.path / METRICS_LOG) if processes_main(experiment) else []
        )

    def run(self, task: Task) -> None:
        """Measure and store; every process samples, the main one computes the rest."""
        path = checkpoints.snapshot_path(self.experiment.path, task.images)
        device = self.processes.device
        backbone = SiT(self.data.grid, self.experiment.size, self.data.classes).to(device)
        checkpoints.load_snapshot(path, backbone)
        backbone.requires_grad_(False)
        digest = file_hash(path)
        measure: dict[str, Callable[..., list[Row]]] = {
            "heldout": self.heldout, "samples": self.samples, "features": self.features,
        }  # fmt: skip
        rows = measure[task.kind](backbone, task.images, digest)
        if self.processes.main:
            self.experiment.folder.check_exists()
            write_rows(
                self.experiment.path,
                task.kind,
                task.images,
                rows,
                self.context(task.images, digest),
            )
            if task.kind == "samples":
                sample_spool.remove(self.experiment.path, task.images)
            self.experiment.track(task.images, numbers_of_rows(rows))
        self.processes.barrier()

    def context(self, images: int, digest: str) -> dict[str, Any]:
        """What was spent until the snapshot, and where."""
        return spent_until(self.experiment.path, images, self._lines) | {
            "snapshot_sha256": digest, "environment": read_part(self.experiment.path, ENVIRONMENT),
        }  # fmt: skip

    def heldout(self, backbone: SiT, images: int, digest: str) -> list[Row]:
        return (
            [heldout_loss(backbone, self.data, self.processes.device)]
            if self.processes.main
            else []
        )

    def protocol(self) -> Protocol:
        e = self.cfg.evaluation
        return sampling_protocol(e.protocol, guidance=float(e.guidance))

    def samples(self, backbone: SiT, images: int, digest: str) -> list[Row]:
        from probes.distances.local import Reference, measure_samples

        e, grid, p = self.cfg.evaluation, self.data.grid, self.processes
        protocol, shape = self.protocol(), (grid.tokens, grid.token_dim)
        velocity = velocity_of(backbone, protocol.model_precision)
        spool = SampleSpool(self.experiment.path, images, digest, protocol, e.seed)

        def make(block: int) -> torch.Tensor:
            return sample_block(
                velocity, protocol, shape, self.data.classes, e.seed, block, p.device
            )[0]

        blocks = range(-(-e.samples // protocol.block))
        tokens = spool.tokens(make, len(blocks), p, self.stop_if_asked)[: e.samples]
        if not p.main:
            return []
        labels = torch.cat([block_labels(protocol, self.data.classes, e.seed, b) for b in blocks])[
            : len(tokens)
        ]
        self.picture(velocity, protocol, shape, images)
        if self._reference is None:
            self._reference = Reference.of(self.data, self.cache)
        sampling = (
            protocol.to_json() | {"seed": e.seed, "samples": e.samples} | self.data.decoded_by()
        )
        return measure_samples(tokens, labels, self._reference, sampling, self.experiment.aligned())

    def picture(
        self, velocity: Any, protocol: Protocol, shape: tuple[int, int], images: int
    ) -> None:
        """samples/grid-<images>.png: one block with balanced labels,
        the same noise for every arm.
        """
        balanced = sampling_protocol(protocol.name, guidance=protocol.guidance, labels="balanced")
        tokens, _ = sample_block(
            velocity, balanced, shape, self.data.classes, 0, 0, self.processes.device
        )
        classes = self.data.classes
        columns = (
            classes if classes <= 16 else 8
        )  # label i mod classes: few classes have a column each
        whole = len(tokens) // columns * columns
        pictures, _ = pictures_of(
            self.data.decode(tokens[:whole], protocol.decoder_precision), protocol.rounding
        )
        self.experiment.folder.check_exists()
        save_png(
            picture_grid(pictures, columns),
            self.experiment.path / "samples" / f"grid-{images:012d}.png",
        )

    def features(self, backbone: SiT, images: int, digest: str) -> list[Row]:
        from probes.features.cknna import measure_cknna
        from probes.features.pictures import feature_pictures, save_pictures
        from probes.features.probes import measure_features
        from probes.features.store import FeatureGrid, feature_store, probe_blocks
        from probes.features.strength import measure_encoder, pixel_probe

        if not self.processes.main:
            return []
        device, aligned, encoder = (
            self.processes.device,
            self.experiment.aligned(),
            self.experiment.encoder,
        )
        if len(self.data.grid.grid) == 2:
            self.experiment.folder.check_exists()
            save_pictures(
                feature_pictures(backbone, self.data, device), self.experiment.path, images
            )
        most = self.cfg.evaluation.probe_images
        grid = FeatureGrid(probe_blocks(backbone.size.depth), PROBE_TIMES, most)
        store = feature_store(backbone, self.data, grid, digest, self.cache, device)
        rows = measure_features(store, self.data, aligned, device=device)
        if encoder is not None:
            rows += measure_cknna(store, self.data, encoder, self.cache, aligned, device=device)
            rows += measure_encoder(encoder, self.data, self.cache, device=device, most_images=most)
        for name in self.cfg.evaluation.encoders:
            if encoder is not None and name == encoder.name:
                continue
            parts = {"token_grid": self.data.grid, "dataset": self.data, "cache": self.cache}
            other = build(encoder_option(name), **parts).to(device)
            if encoder is None:
                rows += measure_cknna(store, self.data, other, self.cache, aligned, device=device)
            rows += measure_encoder(other, self.data, self.cache, device=device, most_images=most)
        return [*rows, pixel_probe(self.data, most_images=most)]


def spent_until(
    path: Path, images: int, lines: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """FLOPs and hours of a run's training until `images`; lines: its metrics.jsonl,
    where they were read already.

    Between two lines the hours are linear in the images: a snapshot is seldom at the end of a
    logging interval.
    """
    cost = read_part(path, COST)
    flops = flops_until(cost, images) + cost["encoder_training_flops"] if cost else None
    log = path / METRICS_LOG
    lines = (read_metrics(log) if log.exists() else []) if lines is None else lines
    at = [0, *(line["images"] for line in lines)]
    seconds = [0.0, *(line["time"]["total_seconds"] for line in lines)]
    return {
        "flops": flops,
        "hours": float(np.interp(images, at, seconds)) / 3600 if lines else None,
    }


def processes_main(experiment: Experiment) -> bool:
    """Whether this process reads and writes the run's files."""
    return experiment.processes.main and (experiment.path / METRICS_LOG).exists()


def summary(experiment: Experiment) -> str:
    """The run's last numbers, for the terminal."""
    frame: Any = row_table([read_run(experiment.path)], [])
    frame = frame[(frame["images"] == experiment.cfg.images) & frame["value"].notna()]
    lines = [f"{experiment.path} is complete: {experiment.cfg.images} images"]
    plain = frame[frame["block"].isna()]
    for row in plain.itertuples():
        real = f"   (held-out real: {row.real:.4g})" if row.real == row.real else ""
        lines.append(
            f"  {row.metric:22}{row.value:<10.4g}{real}{'   related' if row.related else ''}"
        )
    probes = frame[frame["block"].notna()]
    for metric, rows in probes.groupby("metric"):
        best = rows.loc[rows["value"].idxmax()]
        where = f"block {best['block']:.0f}, t = {best['t']:g}"
        lines.append(f"  {metric:22}{best['value']:<10.4g}   (highest of {len(rows)}: {where})")
    return "\n".join(lines)
