"""Faults of sweeps: workers that die, two sweeps at once, deleted folders, damaged results.

Nothing is lost.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.runs import ROOT, run_cli, tiny_run

from bench.core.store import lease
from bench.core.store.files import read_json, write_json
from bench.core.store.states import RunState, run_state
from bench.study import local as local_sweep
from bench.study import plan, studies
from bench.study import pool as local_pool
from bench.study import runs as study
from bench.study.pool import Job, Pool
from bench.study.request import Planned, Sweep
from bench.study.sweep import clean
from bench.sweep import SWEEP

WORKER = """
import json, os, pathlib, signal, sys, time
folder, behaviour = pathlib.Path(sys.argv[1]), sys.argv[2]
folder.mkdir(parents=True, exist_ok=True)
status = folder / "status.json"
if status.exists() and '"complete"' in status.read_text():
    sys.exit(0)  # as bench.run does
with open(folder / "starts", "a") as file:
    file.write("x")
starts = len((folder / "starts").read_text())
status = {"state": "running", "phase": "training", "host": os.uname().nodename, "pid": os.getpid()}
(folder / "status.json").write_text(json.dumps(status))
if behaviour == "dies twice" and starts <= 2 or behaviour == "always dies":
    os.kill(os.getpid(), signal.SIGKILL)
if behaviour == "saves and dies" and starts <= 5:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / f"ckpt-{starts:012d}-aa.pt").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if behaviour == "fails":
    print("error: loss became nan")
    sys.exit(1)
if behaviour == "asks again" and starts == 1:
    sys.exit(75)
time.sleep(0.2)
(folder / "status.json").write_text(json.dumps(status | {"state": "complete"}))
"""


class FakePool(Pool):
    """Workers that do nothing but what a job's only word says."""

    def command(self, job: Job) -> list[str]:
        return [sys.executable, "-S", "-c", WORKER, str(self.runs / job.id), *job.overrides]

    def launch(self, job: Job, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        with open(log, "ab") as output:
            env = os.environ | environment
            command = self.command(job)
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)


def pool(tmp_path: Path, *behaviours: str, **settings) -> tuple[FakePool, list[str]]:
    said: list[str] = []
    jobs = [Job(f"run{number}", (behaviour,)) for number, behaviour in enumerate(behaviours)]
    made = FakePool(
        tmp_path, tmp_path / "logs", settings.pop("workers", 2), jobs, say=said.append, **settings
    )
    return made, said


def starts(tmp_path: Path, run: str) -> int:
    return len((tmp_path / run / "starts").read_text())


def test_a_worker_that_dies_is_started_again(tmp_path):
    made, said = pool(tmp_path, "dies twice", "works")
    made.work(poll=0.05)
    assert (
        not made.failed
        and run_state(tmp_path / "run0").name == run_state(tmp_path / "run1").name == "complete"
    )
    assert starts(tmp_path, "run0") == 3 and starts(tmp_path, "run1") == 1
    assert any("killed by SIGKILL" in line for line in said)


def test_a_worker_that_always_dies_is_given_up_and_can_be_asked_for_again(tmp_path):
    made, _ = pool(tmp_path, "always dies", "works", retries=2)
    made.work(poll=0.05)
    assert [job.id for job in made.failed] == ["run0"] and starts(tmp_path, "run0") == 3
    assert "3 times without saving anything" in made.failed[0].message
    made.retry()
    assert [job.id for job in made.waiting] == ["run0"] and not made.failed


def test_deaths_are_counted_anew_when_something_was_saved(tmp_path):
    made, _ = pool(tmp_path, "saves and dies", retries=1)
    made.work(poll=0.05)
    assert not made.failed and starts(tmp_path, "run0") == 6


def test_a_failure_is_told_and_not_tried_again(tmp_path):
    made, _ = pool(tmp_path, "fails", "asks again")
    made.work(poll=0.05)
    assert starts(tmp_path, "run0") == 1 and made.failed[0].message == "loss became nan"
    assert starts(tmp_path, "run1") == 2 and run_state(tmp_path / "run1").name == "complete"


def test_two_sweeps_at_once_train_every_run_once(tmp_path):
    first, _ = pool(tmp_path, *["works"] * 4)
    second, said = pool(tmp_path, *["works"] * 4)
    first.start(first.waiting[0])
    second.step()
    assert any("waiting for that one" in line for line in said)
    for _ in range(200):
        if not any([first.step(), second.step()]):
            break
        local_pool.time.sleep(0.02)
    assert [starts(tmp_path, f"run{n}") for n in range(4)] == [1] * 4


def test_a_run_started_by_hand_is_waited_for(tmp_path):
    made, said = pool(tmp_path, "works")
    (tmp_path / "run0").mkdir()
    status = {
        "state": "running",
        "phase": "training",
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }
    write_json(tmp_path / "run0" / "status.json", status)
    assert made.step() and not made.running and "waiting for that one" in said[0]
    (tmp_path / "run0" / "status.json").unlink()
    made.work(poll=0.05)
    assert run_state(tmp_path / "run0").name == "complete"


@pytest.mark.parametrize(
    ("cores", "workers", "asked", "threads"),
    [(2, 2, None, 1), (2, 4, None, 1), (8, 2, None, 4), (8, 3, None, 2), (8, 2, 3, 3)],
)
def test_workers_share_the_cores_unless_told(tmp_path, monkeypatch, cores, workers, asked, threads):
    monkeypatch.setattr(local_pool.os, "sched_getaffinity", lambda _: set(range(cores)))
    words = Pool(tmp_path, tmp_path, workers, []).words(Job("run", (), asked))
    assert [word for word in words if word.startswith("compute.threads")][
        -1
    ] == f"compute.threads={threads}"


def test_workers_get_their_own_gpu_and_one_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(local_pool.os, "sched_getaffinity", lambda _: {0, 1})
    seen = []
    real = FakePool.launch
    monkeypatch.setattr(
        FakePool,
        "launch",
        lambda pool, job, env, log: seen.append(env) or real(pool, job, env, log),
    )
    made, _ = pool(tmp_path, "works", "works", gpus=["3", "5"])
    made.work(poll=0.05)
    assert sorted(env["CUDA_VISIBLE_DEVICES"] for env in seen) == ["3", "5"]
    assert {env["OMP_NUM_THREADS"] for env in seen} == {"1"}


@pytest.fixture
def one_run(tmp_path, monkeypatch):
    """A study of one tiny run."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "one.yaml").write_text(
        "description: One run\nclaims: []\narms:\n  vanilla: [method=vanilla]\n"
        "data:\n  digits: {lasts: seconds, overrides: [size=nano], seeds: 1}\n"
    )
    monkeypatch.setattr(studies, "FOLDER", folder)
    words = [word for word in tiny_run(tmp_path / "runs") if not word.startswith("compute")]
    return Sweep(study="one", overrides=words)


def real_pool(made: Sweep) -> Pool:
    jobs = [Job(str(p.spec.id), p.spec.overrides, 1) for p in plan.make(made.specs) if not p.done]
    return Pool(made.runs, made.runs / "sweeps" / "logs", 1, jobs)


@pytest.mark.slow
def test_a_run_folder_deleted_under_a_worker_is_made_anew(one_run):
    made = real_pool(one_run)
    folder = one_run.runs / one_run.ids[0]
    deleted = False
    while made.step():
        if not deleted and list(folder.glob("checkpoints/*.pt")):
            made.running[0].process.send_signal(signal.SIGSTOP)
            shutil.rmtree(folder)
            made.running[0].process.send_signal(signal.SIGCONT)
            deleted = True
        local_pool.time.sleep(0.01)
    assert deleted and not made.failed, (
        made.failed,
        (one_run.runs / "sweeps" / "logs" / f"{folder.name}.log").read_text(),
    )
    assert all(p.done for p in plan.make(one_run.specs))


@pytest.mark.slow
def test_half_written_results_are_measured_again(one_run, tmp_path):
    words = [*one_run.specs[0].overrides, "compute.threads=1", "compute.device=cpu"]
    words = [word for word in words if not word.startswith("measure=")] + [
        "measure=quick",
        "evaluation.samples=64",
        "images=12800",
    ]
    assert run_cli("bench.run", *words).returncode == 0
    specs = study.runs(
        "one",
        "digits",
        [word for word in words if not word.startswith(("method", "size", "seed", "data"))],
    )
    folder = one_run.runs / str(specs[0].id)
    (path,) = folder.glob("results/heldout-*.json")
    whole = read_json(path)["rows"]
    path.write_text(path.read_text()[:200])
    assert [p.done for p in plan.make(specs)] == [False]
    assert run_cli("bench.run", *words).returncode == 0
    assert read_json(path)["rows"] == whole
    finished = plan.make(specs)
    assert [p.done for p in finished] == [True]
    assert len(list(folder.glob("checkpoints/*.pt"))) == 2
    clean(one_run, finished)
    assert len(list(folder.glob("checkpoints/*.pt"))) == 1 and [
        p.done for p in plan.make(specs)
    ] == [True]


def checkpoint(folder: Path, images: int, content: bytes = b"state", damaged: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"ckpt-{images:012d}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
    path.write_bytes(b"half" if damaged else content)
    return path


def test_cleaning_keeps_the_last_whole_checkpoint_and_a_dry_run_keeps_all(one_run, capsys):
    folder = one_run.runs / one_run.ids[0] / "checkpoints"
    old, good = checkpoint(folder, 1), checkpoint(folder, 2)
    newest = checkpoint(folder, 3, damaged=True)
    killed, aside = folder / ".ckpt-000000000004.17.tmp", folder / f"damaged-{old.name}"
    killed.touch()
    aside.touch()
    snapshot = folder / "README"
    snapshot.touch()
    finished = [Planned(one_run.specs[0], "vanilla", "nano", RunState("complete"), done=True)]
    clean(replace(one_run, dry_run=True), finished)
    said = capsys.readouterr().out
    assert (
        all(f"would delete {path}" in said for path in (old, newest, killed, aside))
        and str(good) not in said
    )
    assert len(list(folder.iterdir())) == 6
    clean(one_run, finished)
    assert set(folder.iterdir()) == {good, snapshot}
    good.write_bytes(b"half")
    clean(one_run, finished)
    assert set(folder.iterdir()) == {good, snapshot}, "without a whole one nothing is thrown away"


def test_a_dry_run_of_cancel_asks_for_nothing(one_run, capsys):
    held_elsewhere(one_run)
    assert local_sweep.Local(replace(one_run, dry_run=True)).cancel() == 0
    assert "would ask process 1 on elsewhere to stop" in capsys.readouterr().out
    assert not (one_run.folder / "requests").exists()


def test_nothing_to_retry_is_said(one_run, capsys):
    words = [f"study={one_run.study}", *one_run.overrides, "action=retry"]
    assert SWEEP.main(words) == 0
    assert "nothing to retry: no run of this study has failed" in capsys.readouterr().out


def held_elsewhere(made: Sweep) -> Path:
    path = made.runs / "sweeps" / "leases" / f"sweep-{made.name}.json"
    write_json(path, {"host": "elsewhere", "pid": 1, "started": "5", "beats": 3})
    return path


def test_a_study_whose_host_is_gone_is_started_in_its_place(one_run, monkeypatch, capsys):
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.3)
    path, started = held_elsewhere(one_run), []
    monkeypatch.setattr(
        local_sweep, "start_in_background", lambda *a: started.append(path.exists())
    )
    local_sweep.Local(one_run).start([], retry=False)
    assert started == [False], "a lease that is left would be taken for the background process's"
    assert "waiting for a sign of life" in capsys.readouterr().out


def test_the_background_process_takes_over_what_another_host_left(one_run, monkeypatch):
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.3)
    monkeypatch.setattr(local_sweep, "Pool", FakePool)
    path = held_elsewhere(one_run)
    monkeypatch.setattr(FakePool, "command", lambda self, job: [sys.executable, "-c", ""])
    assert local_sweep.Local(one_run).work() == 0 and not path.exists()


# A worker that ends as a run does that was asked to, once it hears.
SAVES = (
    "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(143)); "
    "print(1, flush=True); time.sleep(60)"
)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_study_that_is_ended_lets_its_runs_save(one_run, monkeypatch, sent):
    monkeypatch.setattr(local_sweep, "Pool", FakePool)
    monkeypatch.setattr(FakePool, "command", lambda self, job: [sys.executable, "-c", SAVES])
    started = FakePool.start

    def start_and_end(self, job):
        started(self, job)
        while not self.running[0].log.read_text():
            time.sleep(0.02)
        signal.raise_signal(sent)

    monkeypatch.setattr(FakePool, "start", start_and_end)
    # pytest itself may be below nohup
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (sent, signal.SIGTERM)}
    try:
        assert local_sweep.Local(one_run).work() == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    (note,) = local_sweep.Local(one_run).notes().values()
    assert "stopped from outside with everything saved" in note


def test_a_study_that_another_host_took_over_ends_here(one_run, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(local_sweep, "Pool", FakePool)
    monkeypatch.setattr(FakePool, "command", lambda self, job: [sys.executable, "-c", SAVES])
    started = FakePool.start

    def start_and_lose(self, job):
        started(self, job)
        path = held_elsewhere(one_run)
        time.sleep(0.2)
        # a beat that was under way may come after: a host takes over only from one that is silent
        while read_json(path).get("host") != "elsewhere":
            held_elsewhere(one_run)
            time.sleep(0.2)

    monkeypatch.setattr(FakePool, "start", start_and_lose)
    assert local_sweep.Local(one_run).work() == 1
    assert (
        read_json(one_run.runs / "sweeps" / "leases" / f"sweep-{one_run.name}.json")["host"]
        == "elsewhere"
    )


def test_a_dead_processs_lease_is_not_taken_for_the_new_ones(one_run, monkeypatch):
    """The file that a killed process left appears ready at once; the child's own comes later."""
    path = held_elsewhere(one_run)
    child = (
        "import json, os, sys, time; time.sleep(0.5); "
        "open(sys.argv[1], 'w').write(json.dumps({'pid': os.getpid()})); time.sleep(5)"
    )
    real, made = subprocess.Popen, []

    def popen(command, **settings):
        made.append(real([sys.executable, "-c", child, str(path)], **settings))
        return made[0]

    monkeypatch.setattr(local_sweep.subprocess, "Popen", popen)
    local_sweep.start_in_background(one_run, [], path)
    assert read_json(path)["pid"] == made[0].pid
    made[0].kill()
    made[0].wait()


@pytest.mark.slow
def test_the_terminal_can_be_left_and_the_study_cancelled(tmp_path):
    words = [
        "study=demo",
        "seed=0",
        "images=64Mi",
        "log_images=256",
        "measure=none",
        "compute.threads=1",
        f"runs={tmp_path}",
        "workers=1",
    ]
    command = [sys.executable, "-m", "bench.sweep", *words]
    viewer = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    )
    folder = tmp_path / study.runs("demo", extra=words[1:3])[0].id
    for _ in range(600):
        if run_state(folder).alive and run_state(folder).images:
            break
        local_pool.time.sleep(0.1)
    viewer.send_signal(signal.SIGINT)
    said = viewer.communicate(timeout=30)[0]
    assert viewer.returncode == 130 and "the study goes on in the background" in said
    assert run_state(folder).alive
    cancelled = run_cli("bench.sweep", *words, "action=cancel")
    assert cancelled.returncode == 0, cancelled.stderr
    assert run_state(folder).name == "stopped" and list(folder.glob("checkpoints/*.pt"))
    assert "nothing to cancel" in run_cli("bench.sweep", *words, "action=cancel").stdout
