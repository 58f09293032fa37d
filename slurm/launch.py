"""A study on SLURM through submitit: an array that trains, a job a run that evaluates,
one that reports.

Each waits for those before it (`afterok`, and `--kill-on-invalid-dep=yes`: what can never start
leaves the queue). The script that SLURM was given lies in every run's folder as
slurm/<phase>-<job>.sh, the run's output beside it.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.schema import Cluster
from bench.core.store.files import read_json, write_json
from bench.core.store.lease import Leases
from bench.core.store.states import run_state
from slurm import code_snapshot, queue
from slurm.job import SlurmJob

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
        queue.require_slurm()
        self.sweep = sweep
        self.leases = sweep.runs.resolve() / "sweeps" / "leases"
        self.jobs_folder = sweep.folder.resolve() / "jobs"
        self._asked, self._queued = float("-inf"), {}

    # Submitting -----------------------------------------------------------------------------------

    def start(self, planned: list[Planned], retry: bool) -> None:
        """Submit what is missing and not already in the queue."""
        name = f"submit-{self.sweep.name}"
        lease = Leases(self.leases).acquire_watching(name, "is submitting this study")
        if lease is None:
            raise ValueError(
                f"this study is being submitted by {Leases(self.leases).holder(name)}: "
                "try again in a moment"
            )
        lease.keep()  # many sbatch calls take longer than a silent lease is believed
        try:
            queue_now = self.queued(fresh=True)
            self._submit([p for p in planned if not self._in_queue(p, queue_now)])
            self._asked = float("-inf")  # the answer is from before
        finally:
            lease.release()

    def _in_queue(self, planned: Planned, queue_now: dict[str, str]) -> bool:
        jobs = [job for job in self.jobs_of(str(planned.spec.id)).values() if job in queue_now]
        if jobs:
            print(f"{planned.spec.id}: already in the queue as job {', '.join(jobs)}")
        return bool(jobs)

    def _submit(self, planned: list[Planned]) -> None:
        if not planned:
            return
        self.jobs_folder.mkdir(parents=True, exist_ok=True)
        cfg = planned[0].spec.cfg
        assert cfg is not None
        assert isinstance(cfg.compute, Cluster)
        self.compute = cfg.compute
        check_time(self.compute)
        self.code = code_snapshot.take(self.sweep.runs.resolve() / "sweeps")
        training = [p for p in planned if p.state.name != "trained"]
        trained = self._submit_many("train", training)
        evaluations = []
        for p in planned:
            run = str(p.spec.id)
            after = [trained[run]] if run in trained else []
            evaluations.append(self._submit_many("evaluate", [p], after)[run])
        report = SlurmJob(
            (
                "-m",
                "bench.report",
                "all",
                "--runs",
                str(self.sweep.runs),
                *self.sweep.report_words(),
            ),
            "report",
            os.getcwd(),
        )
        job = self._executor("report", evaluations, small=True).submit(report).job_id
        write_json(self.sweep.folder / "report.json", {"job": job})
        print(
            f"{len(training)} training job(s), {len(evaluations)} evaluation job(s), "
            f"and job {job} for the report, "
            f"from {self.code.name}"
        )

    def _submit_many(
        self, phase: str, planned: list[Planned], after: Sequence[str] = ()
    ) -> dict[str, str]:
        """Submit a job a run, as one array where there are several; returns run -> job."""
        if not planned:
            return {}
        executor = self._executor(phase, after)
        jobs = {}
        with executor.batch():
            submitted = [executor.submit(self._job(phase, p)) for p in planned]
        for p, job in zip(planned, submitted, strict=True):
            run = str(p.spec.id)
            jobs[run] = job.job_id
            self._keep(run, phase, job)
        return jobs

    def _job(self, phase: str, planned: Planned) -> SlurmJob:
        words = [
            word
            for word in planned.spec.overrides
            if phase != "train" or not word.startswith("measure=")
        ]
        words += ["measure=none"] if phase == "train" else []
        run = self.sweep.runs.resolve() / str(planned.spec.id)
        threads = self.compute.threads or self.compute.cpus
        return SlurmJob(
            ("-m", "bench.run", *words), phase, os.getcwd(), str(run), str(self.leases), threads
        )

    def _keep(self, run: str, phase: str, job: Any) -> None:
        """The job's number and its script, in the run's folder."""
        folder = self.sweep.runs / run / "slurm"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(job.paths.submission_file, folder / f"{phase}-{job.job_id}.sh")
        jobs = read_json(folder / "jobs.json") | {phase: job.job_id}
        write_json(folder / "jobs.json", jobs)

    def _executor(self, phase: str, after: Sequence[str] = (), small: bool = False) -> Any:
        """submitit's executor with the settings of conf/compute/slurm.yaml.

        Raises ValueError for what it refuses.
        """
        import submitit

        c = self.compute
        # submitit's own count of time-outs is not used: slurm.job requeues as long as something is
        # saved
        executor = submitit.SlurmExecutor(folder=self.jobs_folder)
        parameters: dict[str, Any] = {
            "job_name": f"{self.sweep.name}-{phase}",
            "time": c.time,
            "nodes": 1 if small else c.nodes,
            "ntasks_per_node": 1 if small else c.processes,
            "cpus_per_task": c.cpus,
            "signal_delay_s": c.signal,
            "array_parallelism": c.parallel,
            "setup": [*c.setup, f"export PYTHONPATH={_quote(self.code)} PYTHONSAFEPATH=1"],
            "srun_args": ["--kill-on-bad-exit=1"],
            "stderr_to_stdout": True,
            "additional_parameters": {
                "requeue": True,
                **({"kill-on-invalid-dep": "yes"} if after else {}),
                **c.extra,
            },
        }
        places = ("partition", "account", "qos", "constraint")
        parameters |= {key: value for key in places if (value := getattr(c, key))}
        if c.gpus and not small:
            parameters["gpus_per_node"] = c.gpus
        if c.memory:
            parameters["mem"] = f"{c.memory}G"
        if after:
            parameters["dependency"] = "afterok:" + ":".join(after)
        executor.update_parameters(**parameters)
        return executor

    # Watching -------------------------------------------------------------------------------------

    def jobs_of(self, run: str) -> dict[str, str]:
        """The newest job of each phase of a run."""
        return read_json(self.sweep.runs / run / "slurm" / "jobs.json")

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
        report = read_json(self.sweep.folder / "report.json").get("job")
        return [*jobs, report] if report else jobs

    def notes(self) -> dict[str, str]:
        """What the queue says of runs that are not running,
        and of jobs that ended without finishing their run.
        """
        queued = self.queued()
        notes = {}
        for run in self.sweep.ids:
            jobs = self.jobs_of(run)
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
        return notes

    def cancel(self) -> int:
        """scancel all jobs of the study; running ones save first."""
        jobs = [job for job in self._jobs() if job in self.queued(fresh=True)]
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


def _quote(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))
