"""One trainer a run: leases on one host, and among hosts whose clocks cannot be trusted;
states of run folders.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time

import pytest

from bench.core.store import folder as run_folder
from bench.core.store import lease as lease_module
from bench.core.store.files import read_json, write_json
from bench.core.store.folder import RunFolder
from bench.core.store.lease import Leases
from bench.core.store.states import progress, run_state


def test_one_holder_at_a_time(tmp_path):
    first = Leases(tmp_path).acquire("run")
    assert first is not None
    assert Leases(tmp_path).acquire("run") is None
    assert Leases(tmp_path).acquire("another") is not None
    first.release()
    assert Leases(tmp_path).acquire("run") is not None


def test_a_dead_holder_of_this_host_is_noticed_at_once(tmp_path):
    process = subprocess.Popen(["sleep", "0"])
    process.wait()
    (tmp_path / "run.json").write_text(
        json.dumps({"host": socket.gethostname(), "pid": process.pid, "started": "5", "beats": 1})
    )
    assert Leases(tmp_path).acquire("run") is not None


def test_a_later_process_with_the_number_of_the_holder_is_not_the_holder(tmp_path):
    (tmp_path / "run.json").write_text(
        json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": "5", "beats": 1})
    )
    assert Leases(tmp_path).acquire("run") is not None


def test_another_host_holds_it_while_its_lease_changes_whatever_the_clocks_say(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(lease_module, "STALE_SECONDS", 0.2)
    leases, path = Leases(tmp_path), tmp_path / "run.json"

    def beat(number: int) -> None:
        path.write_text(
            json.dumps({"host": "elsewhere", "pid": 1, "started": "5", "beats": number})
        )

    for number in range(3):
        beat(number)
        assert leases.acquire("run") is None
        monkeypatch.setattr(
            time, "time", lambda number=number: -1e6 * number
        )  # the clock is set back
        time.sleep(0.25)
    beat(9)
    assert leases.acquire("run") is None
    time.sleep(0.25)
    assert leases.acquire("run") is not None


ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": "5"}


def test_a_silent_holder_on_another_host_is_watched_and_succeeded(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "STALE_SECONDS", 0.3)
    (tmp_path / "run.json").write_text(json.dumps(ELSEWHERE))
    said: list[str] = []
    lease = Leases(tmp_path).acquire_watching("run", "has it", said.append)
    assert lease is not None and read_json(lease.path)["pid"] == os.getpid()
    assert "process 1 on elsewhere" in said[0] and "in its place" in said[1]


def test_watching_ends_at_a_sign_of_life(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(ELSEWHERE | {"beats": 1}))
    monkeypatch.setattr(
        time, "sleep", lambda _: path.write_text(json.dumps(ELSEWHERE | {"beats": 2}))
    )
    assert Leases(tmp_path).acquire_watching("run", "has it", lambda _: None) is None
    assert read_json(path)["beats"] == 2


def test_a_holder_that_hung_does_not_take_its_lease_back_from_its_successor(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.0)
    lease = Leases(tmp_path).acquire("run")
    lease.refresh()
    assert not lease.lost
    lease.path.write_text(json.dumps(ELSEWHERE))
    lease.refresh()
    assert lease.lost
    lease.release()
    assert read_json(lease.path) == ELSEWHERE


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_half_written_lease_does_not_block_for_ever(tmp_path, monkeypatch, content):
    monkeypatch.setattr(lease_module, "STALE_SECONDS", 0.1)
    (tmp_path / "run.json").write_text(content)
    leases = Leases(tmp_path)
    assert leases.acquire("run") is None
    time.sleep(0.15)
    assert leases.acquire("run") is not None


def test_tasks_of_the_holders_job_do_not_wait_for_their_own_lease(tmp_path, monkeypatch):
    assert not Leases(tmp_path).held_by_other_job("run")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    lease = Leases(tmp_path).acquire("run")
    assert not Leases(tmp_path).held_by_other_job("run")
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    assert Leases(tmp_path).held_by_other_job("run")
    lease.release()
    assert not Leases(tmp_path).held_by_other_job("run")


def test_a_disk_that_is_full_for_a_while_does_not_end_the_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.01)
    lease = Leases(tmp_path).acquire("run").keep()

    def full(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lease_module, "write_text", full)
        time.sleep(0.1)
    before = lease.path.read_text()
    deadline = time.monotonic() + 10
    while lease.path.read_text() == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lease.path.read_text() != before
    lease.release()


def status(folder, **changes) -> None:
    folder.mkdir(exist_ok=True)
    who = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat": time.time()}
    write_json(
        folder / "status.json",
        {"state": "running", "phase": "training", "images": 5, "images_total": 10} | who | changes,
    )


def test_states_of_a_run(tmp_path):
    assert run_state(tmp_path).name == "new"
    status(tmp_path)
    assert run_state(tmp_path).alive and run_state(tmp_path).images == 5
    status(tmp_path, heartbeat=time.time() + 1e6)  # written before the clock was set back
    assert run_state(tmp_path).alive
    status(tmp_path, started="5")
    assert run_state(tmp_path).name == "died", "a later process has its number"
    status(tmp_path, pid=2**22 + 1)
    assert (
        run_state(tmp_path).name == "died"
        and "goes on from its last checkpoint" in run_state(tmp_path).message
    )
    status(tmp_path, host="elsewhere")
    assert run_state(tmp_path).alive
    status(tmp_path, host="elsewhere", heartbeat=time.time() - 1e4)
    assert run_state(tmp_path).name == "died"
    (tmp_path / "status.json").write_text('{"state": "run')
    assert run_state(tmp_path).name == "new"


def test_the_heartbeat_goes_on_while_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "HEARTBEAT_SECONDS", 0.05)
    folder = RunFolder(tmp_path / "run")
    folder.claim()
    folder.status(now=True, state="running", images=7)

    def beat():
        return read_json(folder.path / "status.json")["heartbeat"]

    first, deadline = beat(), time.monotonic() + 10
    while beat() == first and time.monotonic() < deadline:
        time.sleep(0.01)
    assert beat() > first and read_json(folder.path / "status.json")["images"] == 7
    folder.release()
    time.sleep(0.2)
    last = beat()
    time.sleep(0.2)
    assert beat() == last, "a released run says nothing more"


def test_progress_grows_with_checkpoints_and_results(tmp_path):
    assert progress(tmp_path) == 0
    for path in (
        "checkpoints/ckpt-000000000640-aa.pt",
        "checkpoints/ckpt-000000001280-aa.pt",
        "results/heldout-1.json",
    ):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    assert progress(tmp_path) == 1281
    blocks = tmp_path / "samples" / "ode50-000000001280-aa" / "blocks"
    blocks.mkdir(parents=True)
    seen = [progress(tmp_path)]
    for number in range(3):
        (blocks / f"{number:06d}.npy").touch()
        seen.append(progress(tmp_path))
    (tmp_path / "results" / "samples-1.json").touch()  # whose blocks are removed
    shutil.rmtree(blocks)
    seen.append(progress(tmp_path))
    assert seen == sorted(set(seen)), "it grows with every block, and with the result of them"
