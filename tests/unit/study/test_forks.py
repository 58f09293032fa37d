"""Processes that share their imports end one by one, each with its own exit code and log."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bench.study.forks import Fork, Forks

COMMAND = """
import os, signal, sys, time
class Command:
    def start(self):
        what = sys.argv[1]
        print(what, os.environ["GIVEN"], os.getsid(0) == os.getpid(), flush=True)
        if what == "waits":
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            print("hears", flush=True)
            time.sleep(60)
        if what == "fails":
            sys.exit(7)
        if what == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
COMMAND = Command()
"""


@pytest.fixture
def forks(tmp_path, monkeypatch):
    (tmp_path / "made_here.py").write_text(COMMAND)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Forks("made_here:COMMAND", imported=())


def ended(fork: Fork) -> int:
    end = time.monotonic() + 60
    while (code := fork.poll()) is None and time.monotonic() < end:
        time.sleep(0.01)
    assert code is not None
    return code


def test_each_run_ends_by_itself(forks, tmp_path):
    logs = {what: tmp_path / f"{what}.log" for what in ("works", "fails", "dies", "waits")}
    started = {what: forks.start([what], {"GIVEN": what[:1]}, log) for what, log in logs.items()}
    codes = {what: ended(started[what]) for what in ("works", "fails", "dies")}
    assert codes == {"works": 0, "fails": 7, "dies": -signal.SIGKILL}
    assert started["waits"].poll() is None, "another's end is none of its business"
    _wait_for(logs["waits"], "hears")
    started["waits"].send_signal(signal.SIGTERM)
    assert ended(started["waits"]) == 143
    assert {what: log.read_text().splitlines()[0] for what, log in logs.items()} == {
        what: f"{what} {what[:1]} True" for what in logs
    }
    assert "GIVEN" not in os.environ


def _wait_for(log: Path, text: str) -> None:
    end = time.monotonic() + 60
    while not (log.exists() and text in log.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
