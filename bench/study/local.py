"""A study on this machine: a background process with a pool of workers,
and how the command line talks to it.

They share the sweep's folder `runs/sweeps/<study>-<data>/`: `requests/` asks the background process
to cancel or to try failed runs again, `notes.json` is what it has to say of runs that are not
running. Its lease tells whether it lives.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.core.store.files import read_json, write_json
from bench.core.store.lease import Lease, Leases
from bench.machine.host import cores
from bench.study import plan
from bench.study.pool import Job, Pool, visible_gpus
from bench.study.request import Planned, Sweep


class Local:
    """Start, watch and stop the background process of a study."""

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self.leases = Leases(sweep.runs / "sweeps" / "leases")
        self.lease_name = f"sweep-{sweep.name}"
        self.lease_path = self.leases.folder / f"{self.lease_name}.json"
        self.requests = sweep.folder / "requests"

    def going(self) -> bool:
        """Whether a background process works on this study, on this host or another."""
        try:
            content = self.lease_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return not self.leases.holder_gone(self.lease_name, content)

    def notes(self) -> dict[str, str]:
        """What the background process says of runs that it waits for or has given up."""
        return read_json(self.sweep.folder / "notes.json")

    def start(self, planned: list[Planned], retry: bool) -> None:
        """Start the background process, or ask the one that is there."""
        lease = self.leases.acquire_watching(self.lease_name, "has this study")
        if lease is None:
            print(f"this study is being run by {self.leases.holder(self.lease_name)}: showing that")
            if retry:
                self._ask("retry")
            return
        # what a dead process left is out of the way; the background process takes its own
        lease.release()
        sweep = self.sweep
        argv = [
            f"study={sweep.study}",
            f"data={sweep.data}",
            f"retries={sweep.restarts}",
            *sweep.rate_words,
            *sweep.overrides,
        ]
        argv += [f"workers={sweep.workers}"] if sweep.workers else []
        start_in_background(sweep, argv, self.lease_path)

    def cancel(self) -> int:
        """Have every worker save and end, and wait for it."""
        if not self.going():
            print("nobody works on this study: nothing to cancel")
            return 0
        if self.sweep.dry_run:
            print(
                f"would ask {self.leases.holder(self.lease_name)} to stop; "
                "every run would save first"
            )
            return 0
        self._ask("cancel")
        print(
            f"asked {self.leases.holder(self.lease_name)} to stop; every run saves first ...",
            flush=True,
        )
        while self.going():
            time.sleep(0.3)
        print(f"stopped; to go on: {self.sweep.command()}")
        return 0

    def _ask(self, what: str) -> None:
        self.requests.mkdir(parents=True, exist_ok=True)
        (self.requests / what).touch()

    def _asked(self, what: str) -> bool:
        path = self.requests / what
        asked = path.exists()
        path.unlink(missing_ok=True)
        return asked

    def work(self) -> int:
        """The background process: run what is missing until nothing is left or somebody cancels."""
        sweep = self.sweep
        say = lambda text: print(time.strftime("%F %T"), text, flush=True)  # noqa: E731
        lease = self.leases.acquire_watching(self.lease_name, "has this study", say)
        if lease is None:
            raise ValueError(
                f"this study is already being run by {self.leases.holder(self.lease_name)}"
            )
        lease.keep()
        for request in ("cancel", "retry"):
            self._asked(request)
        try:
            missing = [p.spec for p in plan.make(sweep.specs) if p.spec.id and not p.done]
            gpus = visible_gpus()
            workers = sweep.workers or len(gpus) or cores()
            jobs = [
                Job(str(s.id), s.overrides, s.cfg.compute.threads if s.cfg else None)
                for s in missing
            ]
            pool = Pool(
                sweep.runs, sweep.runs / "sweeps" / "logs", workers, jobs, gpus, sweep.restarts, say
            )
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                    signal.signal(number, lambda *_: pool.stop())
            pool.work(between=lambda: self._between(pool, lease))
            if not lease.lost:
                self._write_notes(pool)
            return 1 if pool.failed else 0
        finally:
            lease.release()

    def _between(self, pool: Pool, lease: Lease) -> None:
        if lease.lost and not pool.stopping:
            pool.say(
                f"this study was taken over by {self.leases.holder(self.lease_name)}: "
                "every run saves and ends here"
            )
            pool.stop()
        if lease.lost:
            return  # requests and notes are the successor's
        if self._asked("cancel"):
            pool.stop()
        if self._asked("retry"):
            pool.retry()
        self._write_notes(pool)

    def _write_notes(self, pool: Pool) -> None:
        """Only when something changed: the file is on a disk that others share."""
        notes = {job.id: job.message for job in [*pool.waiting, *pool.failed] if job.message}
        if notes != self.notes():
            with contextlib.suppress(
                OSError
            ):  # a full disk stops runs, which say so; not the pool that holds them
                write_json(self.sweep.folder / "notes.json", notes)


def start_in_background(sweep: Sweep, argv: list[str], ready: Path) -> None:
    """Start `action=work` detached from this terminal.

    Raises OSError with its last words if it cannot begin.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    log = sweep.folder / "scheduler.log"
    command = [sys.executable, "-m", "bench.sweep", *argv, "action=work"]
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    # its own lease: the file of a dead process may lie there still
    while read_json(ready).get("pid") != process.pid and process.poll() is None:
        time.sleep(0.1)
    if process.poll():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise OSError(
            f"the study could not be started: {lines[-1] if lines else 'no message'} (see {log})"
        )
