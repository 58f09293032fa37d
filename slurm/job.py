"""What runs inside a job: one `python -m bench.run ...` a task, its signals,
and whether the job is to be queued again.

    USR2      a time limit is near, or preemption: forwarded; the run saves and ends with 75,
              the job is requeued
    SIGTERM   scancel: forwarded; the run saves and ends with 143, the job ends and does not
              come back by itself

submitit's own handlers, which count time-outs and give up after three, are replaced. A requeued job
starts with its old arguments: where it goes on is in the run folder alone. One that is requeued
again and again without saving ends itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench.cli import FAILED, REQUEUE
from bench.core.store.files import read_json, write_json
from bench.core.store.lease import Lease, Leases
from bench.core.store.runs import read_status, write_status
from bench.core.store.states import progress

# starts of one job in a row that found nothing new saved, after which it ends itself
IDLE_STARTS = 3
PR_SET_PDEATHSIG = 1
STOPPED = 143


@dataclass
class SlurmJob:
    """arguments: of python; phase: train, evaluate or report; cwd: where to work; run:
    its folder, or None.
    """

    arguments: tuple[str, ...]
    phase: str
    cwd: str
    run: str | None = None
    leases: str | None = None
    threads: int = 1

    def __call__(self) -> str:
        """Called by submitit in every task of the job;
        ends the process itself unless all is done.
        """
        self.signals: list[int] = []
        self.child: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self.receive)
        os.chdir(self.cwd)
        self.rank = int(os.environ.get("SLURM_PROCID", "0"))
        self.id = job_id()
        if self.run and self.rank == 0:
            self.stop_idle_loop()
        lease = self.wait_for_lease()
        code = self.execute() if not self.signals else REQUEUE
        if lease:
            lease.release()
        return self.end(code)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note a signal and pass it on."""
        self.signals.append(number)
        self.say(f"received {signal.Signals(number).name}")
        if self.child and self.child.poll() is None:
            self.child.send_signal(number)

    def say(self, text: str) -> None:
        """A line of the job's log."""
        print(f"[job {self.id} {self.phase}] {text}", flush=True)

    # Before ---------------------------------------------------------------------------------------

    def stop_idle_loop(self) -> None:
        """End the job for good when its last starts all found the run where it was."""
        path = self.folder / f"starts-{self.id}.json"
        starts = [*read_json(path).get("progress", []), progress(Path(str(self.run)))]
        write_json(path, {"progress": starts})
        idle = starts[-IDLE_STARTS - 1 :]
        if len(idle) > IDLE_STARTS and len(set(idle)) == 1:
            self.fail(
                f"job {self.id} was started {len(starts)} times and the last {IDLE_STARTS} "
                "saved nothing new: "
                "it ends here. Give it more time (compute.time=MINUTES), "
                "save more often (checkpoint_minutes=...), "
                "or look into its log for what kills it"
            )

    def fail(self, message: str) -> None:
        """Say why in the run's status and end."""
        self.say(message)
        run = Path(str(self.run))
        failed = {"state": "failed", "message": message}
        write_status(run, {"heartbeat": time.time()} | read_status(run) | failed)
        sys.exit(FAILED)

    @property
    def folder(self) -> Path:
        return Path(str(self.run)) / "slurm"

    def wait_for_lease(self) -> Lease | None:
        """The run's lease; waits while another sweep's worker or job trains the same run.

        Rank 0 holds it for all; the others wait with it, since a rendezvous without rank 0 gives up
        after minutes.
        """
        if not self.run or not self.leases:
            return None
        leases, name = Leases(Path(self.leases)), Path(self.run).name
        told = False
        while not self.signals:
            if self.rank and not leases.held_by_other_job(name):
                return None
            lease = None if self.rank else leases.acquire(name)
            if lease:
                return lease.keep()
            if not told:
                self.say(f"{name} is being trained by {leases.holder(name)}: waiting for that")
                told = True
            time.sleep(2)
        return None

    # The work -------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The child's: threads, and for several tasks who is who."""
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "PYTHONUNBUFFERED": "1"}
        if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and self.phase != "report":
            from submitit.helpers import TorchDistributedEnvironment

            who = TorchDistributedEnvironment()
            environment |= {"MASTER_ADDR": who.master_addr, "MASTER_PORT": str(who.master_port)}
            environment |= {
                "RANK": str(who.rank),
                "WORLD_SIZE": str(who.world_size),
                "LOCAL_RANK": str(who.local_rank),
            }
        return environment

    def execute(self) -> int:
        """Run the child to its end; its output goes beside the run. Returns its exit code."""
        command = [sys.executable, *self.arguments]
        self.say(f"$ {' '.join(command)}")
        with contextlib.ExitStack() as stack:
            output = None
            if self.run:
                log = self.folder / (
                    f"{self.phase}-{self.id}.{self.rank}.log"
                    if self.rank
                    else f"{self.phase}-{self.id}.log"
                )
                self.say(f"its output is in {log}")
                log.parent.mkdir(parents=True, exist_ok=True)
                output = stack.enter_context(open(log, "ab"))
            self.child = subprocess.Popen(
                command,
                env=self.environment(),
                preexec_fn=die_with_parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if self.signals:  # one that came before the child existed
            self.child.send_signal(self.signals[-1])
        while True:
            # not one endless wait: a signal just before the system call would be handled only when
            # the child has ended
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.child.wait(timeout=1)

    # After ----------------------------------------------------------------------------------------

    def end(self, code: int) -> str:
        """Finish, requeue or end, as the child's exit code and the signals say."""
        if code == 0 and signal.SIGTERM not in self.signals:
            return "done"
        if self.rank:
            self.wait_for_signal()
            sys.exit(0 if self.signals else code if code > 0 else FAILED)
        if signal.SIGTERM in self.signals or code == STOPPED:
            self.say(
                "stopped by SIGTERM; not queued again by us: "
                "the command that started the study goes on from here"
            )
            sys.exit(STOPPED)
        if code in (REQUEUE, -signal.SIGUSR2) or (signal.SIGUSR2 in self.signals and code < 0):
            self.say("saved; asking SLURM to queue this job again")
            subprocess.run(["scontrol", "requeue", self.id], check=True, timeout=120)
            sys.exit(REQUEUE)
        self.say(f"ended with exit code {code}")
        sys.exit(code if code > 0 else FAILED)

    def wait_for_signal(self) -> None:
        """Other ranks may save and end a moment before the signal that made rank
        0 stop reaches their own task.
        """
        for _ in range(50):
            if self.signals:
                return
            time.sleep(0.1)


def job_id() -> str:
    """This job's id as scontrol takes it: "12", or "12_3" in an array."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "0")


def die_with_parent() -> None:
    """In the child: have the kernel send SIGTERM when the task's process is killed:
    the run saves, no orphan stays.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
