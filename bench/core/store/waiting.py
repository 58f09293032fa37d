"""What a command says while a part of it takes long, so that nobody looks at a silent terminal, and
a log that nobody looks at shows afterwards how it went.

    with saying("training the extractor of fd_local"):
        train()                            # after 3 s a line; in a log one a minute from then on
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

AFTER = 3.0  # seconds until something is said: what is shorter needs no word
EVERY = 60.0  # seconds between two lines of a log


@contextlib.contextmanager
def saying(
    what: str | Callable[[int], str], after: float = AFTER, every: float = EVERY
) -> Iterator[None]:
    """Print `what` once the block has taken `after` seconds, and, where no terminal shows a bar,
    again after `every` further ones, with the time so far.

    what: as a function, of how often it was said; it is called by another thread.
    """
    ended, began = threading.Event(), time.monotonic()

    def watch() -> None:
        times, pause = 0, after
        while not ended.wait(pause):
            if callable(what):
                print(what(times), flush=True)
            else:
                minutes = (time.monotonic() - began) / 60
                print(what + (f": {minutes:.0f} min so far" if times else " ..."), flush=True)
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
