"""A study on SLURM: submitted, watched, cancelled (`python -m bench.sweep compute=slurm`)."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.schema import Cluster
from bench.core.store.files import read_json
from bench.core.store.lease import Leases
from bench.core.store.states import run_state
from slurm import queue
from slurm.submission import Submission, report_file

if TYPE_CHECKING:
    from bench.study.request import Planned, Sweep

EARLY_SECONDS = 60  # sbatch's manual: the signal may come so much earlier than asked for
WAITING = {
    "Dependency": "waits for the job before it",
    "Priority": "others come first",
    "Resources": "waits for free nodes",
}


class Slurm:
    """Submit, watch and cancel the jobs of a study."""

    def __init__(self, sweep: Sweep):
        if not (sweep.dry_run and sweep.action == "run"):  # a plan asks the cluster nothing
            queue.require_slurm()
        self.sweep = sweep
        self.leases = sweep.runs.resolve() / "sweeps" / "leases"
        self.jobs_folder = sweep.folder.resolve() / "jobs"
        self._asked, self._queued = float("-inf"), {}

    # Submitting -----------------------------------------------------------------------------------

    def start(self, planned: list[Planned], retry: bool) -> None:
        """Submit what is missing and not already in the queue, whatever an earlier submission that
        broke off has left.
        """
        for p in planned:
            if p.spec.cfg and isinstance(p.spec.cfg.compute, Cluster):
                check_time(p.spec.cfg.compute)
        name = f"submit-{self.sweep.name}"
        lease = Leases(self.leases).acquire_watching(name, "is submitting this study")
        if lease is None:
            raise ValueError(
                f"this study is being submitted by {Leases(self.leases).holder(name)}: "
                "try again in a moment"
            )
        lease.keep()  # many sbatch calls take longer than a silent lease is believed
        try:
            jobs = {run: self.jobs_of(run) for run in self.sweep.ids}
            Submission(self.sweep, jobs, self.queued(fresh=True)).make(planned)
        finally:
            self._asked = float("-inf")  # the answer is from before
            lease.release()

    # Watching -------------------------------------------------------------------------------------

    def jobs_of(self, run: str) -> dict[str, str]:
        """The newest job of each phase of a run."""
        jobs = read_json(self.sweep.runs / run / "slurm" / "jobs.json")
        return {phase: job for phase, job in jobs.items() if isinstance(job, str)}

    def queued(self, fresh: bool = False) -> dict[str, str]:
        """squeue's answer, asked for at most every ten seconds;
        the last one while the scheduler does not answer.
        """
        if fresh or time.monotonic() - self._asked > 10:
            try:
                self._queued = queue.queued()
            except queue.NoAnswer as problem:
                if not self._queued:
                    raise OSError(f"{problem}; nothing was changed") from problem
                print(f"{problem}; showing what the runs themselves say", file=sys.stderr)
            self._asked = time.monotonic()
        return self._queued

    def going(self) -> bool:
        """Whether a job of this study is in the queue."""
        return any(job in self.queued() for job in self._jobs())

    def _jobs(self) -> list[str]:
        jobs = [job for run in self.sweep.ids for job in self.jobs_of(run).values()]
        report = read_json(report_file(self.sweep)).get("job")
        return [*jobs, report] if report else jobs

    def notes(self) -> dict[str, str]:
        """What the queue says of runs that are not running,
        and of jobs that ended without finishing their run.
        """
        queued, known = self.queued(), {run: self.jobs_of(run) for run in self.sweep.ids}
        begun = any(known.values())
        notes = {}
        for run, jobs in known.items():
            waiting = [(phase, job) for phase, job in jobs.items() if job in queued]
            if waiting:
                phase, job = waiting[0]
                notes[run] = f"{phase} is job {job}, {_explain(queued[job])}"
            elif jobs and run_state(self.sweep.runs / run).name in ("new", "died"):
                job = last_that_ran(self.sweep.runs / run / "slurm", jobs)
                notes[run] = (
                    f"job {job} ended without a word; see {self.sweep.runs / run / 'slurm'} "
                    f"and {self.jobs_folder}/{job}_0_log.out"
                )
            elif begun and not jobs and run_state(self.sweep.runs / run).name == "new":
                notes[run] = "not submitted yet: the command that started the study does it"
        return notes

    def cancel(self) -> int:
        """scancel all jobs of the study; running ones save first."""
        queued = self.queued(fresh=True)
        jobs = [job for job in self._jobs() if job in queued]
        if self.sweep.dry_run:
            print(f"would cancel {len(jobs)} job(s): {', '.join(jobs) or 'none is in the queue'}")
            return 0
        queue.cancel(jobs)
        print(
            f"{len(jobs)} job(s) cancelled; running ones save and end; to go on: "
            f"{self.sweep.command()}"
        )
        return 0


def last_that_ran(folder: Path, jobs: dict[str, str]) -> str:
    """The job of the last phase that left a log, as it does when it starts;
    the first phase's where none did.
    """
    ordered = [(phase, jobs[phase]) for phase in ("evaluate", "train") if phase in jobs]
    return next(
        (job for phase, job in ordered if (folder / f"{phase}-{job}.log").exists()), ordered[-1][1]
    )


def check_time(compute: Cluster) -> None:
    """Raise ValueError where a job would be told to save as soon as it starts, again and again."""
    if compute.signal + EARLY_SECONDS >= 60 * compute.time:
        raise ValueError(
            f"compute.signal={compute.signal} (seconds) leaves nothing of "
            f"compute.time={compute.time} (minutes), "
            f"as SLURM may send the signal {EARLY_SECONDS} s early: "
            "give more time, or a later signal"
        )


def _explain(state: str) -> str:
    reason = state.partition("(")[2].rstrip(")")
    return f"{state}: {WAITING[reason]}" if reason in WAITING else state
