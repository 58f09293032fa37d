"""Watching a study: one line a run, redrawn on a terminal,
printed when something changed elsewhere.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.core.data.pictures import readable
from bench.core.store.states import RunState, run_state

SECONDS = 1.0  # between two looks
TAIL = 4096  # bytes of a log that are read for its last line
PLAIN_SECONDS = 30.0  # between two lines of a running run that has not changed its state


class View:
    """Shows runs until `going` says that nobody works on them. notes:
    run -> what its launcher says of it.
    """

    def __init__(
        self,
        runs: Path,
        ids: list[str],
        done: set[str],
        notes: Callable[[], dict[str, str]],
        going: Callable[[], bool],
    ):
        self.runs, self.ids, self.done = runs, ids, done
        self.notes, self.going = notes, going
        self.terminal = sys.stdout.isatty()
        self._drawn = 0
        self._told: dict[str, tuple[str, float]] = {}

    def lines(self) -> list[tuple[str, str, RunState]]:
        """(run, text, state) of every run."""
        notes = self.notes()
        found = []
        for run in self.ids:
            state = RunState("done") if run in self.done else run_state(self.runs / run)
            found.append((run, self.text(run, state, notes.get(run, "")), state))
        return found

    def text(self, run: str, state: RunState, note: str) -> str:
        """One line: state, images, loss, speed, time left."""
        name = "trained" if state.name == "complete" and note else state.name
        # before a run has a folder, its worker trains what it needs, an encoder for minutes
        if state.name == "new" and not note and (words := self._words_of_worker(run)):
            name, note = "starting", words
        parts = [f"{run:44} {name:9}"]
        if state.total and state.name != "done":
            parts.append(f"{state.images / state.total:4.0%} of {state.total} images")
        if state.alive and state.loss is not None:
            parts.append(f"loss {state.loss:.4f}")
        if state.name == "training" and state.speed:
            parts.append(f"{state.speed:.0f} images/s")
        if state.name == "training" and state.left is not None:
            parts.append(
                f"{state.left / 60:.0f} min left"
                if state.left > 120
                else f"{state.left:.0f} s left"
            )
        if note and not state.alive and state.name != "done":
            parts.append(note)
        elif state.message and not state.alive:
            parts.append(state.message)
        return "  ".join(parts)

    def _words_of_worker(self, run: str) -> str:
        """The last line of a worker's log; "" where nobody is at the run, or it said nothing."""
        folder = self.runs / "sweeps"
        if not (folder / "leases" / f"{run}.json").exists():
            return ""
        try:
            with open(folder / "logs" / f"{run}.log", "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
                said = file.read().decode("utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return ""
        last = next((line for line in reversed(said) if line.strip()), "")
        return readable(last.strip().removeprefix(f"{self.runs / run}: "))

    def watch(self) -> None:
        """Until nobody works on them any more;
        Ctrl-C leaves (KeyboardInterrupt) without stopping anything.
        """
        while True:
            going = self.going()
            self.draw()
            if not going:
                return
            time.sleep(SECONDS)

    def draw(self) -> None:
        """Redraw the lines on a terminal; elsewhere print those that have news."""
        lines = self.lines()
        if self.terminal:
            size = shutil.get_terminal_size()
            shown = [
                line for line in lines if line[2].alive or len(lines) < size.lines - 3
            ] or lines[-1:]
            shown = shown[: size.lines - 3]
            done = sum(state.name in ("done", "complete") for _, _, state in lines)
            text = [line[1][: size.columns - 1] for line in shown] + [
                f"{done} of {len(lines)} complete"
            ]
            sys.stdout.write(f"\x1b[{self._drawn}F\x1b[J" if self._drawn else "")
            print("\n".join(text), flush=True)
            self._drawn = len(text)
            return
        now = time.monotonic()
        for run, text, state in lines:
            key = state.name + ("" if state.alive else text)
            before, when = self._told.get(run, ("", 0.0))
            if key != before or (state.alive and now - when > PLAIN_SECONDS):
                self._told[run] = (key, now)
                if before or state.name not in ("done", "new"):
                    print(text, flush=True)
