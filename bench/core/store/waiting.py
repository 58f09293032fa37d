"""What a command says while a part of it takes long, so that nobody looks at a silent terminal, and
a log that nobody looks at shows afterwards how it went.

    with saying("training the extractor of fd_local"):
        train()                            # after 3 s a line; in a log one a minute from then on
    for step in counted("training local_m", range(steps), steps):
        ...                                # a bar; in a log lines with how long the rest takes
    foreseen(train, steps)                 # seconds, of a few of them, before any of it
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
AFTER = 3.0  # seconds until something is said: what is shorter needs no word
EVERY = 60.0  # seconds between two lines of a log
OFTEN = 4.0  # the same where somebody waits for the answer
FEW, LONG = 4, 0.5  # steps that are tried, and seconds of one from which on it is the only one


def _to_log(line: str) -> None:
    print(line, flush=True)


@contextlib.contextmanager
def saying(
    what: str | Callable[[int], str],
    after: float = AFTER,
    every: float = EVERY,
    say: Callable[[str], None] = _to_log,
) -> Iterator[None]:
    """Print `what` once the block has taken `after` seconds, and, where no terminal shows a bar,
    again after `every` further ones, with the time so far.

    what: as a function, of how often it was said; it and `say` are called by another thread.
    """
    ended, began = threading.Event(), time.monotonic()

    def watch() -> None:
        times, pause = 0, after
        while not ended.wait(pause):
            if callable(what):
                say(what(times))
            else:
                minutes = (time.monotonic() - began) / 60
                say(what + (f": {minutes:.0f} min so far" if times else " ..."))
            if sys.stderr.isatty():
                return
            times, pause = times + 1, every

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def counted(
    what: str, parts: Iterable[Item], total: int, after: float = AFTER, every: float = EVERY
) -> Iterator[Item]:
    """The parts of something long, which take about equally long: with a bar on a terminal, in a
    log with a line after `after` seconds and one every `every` further ones, which says how many
    are done and how long the rest will take.
    """
    if sys.stderr.isatty():
        yield from tqdm(parts, desc=what, total=total, delay=after, leave=False)
        return
    done, began = 0, time.monotonic()

    def line(_: int) -> str:
        left = (time.monotonic() - began) / done * (total - done) if done else 0.0
        return f"{what}: {done} of {total}" + (f", about {left:.0f} s left" if done else "")

    with saying(line, after, every):
        for part in parts:
            yield part
            done += 1


def foreseen(train: Callable[[int], object], steps: int) -> float:
    """Seconds that so many steps take, from one of them, with all that comes before, and few more.

    train: makes a number of first steps, which nothing later depends on.
    """
    began = time.perf_counter()
    train(1)
    first = time.perf_counter() - began
    if first > LONG or steps <= 1 + FEW:
        return first * steps
    began = time.perf_counter()
    train(1 + FEW)
    more = (time.perf_counter() - began - first) / FEW
    return first + max(more, 0.0) * (steps - 1)
