"""What the commands share: KEY=VALUE words, help with examples, mistakes as one sentence, exit codes, signals.

Exit codes: 0 done, 1 failed, 2 bad input, 75 saved after USR2 and to be started again, 130 and 143 saved after Ctrl-C
and SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

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


def guarded(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command; expected errors become one sentence and an exit code, tracebacks only on --traceback."""
    traceback = "--traceback" in argv or os.environ.get("BENCH_TRACEBACK") == "1"
    argv = [word for word in argv if word != "--traceback"]
    try:
        return main(argv)
    except BrokenPipeError:
        return 0
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
