"""What the scheduler says, by squeue alone, so that a cluster without accounting works too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable


class NoAnswer(Exception):
    """The scheduler could not be asked."""


def require_slurm() -> None:
    """Raises ValueError where there is no SLURM."""
    if not shutil.which("sbatch") or not shutil.which("squeue"):
        raise ValueError(
            "there is no SLURM here (no sbatch command): "
            "run this on your cluster's login node, or use compute=local"
        )


def queued() -> dict[str, str]:
    """This user's pending and running jobs: id ("12", "12_3") -> "PENDING (Priority)", "RUNNING".

    Raises NoAnswer.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r"]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        raise NoAnswer(
            f"the scheduler does not answer ({said.splitlines()[-1] if said else error})"
        ) from error
    jobs = {}
    for line in listed.splitlines():
        job, state, reason = line.strip().split("|", 2)
        jobs[job] = state if reason in ("None", "") or state != "PENDING" else f"{state} ({reason})"
    return jobs


def cancel(jobs: Iterable[str]) -> None:
    """scancel: pending jobs leave the queue, running ones get SIGTERM and save.

    Raises OSError with scancel's words.
    """
    jobs = list(jobs)
    if jobs:
        done = subprocess.run(["scancel", *jobs], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise OSError(f"scancel failed: {done.stderr.strip()}")
