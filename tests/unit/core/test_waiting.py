"""What is said while something takes long."""

from __future__ import annotations

import sys
import threading

from bench.core.store import waiting
from bench.core.store.waiting import counted, foreseen, saying


def test_a_log_is_told_again_and_again_and_a_terminal_once(capsys, monkeypatch):
    said = threading.Semaphore(0)

    def what(times: int) -> str:
        said.release()
        return f"told {times}"

    with saying(what, after=0.0, every=0.01):
        for _ in range(3):
            assert said.acquire(timeout=5)
    assert capsys.readouterr().out.splitlines()[:2] == ["told 0", "told 1"]

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with saying("training the extractor", after=0.0, every=0.0):
        while not (text := capsys.readouterr().out):
            pass
    assert text + capsys.readouterr().out == "training the extractor ...\n"


def test_nothing_is_said_of_what_is_short(capsys):
    before = threading.active_count()
    with saying("training"):
        pass
    assert capsys.readouterr().out == "" and threading.active_count() == before


def test_what_is_counted_says_how_much_is_done_and_how_long_the_rest_takes(capsys):
    seen, found = [], ""
    for part in counted("sampling", (part for part in range(4)), 4, after=0.0, every=0.001):
        seen.append(part)
        wanted = f"sampling: {part} of 4" + (", about 0 s left" if part else "")
        while wanted not in found:
            found += capsys.readouterr().out
    assert seen == [0, 1, 2, 3]
    before = threading.active_count()
    assert list(counted("short", "ab", 2)) == ["a", "b"]
    assert threading.active_count() == before and "short" not in capsys.readouterr().out


def test_what_steps_will_take_follows_from_few_of_them(monkeypatch):
    """What comes before the first step counts once, whatever a step takes."""
    clock = [0.0]
    monkeypatch.setattr(waiting.time, "perf_counter", lambda: clock[0])

    def train(before, each):
        def run(most):
            clock[0] += before + each * most

        return run

    assert abs(foreseen(train(0.2, 0.1), 600) - (0.2 + 0.1 * 600)) < 1e-6
    assert abs(foreseen(train(0.2, 0.1), 3) - 0.3 * 3) < 1e-6
    # one long step is not followed by others: that what comes before counts for each is too much
    assert abs(foreseen(train(0.0, 2.0), 600) - 1200) < 1e-6 and abs(clock[0] - 3.3) < 1e-6
