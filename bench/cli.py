"""What the commands share: KEY=VALUE words, help with examples, mistakes as one sentence,
exit codes, signals.

Exit codes: 0 done, 1 failed, 2 bad input, 75 saved after USR2 and to be started again, 130 and 143
saved after Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

FAILED, BAD_INPUT, REQUEUE = 1, 2, 75
EXIT_OF_SIGNAL = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR2": REQUEUE}


class StopFlag:
    """Signals set a flag that training reads between steps; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def install(self) -> StopFlag:
        """Catch SIGINT, SIGTERM and SIGUSR2 from now on."""
        for name in EXIT_OF_SIGNAL:
            signal.signal(getattr(signal, name), self._set)
        return self

    def _set(self, number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if self.reason == name == "SIGINT":
            raise KeyboardInterrupt
        self.reason = name
        print(f"\n{name}: saving after this step ...", file=sys.stderr, flush=True)


class _Stream:
    """A stream that goes on without its reader: what nobody reads any more
    (`| head`, a dead `tee`) is dropped.
    """

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        self._unless_closed(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._unless_closed(self._stream.flush)

    def _unless_closed(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def outliving_readers() -> Iterator[None]:
    """Within it a closed pipe at the other end ends nothing:
    hours of training do not hang on a terminal.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Stream(sys.stdout), _Stream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def guarded(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command; expected errors become one sentence and an exit code,
    tracebacks only on --traceback.
    """
    traceback = "--traceback" in argv or os.environ.get("BENCH_TRACEBACK") == "1"
    argv = [word for word in argv if word != "--traceback"]
    with outliving_readers():
        return _told(main, argv, traceback)


def _told(main: Callable[[list[str]], int], argv: list[str], traceback: bool) -> int:
    try:
        return main(argv)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if traceback:
            raise
        known = isinstance(error, ValueError | OSError)
        what = str(error) if known else f"{type(error).__name__}: {error} (--traceback shows where)"
        print(f"error: {what}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, ValueError) else FAILED
