"""Runs of a study in worker processes of this machine:
`bench.sweep compute=local` starts this in the background.

A worker is one bench.run with its share of the cores (or compute.threads=N) and, where there are
GPUs, one of them, in a process of its own that is forked from one with the imports of all. What it
did is judged by its exit code and by what it saved; a worker that dies is started again a bounded
number of times, counted anew whenever it had saved something in between.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.cli import BAD_INPUT, EXIT_OF_SIGNAL, REQUEUE
from bench.config.words import last_of_each
from bench.core.store.lease import Lease, Leases
from bench.core.store.runs import STATUS
from bench.core.store.states import progress, run_state
from bench.machine.host import cores
from bench.study.forks import Forks

TAKEN = "is being written"  # in bench.run's message when another process has the run folder


@dataclass
class Job:
    """A run to be made. threads: compute.threads, None for a worker's share; attempts:
    deaths since it last saved.
    """

    id: str
    overrides: tuple[str, ...]
    threads: int | None = None
    attempts: int = 0
    saved: float = -1
    message: str = ""


class Process(Protocol):
    """What works on a job: poll() is None while it runs, then its exit code, -9 after SIGKILL."""

    pid: int

    def poll(self) -> int | None: ...
    def send_signal(self, number: int, /) -> None: ...


@dataclass
class Worker:
    """A job's process, the slot (GPU) that it fills, and the lease it holds."""

    job: Job
    process: Process
    slot: int
    lease: Lease
    log: Path


@dataclass
class Pool:
    """Fills `workers` slots with jobs until none is left. waiting: to be started; failed:
    given up, with a message.
    """

    runs: Path
    logs: Path
    workers: int
    waiting: list[Job]
    gpus: Sequence[str] = ()
    retries: int = 2
    say: Callable[[str], None] = print
    running: list[Worker] = field(default_factory=list)
    failed: list[Job] = field(default_factory=list)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.leases = Leases(self.runs / "sweeps" / "leases")
        self.logs.mkdir(parents=True, exist_ok=True)
        self.forks = Forks("bench.run:RUN")

    def words(self, job: Job) -> list[str]:
        """What a worker's bench.run is told."""
        own = [f"compute.threads={self.threads(job)}", "compute.progress=false"]
        return last_of_each([*job.overrides, *own])

    def launch(self, job: Job, environment: dict[str, str], log: Path) -> Process:
        """A worker's process, which writes to the end of `log`; environment: beside this one's."""
        return self.forks.start(self.words(job), environment, log)

    def threads(self, job: Job) -> int:
        """What compute.threads= asks for, or the worker's share of the cores."""
        return job.threads or max(1, cores() // self.workers)

    def step(self) -> bool:
        """Collect what ended, start what can be started;
        False when there is nothing left to wait for.
        """
        for worker in list(self.running):
            worker.lease.refresh()
            code = worker.process.poll()
            if code is not None:
                self.running.remove(worker)
                worker.lease.release()
                self.judge(worker, code)
        for job in list(self.waiting):
            if len(self.running) >= self.workers or self.stopping:
                break
            self.start(job)
        return bool(self.running or (self.waiting and not self.stopping))

    def start(self, job: Job) -> None:
        """Start a worker, unless another sweep or a run started by hand is at this run."""
        lease = self.leases.acquire(job.id)
        busy = lease is None or run_state(self.runs / job.id).alive
        if busy:
            if lease is not None:
                lease.release()
            self.tell(job, "another process is training it; waiting for that one")
            return
        self.waiting.remove(job)
        slot = min(set(range(self.workers)) - {worker.slot for worker in self.running})
        environment = {
            "OMP_NUM_THREADS": str(self.threads(job)),
            "CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)] if self.gpus else "",
        }
        log = self.logs / f"{job.id}.log"
        process = self.launch(job, environment, log)
        assert lease is not None
        job.saved = max(job.saved, progress(self.runs / job.id))
        self.running.append(Worker(job, process, slot, lease, log))
        self.tell(job, f"started (process {process.pid})")

    def judge(self, worker: Worker, code: int) -> None:
        """Decide what becomes of a job whose worker ended."""
        job = worker.job
        last = last_error(worker.log)
        deleted = not (self.runs / job.id / STATUS).exists()
        saved = progress(self.runs / job.id)
        if saved > job.saved:
            job.attempts, job.saved = 0, saved
        if code == 0:
            self.tell(job, "complete")
        elif code == REQUEUE or (code == BAD_INPUT and TAKEN in last):
            self.waiting.append(job)
        elif code in EXIT_OF_SIGNAL.values():
            self.give_up(
                job, "stopped from outside with everything saved; the same command goes on"
            )
        elif code > 0 and not (deleted and code != BAD_INPUT):
            self.give_up(job, last or f"ended with exit code {code}, see {worker.log}")
        else:
            why = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else "lost its run folder"
            )
            job.attempts += 1
            if job.attempts > self.retries:
                self.give_up(
                    job,
                    f"its worker {why} {job.attempts} times without saving anything in "
                    f"between, see {worker.log}",
                )
            else:
                job.saved = saved
                self.waiting.append(job)
                self.tell(
                    job, f"its worker {why}; starting it again ({job.attempts} of {self.retries})"
                )

    def give_up(self, job: Job, message: str) -> None:
        """Leave a job until it is asked for again."""
        self.failed.append(job)
        self.tell(job, message)

    def tell(self, job: Job, message: str) -> None:
        """Say what happened to a job, once."""
        if message != job.message:
            job.message = message
            self.say(f"{job.id}: {message}")

    def retry(self, ids: Iterable[str] = ()) -> None:
        """Try what was given up again."""
        for job in [job for job in self.failed if not ids or job.id in set(ids)]:
            self.failed.remove(job)
            job.attempts = 0
            self.waiting.append(job)

    def stop(self) -> None:
        """Ask every worker to save and end; `step` collects them."""
        self.stopping = True
        for worker in self.running:
            worker.process.send_signal(signal.SIGTERM)

    def work(self, poll: float = 0.5, between: Callable[[], None] = lambda: None) -> None:
        """Until nothing is left."""
        while self.step():
            between()
            time.sleep(poll)


def last_error(log: Path) -> str:
    """The last line of a worker's log that says error."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next(
        (
            line.removeprefix("error: ")
            for line in reversed(lines[-50:])
            if line.startswith("error: ")
        ),
        "",
    )


def visible_gpus() -> list[str]:
    """The GPUs that workers may use: CUDA_VISIBLE_DEVICES,
    or all that nvidia-smi lists (PyTorch is not imported).
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [gpu for gpu in given.split(",") if gpu]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [
        str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")
    ]
