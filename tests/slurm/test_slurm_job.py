"""What a job does with signals and exit codes, and the code that it runs; without a cluster."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from slurm import code_snapshot, job, queue
from slurm.job import IDLE_STARTS, SlurmJob
from slurm.launch import check_time, last_that_ran


@pytest.fixture
def requeued(monkeypatch) -> list[list[str]]:
    """The commands that a job gives to SLURM."""
    commands: list[list[str]] = []
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setattr(job.subprocess, "run", lambda command, **_: commands.append(command))
    return commands


@pytest.fixture(autouse=True)
def _handlers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def call(tmp_path, code: str) -> int:
    """The exit code of a job whose run is this Python code."""
    made = SlurmJob(
        ("-c", code), "train", str(tmp_path), str(tmp_path / "run"), str(tmp_path / "leases")
    )
    try:
        assert made() == "done"
        return 0
    except SystemExit as end:
        assert isinstance(end.code, int)
        assert not (tmp_path / "not-signalled").exists(), "the run did not get the signal"
        return end.code


def send(name: str, then: str) -> str:
    """A run whose job receives a signal when the run is ready,
    and that does `then` when it gets it itself.
    """
    return f"""
import os, signal, sys, time
signal.signal(signal.{name}, lambda *_: sys.exit({then}))
os.kill(os.getppid(), signal.{name})
time.sleep(20)
open('not-signalled', 'w').close()
"""


def test_a_finished_run_ends_its_job(tmp_path, requeued):
    assert call(tmp_path, "print('hello')") == 0
    assert (tmp_path / "run" / "slurm" / "train-12_3.log").read_text() == "hello\n"
    assert not requeued and not list((tmp_path / "leases").glob("*"))


def test_usr2_is_passed_on_and_the_job_requeued_with_its_own_number(tmp_path, requeued):
    assert call(tmp_path, send("SIGUSR2", "75")) == 75
    assert requeued == [["scontrol", "requeue", "12_3"]]


def test_sigterm_is_passed_on_and_the_job_not_requeued(tmp_path, requeued):
    assert call(tmp_path, send("SIGTERM", "143")) == 143
    assert not requeued


def test_sigterm_wins_over_usr2(tmp_path, requeued):
    both = send("SIGTERM", "75").replace(
        "os.kill", "os.kill(os.getppid(), signal.SIGUSR2); os.kill", 1
    )
    both = both.replace(
        "import os",
        "import os, signal; signal.signal(signal.SIGUSR2, signal.SIG_IGN)\nimport os",
        1,
    )
    assert call(tmp_path, both) == 143
    assert not requeued


@pytest.mark.parametrize(
    ("code", "end"), [("import sys; sys.exit(2)", 2), ("import os; os.kill(os.getpid(), 9)", 1)]
)
def test_a_failure_is_not_requeued(tmp_path, requeued, code, end):
    assert call(tmp_path, code) == end
    assert not requeued


def test_requeues_without_progress_end_with_a_message(tmp_path, requeued):
    for _ in range(IDLE_STARTS):
        assert call(tmp_path, send("SIGUSR2", "75")) == 75
    assert call(tmp_path, "print('not reached')") == 1
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed" and "saved nothing new" in status["message"]
    assert len(requeued) == IDLE_STARTS


def test_requeues_with_progress_are_not_counted(tmp_path, requeued):
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for start in range(2 * IDLE_STARTS):
        assert call(tmp_path, send("SIGUSR2", "75")) == 75
        (checkpoints / f"ckpt-{start + 1:012d}-aa.pt").touch()


def test_the_run_ends_with_its_task(tmp_path):
    """A task that is killed leaves no orphan: its run gets SIGTERM."""
    child = (
        "import signal, sys, time; "
        "signal.signal(15, lambda *_: (open('saved', 'w').close(), sys.exit()));"
    )
    child += "print('ready', flush=True); time.sleep(20)"
    parent = "import subprocess, sys; from slurm.job import die_with_parent as d; "
    parent += f"subprocess.Popen([sys.executable, '-c', {child!r}], preexec_fn=d).wait()"
    environment = {"PYTHONPATH": str(code_snapshot.ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.kill()
    process.stdout.read()  # ends when the child has closed it, too
    assert (tmp_path / "saved").exists()


def test_code_is_copied_once_and_runs_from_the_copy(tmp_path):
    copy = code_snapshot.take(tmp_path)
    assert code_snapshot.take(tmp_path) == copy
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [copy]
    where = "import bench, slurm; print(bench.__file__, slurm.__file__)"
    environment = {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=code_snapshot.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found.split() == [
        str(copy / "bench" / "__init__.py"),
        str(copy / "slurm" / "__init__.py"),
    ]


def test_a_signal_that_comes_before_the_work_is_refused():
    check_time(SimpleNamespace(time=2, signal=59))
    for time, signal_at in ((2, 60), (1, 120), (4, 240)):
        with pytest.raises(
            ValueError,
            match=rf"compute.signal={signal_at} .* leaves nothing of compute.time={time}",
        ):
            check_time(SimpleNamespace(time=time, signal=signal_at))


def test_the_job_that_is_named_is_the_last_that_ran(tmp_path):
    jobs = {"evaluate": "13", "train": "12_0"}
    assert last_that_ran(tmp_path, jobs) == "12_0", "none has begun: the others wait for it"
    (tmp_path / "train-12_0.log").touch()
    assert last_that_ran(tmp_path, jobs) == "12_0"
    (tmp_path / "evaluate-13.log").touch()
    assert last_that_ran(tmp_path, jobs) == "13"
    assert last_that_ran(tmp_path, {"evaluate": "14"}) == "14"


def test_without_slurm_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ValueError, match="no sbatch command"):
        queue.require_slurm()
