"""Files read and written by another thread while the device computes: one piece at a time, so that
two are in memory, in the same order, and with the same errors.

    for pictures in read_ahead(images.batches(64)):    # the next are read meanwhile
        compute(pictures)
    with WriteBehind() as behind:
        for block in blocks:
            made = compute(block)                      # the one before is written meanwhile
            behind.give(lambda made=made: save(made))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Read = TypeVar("Read")


def read_ahead(items: Iterator[Read]) -> Iterator[Read]:
    """The items, none of them None, each read while the one before it is used; what fails in
    reading is raised where that item would come.
    """
    with ThreadPoolExecutor(1, "read_ahead") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


class WriteBehind:
    """What it is given is done by another thread, one after another. Leaving it waits for the last,
    whatever it is left for: what was given is done.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "write_behind")
        self._last: Future[None] | None = None

    def give(self, write: Callable[[], None]) -> None:
        """Begin to write, once what was given before is written; raises what that raised."""
        self.wait()
        self._last = self._pool.submit(write)

    def wait(self) -> None:
        """Until all is written; raises what the last raised, once."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None:
            self.wait()
