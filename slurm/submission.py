"""What a study lacks in the queue, submitted through submitit: arrays that train, a job a run that
evaluates, one that reports.

    Submission(sweep, jobs, queue_now).make(planned)

Each waits for those before it (`afterok`, and `--kill-on-invalid-dep=yes`: what can never start
leaves the queue), be they submitted now or queued since an earlier submission that broke off. What
the cluster does not take is said, and submitted by the same command later. The script that SLURM
was given lies in every run's folder as slurm/<phase>-<job>.sh, the run's output beside it.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.schema import Cluster
from bench.core.store.files import read_json, write_json
from slurm import code_snapshot, queue
from slurm.executor import executor
from slurm.job import SlurmJob

if TYPE_CHECKING:
    from bench.study.request import Planned, Sweep

SAY_SECONDS = 5.0  # between two words on how far it is
# In the words of sbatch where one may not have more jobs (MaxSubmitJobs of user, account or QOS).
LIMIT = re.compile("submit[a-z ]*limit", re.IGNORECASE)
NEVER = "DependencyNeverSatisfied"  # such a job is about to leave the queue


class Submission:
    """One submission. jobs: run -> phase -> job, of earlier ones; queue_now: as `queue.queued`."""

    def __init__(
        self, sweep: Sweep, jobs: Mapping[str, Mapping[str, str]], queue_now: Mapping[str, str]
    ):
        self.sweep = sweep
        self.jobs_folder = sweep.folder.resolve() / "jobs"
        self.leases = sweep.runs.resolve() / "sweeps" / "leases"
        waiting = {job for job, state in queue_now.items() if NEVER not in state}
        self.queued = {
            run: {phase: job for phase, job in phases.items() if job in waiting}
            for run, phases in jobs.items()
        }
        report = read_json(report_file(sweep)).get("job")
        self.report = report if report in waiting else None
        self.refused: dict[str, int] = {}  # sbatch's words -> jobs
        self.full = ""  # its words where no further job may be submitted
        self.said = time.monotonic()

    def make(self, planned: list[Planned]) -> None:
        """Submit what is missing. Raises OSError with sbatch's words where none of the study's jobs
        was taken.
        """
        # what is there already
        for p in planned:
            if there := self.queued.get(str(p.spec.id)):
                print(f"{p.spec.id}: already in the queue as job {', '.join(there.values())}")
        evaluating = [p for p in planned if not self._has(p, "evaluate")]
        untrained = [p for p in evaluating if p.state.name != "trained"]
        training = [p for p in untrained if not self._has(p, "train")]
        if not training and not evaluating and self.report:
            return
        self._prepare(planned[0])

        # what is not
        trained = self._submit_arrays("train", training)
        evaluated: dict[str, str] = {}
        for number, p in enumerate(evaluating):
            run = str(p.spec.id)
            before = trained.get(run) or self.queued.get(run, {}).get("train")
            if p.state.name == "trained" or before:
                evaluated |= self._submit("evaluate", [p], [before] if before else [])
            self._say(f"{number + 1} of {len(evaluating)} evaluations submitted")
        report = self._submit_report(evaluated)

        # what came of it
        if self.refused and not (trained or evaluated or report or any(self.queued.values())):
            raise OSError("; ".join(self.refused))
        done = f"{len(trained)} training job(s), {len(evaluated)} evaluation job(s)"
        print(
            f"{done}{f', and job {report} for the report' if report else ''}, from {self.code.name}"
        )
        for words, count in self.refused.items():
            print(f"{count} job(s) refused: {words}")
        lacking = len(training) - len(trained) + len(evaluating) - len(evaluated)
        if lacking or not report:
            print(
                f"{lacking + (not report)} job(s) are not submitted yet; when there is room, or "
                f"what is wrong is mended, the same command does: {self.sweep.command()}"
            )

    def _has(self, planned: Planned, phase: str) -> bool:
        return phase in self.queued.get(str(planned.spec.id), {})

    def _prepare(self, planned: Planned) -> None:
        cfg = planned.spec.cfg
        assert cfg is not None
        assert isinstance(cfg.compute, Cluster)
        self.compute = cfg.compute
        self.jobs_folder.mkdir(parents=True, exist_ok=True)
        self.code = code_snapshot.take(self.sweep.runs.resolve() / "sweeps")
        if own := [name for name in queue.of_a_job(os.environ) if name.startswith("SBATCH_")]:
            print(
                f"{', '.join(sorted(own))} of this shell are not handed on: what jobs ask for is "
                "said by compute.KEY=VALUE (docs/cluster.md)"
            )

    # Submitting -----------------------------------------------------------------------------------

    def _submit_arrays(self, phase: str, planned: list[Planned]) -> dict[str, str]:
        """A job a run in as few arrays as the cluster takes; returns run -> job. They share
        `compute.parallel` out.
        """
        largest = queue.largest_array() or len(planned)
        parts = list(_parts(planned, largest))
        jobs: dict[str, str] = {}
        for part in parts:
            jobs |= self._submit(phase, part, arrays=len(parts))
            self._say(f"{len(jobs)} of {len(planned)} {phase} jobs submitted")
        return jobs

    def _submit(
        self, phase: str, planned: list[Planned], after: Sequence[str] = (), arrays: int = 1
    ) -> dict[str, str]:
        """A job a run, as one array where there are several; in halves where a limit leaves room
        for a part. Returns run -> job of those that were taken.
        """
        from submitit.core.utils import FailedJobError

        if self.full or not planned:
            return {}
        name = f"{self.sweep.name}-{phase}"
        made = executor(self.compute, self.jobs_folder, name, self.code, after, arrays=arrays)
        jobs: dict[str, str] = {}
        try:
            with queue.submitting():
                with made.batch():
                    submitted = [made.submit(self._job(phase, p)) for p in planned]
                for p, job in zip(planned, submitted, strict=True):
                    jobs[str(p.spec.id)] = job.job_id
                    self._keep(str(p.spec.id), phase, job)
        except FailedJobError as error:
            words = " ".join(str(error).split())
            if LIMIT.search(words) and len(planned) > 1:
                half = len(planned) // 2
                jobs |= self._submit(phase, planned[:half], after, arrays)
                return jobs | self._submit(phase, planned[half:], after, arrays)
            self._refuse(words, len(planned))
        return jobs

    def _refuse(self, words: str, count: int) -> None:
        self.refused[words] = self.refused.get(words, 0) + count
        if LIMIT.search(words):
            self.full = words

    def _submit_report(self, evaluated: Mapping[str, str]) -> str | None:
        """The job that reports, after all evaluations; one from before, which knows not all of
        them, leaves the queue. None where it was refused.
        """
        from submitit.core.utils import FailedJobError

        queued = [phases["evaluate"] for phases in self.queued.values() if "evaluate" in phases]
        after = [*queued, *evaluated.values()]
        if self.full or not after:
            return self.report
        words = ("-m", "bench.report", "all", "--runs", str(self.sweep.runs))
        job = SlurmJob((*words, *self.sweep.report_words()), "report", os.getcwd())
        name = f"{self.sweep.name}-report"
        made = executor(self.compute, self.jobs_folder, name, self.code, after, small=True)
        try:
            with queue.submitting():
                submitted = made.submit(job).job_id
                write_json(report_file(self.sweep), {"job": submitted})
        except FailedJobError as error:
            self._refuse(" ".join(str(error).split()), 1)
            return self.report
        if self.report:
            queue.cancel([self.report])
        return submitted

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
        write_json(folder / "jobs.json", read_json(folder / "jobs.json") | {phase: job.job_id})
        shutil.copy(job.paths.submission_file, folder / f"{phase}-{job.job_id}.sh")

    def _say(self, text: str) -> None:
        """How far it is, where that takes long."""
        if time.monotonic() - self.said > SAY_SECONDS:
            self.said = time.monotonic()
            print(f"{text} ...", flush=True)


def report_file(sweep: Sweep) -> Path:
    """Where the number of the job that reports is written down."""
    return sweep.folder / "report.json"


def _parts(planned: list[Planned], most: int) -> Iterator[list[Planned]]:
    for first in range(0, len(planned), most):
        yield planned[first : first + most]
