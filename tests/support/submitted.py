"""A study on the test cluster, as the tests see it;
small and long settings for runs of seconds and of no end.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

from support.runs import each_once

ONE = """
description: One run
claims: []
arms:
  vanilla: [method=vanilla]
data:
  digits: {lasts: seconds, overrides: [size=nano], seeds: 1}
"""
# label_drop: not the study file's runs, so that the report, which cannot know these studies, takes
# all of the folder
SMALL = (
    "label_drop=0.2",
    "images=12800",
    "log_images=1280",
    "checkpoint_images=6400",
    "evaluation.samples=64",
    "evaluation.snapshots=last",
    "measure=quick",
)
LONG = (
    "label_drop=0.2",
    "images=64Mi",
    "log_images=256",
    "checkpoint_images=64Mi",
    "measure=none",
    "snapshots=1",
)
JOBS = (
    "compute=slurm",
    "compute.gpus=0",
    "compute.cpus=1",
    "compute.device=cpu",
    "compute.threads=1",
)


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's first true value; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:g} s for: {what}\n{command('squeue')}"
        time.sleep(0.2)
    return value


def command(*words: str) -> str:
    """The output of a command of SLURM."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


class Submitted:
    """A study that was submitted, and its first run."""

    def __init__(self, argv: list[str]):
        from bench.study import plan
        from bench.study.request import Sweep
        from bench.sweep import SWEEP
        from slurm.launch import Slurm

        self.argv = each_once(argv)
        self.sweep = Sweep(**SWEEP.parse(self.argv))
        self.launcher = Slurm(self.sweep)
        planned = [p for p in plan.make(self.sweep.specs) if not p.done]
        self.launcher.start(planned, retry=False)
        self.run = self.sweep.runs / self.sweep.ids[0]
        self.train = self.launcher.jobs_of(self.run.name)["train"]  # the job's number

    def status(self) -> dict[str, Any]:
        from bench.core.store.runs import read_status

        return read_status(self.run)

    def wait_for_images(self, more_than: int = 0) -> int:
        """Until the run has trained on more than so many images."""
        return wait_until(
            lambda: self.running_images() > more_than and self.running_images(),
            90,
            f"more than {more_than} images",
        )

    def running_images(self) -> int:
        status = self.status()
        return status.get("images", 0) if status.get("state") == "running" else 0

    def saved(self) -> int:
        """Images of the newest checkpoint."""
        return max(
            (int(path.name.split("-")[1]) for path in self.run.glob("checkpoints/ckpt-*.pt")),
            default=0,
        )

    def starts(self) -> int:
        """How often the training job has been started."""
        from bench.core.store.files import read_json

        return len(read_json(self.run / "slurm" / f"starts-{self.train}.json").get("progress", []))

    def state(self) -> str:
        """What SLURM says of the training job."""
        return command(
            "squeue", "--noheader", "--states=all", f"--jobs={self.train}", "--format=%T"
        ).strip()

    def wait_for_end(self) -> None:
        wait_until(
            lambda: not self.launcher.going() if not self.launcher.queued(fresh=True) else False,
            60,
            "an empty queue",
        )
