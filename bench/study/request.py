"""What was asked of `bench.sweep`: the study, its runs, where the sweep keeps its own files, and
what starts the runs.

    sweep = Sweep(study="demo", overrides=["seed=0"])
    sweep.runs, sweep.ids                   # the folder, the runs' names in it
    sweep.command("attach")                 # what to type to see how it goes
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from bench.core.store.states import RunState
from bench.machine.host import cores
from bench.study.rates import rate_runs
from bench.study.runs import RunSpec, run_ids, runs
from bench.study.studies import load

RETRIES = 2  # where nothing is said
LOCAL_ONLY = {
    "workers": "compute=slurm has jobs and no workers: "
    "leave it out, compute.parallel=N says how many may run at once",
    "retries": "SLURM requeues a job as long as it saves something: "
    "leave it out with compute=slurm",
}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A study as asked for. overrides: KEY=VALUE words given to every run; workers, retries: None
    where nothing was said; rates: the learning rates among which that of each size is looked for,
    () where the study itself is run.

    Raises ValueError for words that do not go together, and where no run is possible.
    """

    study: str
    data: str = "digits"
    compute: str = "local"
    action: str = "run"
    dry_run: bool = False
    workers: int | None = None
    retries: int | None = None
    rates: tuple[float, ...] = ()
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.action == "work" and self.dry_run:
            raise ValueError(
                "action=work is the work itself: leave out action=work, or dry_run=true"
            )
        for key, value in (("workers", self.workers), ("retries", self.retries)):
            if value is not None and self.compute == "slurm":
                raise ValueError(f"{key}={value}: {LOCAL_ONLY[key]}")
        if all(spec.cfg is None for spec in self.specs):
            raise ValueError(f"no run of this study can be run here: {self.specs[0].reason}")

    @cached_property
    def specs(self) -> list[RunSpec]:
        """The runs of the study, with these words, or those of the search for its rates."""
        trains = self.action in ("run", "retry", "work") and not self.dry_run
        words = [f"compute={self.compute}", *self.overrides]
        if self.rates:
            return rate_runs(self.study, self.data, self.rates, words)
        return runs(self.study, self.data, words, build_encoders=trains)

    @property
    def flops_per_second(self) -> float | None:
        """What the study takes a worker to do while no run has finished."""
        return load(self.study, self.data).flops_per_second

    @property
    def threads(self) -> int:
        """CPU threads of a worker of this machine, where no run says its own number."""
        return max(1, cores() // (self.workers or cores()))

    @property
    def rate_words(self) -> list[str]:
        """How `rates` is typed."""
        return [f"rates={','.join(f'{rate:g}' for rate in self.rates)}"] if self.rates else []

    @cached_property
    def runs(self) -> Path:
        """The folder of the run folders."""
        return next(Path(spec.cfg.runs) for spec in self.specs if spec.cfg)

    @property
    def restarts(self) -> int:
        """How often a worker that died is started again without having saved anything."""
        return RETRIES if self.retries is None else self.retries

    @property
    def name(self) -> str:
        """Study, data, and a hash of what else was asked for."""
        extra = [
            word for word in self.overrides if not word.startswith(("runs=", "cache=", "compute."))
        ]
        extra += self.rate_words
        digest = hashlib.sha256(" ".join(sorted(extra)).encode()).hexdigest()
        what = f"{self.study}-{self.data}{'-rates' if self.rates else ''}"
        return f"{what}{f'-{digest[:4]}' if extra else ''}"

    @property
    def folder(self) -> Path:
        """The sweep's own files."""
        return self.runs / "sweeps" / self.name

    @property
    def ids(self) -> list[str]:
        return [spec.id for spec in self.specs if spec.id]

    def report_words(self) -> list[str]:
        """bench.report's words: this study's runs, or, where the command line changed them,
        all of the folder.
        """
        whole = set(run_ids(self.study, self.data)) == set(self.ids)
        return ["--study", self.study, "--data", self.data] if whole else []

    def command(self, action: str = "") -> str:
        """What to type for another action on the same study."""
        words = [
            f"study={self.study}",
            f"data={self.data}",
            f"compute={self.compute}",
            *([f"workers={self.workers}"] if self.workers else []),
            *([f"retries={self.restarts}"] if self.restarts != RETRIES else []),
            *self.rate_words,
            *self.overrides,
            *([f"action={action}"] if action else []),
        ]
        return f"python -m bench.sweep {shlex.join(words)}"


@dataclass
class Planned:
    """A run of the plan, its state and its cost in all; None: not known yet.

    images: of the whole training; parameters: of what is trained; measuring: FLOPs of what is
    measured afterwards; hours: of both.

    at_least: they are the backbone's alone, since the encoder (and so the head) is not at hand yet;
    guessed: hours are of counted FLOPs and of how fast this machine was for half a second.
    """

    spec: RunSpec
    arm: str
    size: str
    state: RunState
    done: bool
    images: int | None = None
    parameters: int | None = None
    flops: float | None = None
    hours: float | None = None
    measuring: float = 0.0
    at_least: bool = False
    guessed: bool = False


class Launcher(Protocol):
    """What starts the runs of a study and knows of those that are not running:
    bench.study.local, slurm.launch.
    """

    def start(self, planned: list[Planned], retry: bool) -> None: ...
    def going(self) -> bool: ...
    def notes(self) -> dict[str, str]: ...
    def cancel(self) -> int: ...
