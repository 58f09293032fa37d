"""What was asked of `bench.sweep`: the study, its runs, and where the sweep keeps its own files."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.study.runs import RunSpec


RETRIES = 2  # where nothing is said


@dataclass
class Sweep:
    """A study as asked for. words: given to every run; folder: the sweep's own files."""

    study: str
    data: str
    compute: str
    action: str
    dry_run: bool
    workers: int | None
    retries: int
    words: list[str]
    specs: list[RunSpec]
    runs: Path

    @property
    def name(self) -> str:
        """Study, data, and a hash of what else was asked for."""
        extra = [
            word for word in self.words if not word.startswith(("runs=", "cache=", "compute."))
        ]
        suffix = (
            f"-{hashlib.sha256(' '.join(sorted(extra)).encode()).hexdigest()[:4]}" if extra else ""
        )
        return f"{self.study}-{self.data}{suffix}"

    @property
    def folder(self) -> Path:
        return self.runs / "sweeps" / self.name

    @property
    def ids(self) -> list[str]:
        return [spec.id for spec in self.specs if spec.id]

    def report_words(self) -> list[str]:
        """bench.report's arguments: this study's runs, or, where the command line changed them,
        all of the folder.
        """
        from bench.study.runs import run_ids

        whole = set(run_ids(self.study, self.data)) == set(self.ids)
        return ["--study", self.study, "--data", self.data] if whole else []

    def command(self, action: str = "") -> str:
        """What to type for another action on the same study."""
        words = [
            f"study={self.study}",
            f"data={self.data}",
            f"compute={self.compute}",
            *([f"workers={self.workers}"] if self.workers else []),
            *([f"retries={self.retries}"] if self.retries != RETRIES else []),
            *self.words,
            *([f"action={action}"] if action else []),
        ]
        return f"python -m bench.sweep {shlex.join(words)}"
