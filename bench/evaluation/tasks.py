"""What a run's configuration asks to be measured, by snapshot: result files, and which are missing.

measure=full asks for all of it, of every snapshot; measure=quick leaves out earlier snapshots and
what is estimated (in FLOPs) to take more than a tenth of the training.

    for task in pending(session): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.config.groups import encoder_option
from bench.config.parts import part_configs
from bench.config.schema import Config
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.store import weight_files
from bench.core.store.files import Json
from bench.core.store.rows import kind_of_part, result_path
from bench.core.store.runs import COST, find_run, is_readable, is_row, read_measurement, read_part
from bench.core.train.cost import flops_until, says_all
from bench.core.train.trainer import snapshots_of
from bench.evaluation.request import Request, entry_of
from bench.training.session import Session
from probes.metric import metric_class

SHARE = 0.1  # of the training's FLOPs: what measure=quick may spend on one measurement


@dataclass(frozen=True)
class Task:
    """A result file of a snapshot and its estimated FLOPs; kind "": each metric names its own.
    sampled: of the FLOPs, those of samples, which other tasks of the snapshot read too; part: of
    the data, "" where they are of one kind.
    """

    kind: str
    images: int
    flops: float
    metrics: tuple[str, ...] = ()
    sampled: float = 0.0
    part: str = ""

    @property
    def name(self) -> str:
        name = self.kind or ", ".join(self.metrics)
        return f"{name} of {self.part}" if self.part else name

    @property
    def stem(self) -> str:
        """The kind as files say it."""
        return kind_of_part(self.kind, self.part)


@dataclass(frozen=True)
class Known:
    """What FLOPs of measurements follow from: a `bench.core.train.cost.Cost` as stored, and the
    pictures of each split; written down by a run that has begun.
    """

    cost: Json
    pictures: Mapping[str, int]

    @classmethod
    def of(cls, session: Session) -> Known:
        """What the run's folder says, nothing where it has not begun."""
        run = find_run(session.path)
        return cls(read_part(session.path, COST), run.data_sizes if run else {})

    def of_part(self, part: str) -> Known:
        """Of a part of the data what it is by itself."""
        if not part:
            return self
        of_parts = self.cost.get("parts") or {}
        here = {
            split.removeprefix(f"{part}/"): count
            for split, count in self.pictures.items()
            if split.startswith(f"{part}/")
        }
        return Known(of_parts.get(part) or {}, here)


def all_tasks(
    session: Session, counts: Sequence[int] | None = None, known: Known | None = None
) -> list[Task]:
    """Every measurement that measure=full would make, by snapshot: those that are there, or
    `counts`, those that will be; their FLOPs need a run that has begun, or `known`.
    """
    known = known or Known.of(session)
    there = weight_files.snapshots(session.path) if counts is None else counts
    there = [images for images in there if images <= session.cfg.images]
    return [
        task
        for images in there
        for part, cfg in part_configs(session.cfg).items()
        for task in _tasks_of(cfg, part, images, max(there), known.of_part(part))
    ]


def _tasks_of(cfg: Config, part: str, images: int, last: int, known: Known) -> Iterator[Task]:
    """The measurements of a part of the data at a snapshot; cfg: the part's."""
    request = Request.of_config(cfg, part)
    forward = known.cost.get("forward_flops") or 0.0
    sizes = {"train": 0, "heldout": 0} | dict(known.pictures)
    evaluations = sampling_protocol(str(request.sampling["protocol"])).evaluations

    # metrics of one result file belong together; the others have one each
    together: dict[str, list[str]] = {}
    for name in request.metrics:
        together.setdefault(entry_of(name).kind or f"\0{name}", []).append(name)

    if cfg.evaluation.snapshots == "last" and images != last:
        return
    for kind, names in together.items():
        if entry_of(names[0]).last_only and images != cfg.images:
            continue
        passes = [
            metric_class(name).passes(sizes["train"], sizes["heldout"], request.settings)
            for name in names
        ]
        sampled = request.samples * evaluations if request.parts(names) else 0
        samples = sampled or any(metric_class(name).samples_itself for name in names)
        if samples and cfg.evaluation.snapshots == "unsampled" and images != cfg.images:
            continue
        kind = "" if kind.startswith("\0") else kind
        flops = forward * (max(passes) + sampled)
        yield Task(kind, images, flops, tuple(names), forward * sampled, part)


def flops_to_measure(session: Session, known: Known | None = None) -> float:
    """What the measurements of a run will take at its end, each snapshot's samples counted once;
    networks that read samples, and those that are trained for it, are left out. known: of a run
    that has not begun.
    """
    cfg = session.cfg
    tasks, _ = planned(session, snapshots_of(cfg, cfg.size), known)
    sampled: dict[tuple[int, str], float] = {}
    for task in tasks:
        place = task.images, task.part
        sampled[place] = max(sampled.get(place, 0.0), task.sampled)
    return sum(sampled.values()) + sum(task.flops - task.sampled for task in tasks)


def planned(
    session: Session, counts: Sequence[int] | None = None, known: Known | None = None
) -> tuple[list[Task], list[Task]]:
    """What this configuration's `measure` asks for, and what it leaves out; counts, known: as for
    `all_tasks`.
    """
    cfg = session.cfg
    known = known or Known.of(session)
    tasks = all_tasks(session, counts, known)
    if cfg.measure == "full":
        return tasks, []
    if cfg.measure == "none":
        return [], tasks
    training = flops_until(known.cost, cfg.images) if says_all(known.cost) else 0.0
    small = [task for task in tasks if task.images == cfg.images and task.flops <= SHARE * training]
    return small, [task for task in tasks if task not in small]


def pending(session: Session) -> list[Task]:
    """Planned measurements whose results are not there yet, or are damaged."""
    return [lacking for task in planned(session)[0] for lacking in _lacking(session, task)]


def _lacking(session: Session, task: Task) -> list[Task]:
    """What of a task is not measured: nothing, all of it, or metrics in files of their own."""
    path = session.path
    if not task.kind:
        request = Request.of_config(part_configs(session.cfg)[task.part], task.part)
        there = [
            row
            for file in path.glob(f"results/*-{task.images:012d}.json")
            for row in rows_of(file)
            if row.get("request") == request.of(task.metrics[0])
        ]
        return [] if there else [task]
    file = result_path(path, task.stem, task.images)
    if not is_readable(file):
        return [task]
    requests = [row["request"].get("metrics") for row in rows_of(file) if row.get("request")]
    if not requests:  # of a time when rows did not say what was asked for: all of its kind
        return []
    others = [
        replace(task, kind=f"{task.kind}-{name}", metrics=(name,))
        for name in task.metrics
        if name not in requests
    ]
    return [one for one in others if not is_readable(result_path(path, one.stem, one.images))]


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Rows of a result file as they are stored, none of a damaged one."""
    try:
        rows = read_measurement(file)["rows"]
    except (OSError, ValueError):
        return []
    return [row for row in rows if is_row(row)]


def trained_first(configs: Iterable[Config]) -> list[str]:
    """Networks that runs train on the spot, once each, in words: encoders, and those that
    measurements read with, of which no cache entry has the name. A plan's hours do not hold them.
    """
    found: dict[str, None] = {}
    of_parts = (item for cfg in configs for item in part_configs(cfg).items())
    for part, cfg in of_parts:
        cache, data = Path(cfg.cache), cfg.data.name
        names = () if cfg.measure == "none" else Request.of_config(cfg).metrics
        read = filter(None, (entry_of(name).encoder(name) for name in names))
        encoders = [cfg.encoder, *(encoder_option(name) for name in dict.fromkeys(read))]
        for encoder in encoders:
            while encoder is not None:
                if "steps" in encoder.values and not _is_made(cache, encoder.name, data):
                    found[f"{encoder.name} of {data}" if part else encoder.name] = None
                encoder = encoder.inner
        for name in names:
            what, entry = (words.format(data=data) for words in metric_class(name).trains)
            if what and not any(cache.glob(entry)):
                found[what] = None
    return list(found)


def _is_made(cache: Path, encoder: str, data: str) -> bool:
    """An entry is called after what the encoder learned: of digits_l digits, whatever the data."""
    learned = {data, encoder.partition("_")[0]}
    return any(path for one in learned for path in cache.glob(f"encoders/{encoder}-{one}-*"))
