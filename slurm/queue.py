"""What the scheduler says, by squeue and scontrol alone, so that a cluster without accounting works
too; and what of this shell its commands, and so the jobs, are given.

sbatch hands the shell's environment on to the job. Inside an allocation, or under torchrun, that
shell says what *its* job is: its memory, its binding, its rank. A job that inherits this fails
(`SLURM_MEM_PER_CPU ... are mutually exclusive`) or, worse, runs with another job's settings.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping

# How variables begin, or are called, that say what another job is or change what SLURM's commands
# do, and those among them that only say where the cluster is.
OF_A_JOB = re.compile(
    "(SLURM|SBATCH|SRUN|SALLOC|SQUEUE|SCANCEL|SCONTROL|PMI|OMPI|TORCHELASTIC|MASTER|ROLE)[A-Z]*_.*"
    "|(LOCAL_|GROUP_|NODE_)?(RANK|WORLD_SIZE)"
)
OF_THE_CLUSTER = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NoAnswer(Exception):
    """The scheduler could not be asked."""


def require_slurm() -> None:
    """Raises ValueError where there is no SLURM."""
    if not shutil.which("sbatch") or not shutil.which("squeue"):
        raise ValueError(
            "there is no SLURM here (no sbatch command): "
            "run this on your cluster's login node, or use compute=local"
        )


# The environment ----------------------------------------------------------------------------------


def of_a_job(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment must reach no job that is submitted from it."""
    return {
        name: value
        for name, value in environment.items()
        if OF_A_JOB.fullmatch(name) and name not in OF_THE_CLUSTER
    }


def clean_environment() -> dict[str, str]:
    """This process's environment without that."""
    return {name: value for name, value in os.environ.items() if name not in of_a_job(os.environ)}


@contextlib.contextmanager
def submitting() -> Iterator[None]:
    """Within it the environment is clean, and Ctrl-C waits for the end: a job that sbatch made is
    written down before anything stops, and sbatch, which gets the terminal's Ctrl-C too, goes on.
    """
    noted: list[int] = []
    taken = of_a_job(os.environ)
    handlers = {
        number: signal.signal(number, lambda number, _: noted.append(number)) for number in STOPPING
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # children inherit it
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if noted:
            signal.raise_signal(noted[0])


# What it says -------------------------------------------------------------------------------------


def queued() -> dict[str, str]:
    """This user's pending and running jobs: id ("12", "12_3") -> "PENDING (Priority)", "RUNNING".

    Raises NoAnswer.
    """
    jobs = {}
    for line in _ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r").splitlines():
        job, state, reason = line.strip().split("|", 2)
        jobs[job] = state if reason in ("None", "") or state != "PENDING" else f"{state} ({reason})"
    return jobs


def largest_array() -> int | None:
    """How many jobs the cluster takes in one array (MaxArraySize), None where it does not say."""
    with contextlib.suppress(NoAnswer):
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.M)
        return max(1, int(found[1])) if found else None
    return None


def _ask(*command: str) -> str:
    """What a command prints. Raises NoAnswer."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True, env=clean_environment()
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        raise NoAnswer(
            f"the scheduler does not answer ({said.splitlines()[-1] if said else error})"
        ) from error


def cancel(jobs: Iterable[str]) -> None:
    """scancel: pending jobs leave the queue, running ones get SIGTERM and save.

    Raises OSError with scancel's words.
    """
    jobs = list(jobs)
    if jobs:
        done = subprocess.run(
            ["scancel", *jobs], capture_output=True, text=True, timeout=120, env=clean_environment()
        )
        if done.returncode:
            raise OSError(f"scancel failed: {done.stderr.strip()}")
