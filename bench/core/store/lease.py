"""One trainer a run, among several sweeps on several hosts: a lease file beside the runs, and how
it is judged whether the process that wrote a file still lives.

    lease = Leases(runs / "sweeps" / "leases").acquire("digits-vanilla-nano-s0-1a2b3c4d")
    {"host": "node3", "pid": 4711, "started": "884301", "job": null, "beats": 12}     # its content

The file is made by a hard link, which is atomic on network file systems too. Its holder rewrites it
every few seconds. Whether it is still held is judged without comparing clocks: on the holder's host
by its process, elsewhere by whether the content changes while we watch. A clock set back, or a host
whose clock is wrong, changes nothing. A holder that was silent for too long (a hung disk, a
suspended machine) and finds another's name in its file has lost it.

A process number alone says little: after a restart of the machine, or in a container, another
process has it. So the kernel's start of the process stands beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.core.store.files import read_json, temporary_beside, write_text
from bench.core.store.untrusted import parse_json

STALE_SECONDS = 180.0  # a heartbeat older than this is a dead process's
BEAT_SECONDS = 5.0  # between two beats of a held lease


def process_start(pid: int) -> str | None:
    """When a process of this host began, in kernel ticks (tells it from a later
    one of its number); None if gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return _start_without_proc(pid)
    return None if fields[0] in "ZX" else fields[19]


def _start_without_proc(pid: int) -> str | None:
    if Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "unknown"
    except OSError:
        return None
    return "unknown"


def this_process() -> dict[str, str | int | None]:
    """Host, number and start of this process, as `lives_here` reads them."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}


def lives_here(who: Mapping[str, object]) -> bool | None:
    """Whether a process of this host lives; None for one of another host,
    or where `who` does not say.
    """
    pid = who.get("pid")
    if who.get("host") != socket.gethostname() or not isinstance(pid, int):
        return None
    start = process_start(pid)
    return start is not None and who.get("started", start) == start


def is_fresh(status: Mapping[str, object]) -> bool:
    """Whether a status has a recent heartbeat;
    one from the future (a clock set back) counts as recent for as long.
    """
    heartbeat = status.get("heartbeat")
    return isinstance(heartbeat, int | float) and abs(time.time() - heartbeat) < STALE_SECONDS


class Lease:
    """A held lease; `release` it, or let `holder_gone` find out that its process died. lost:
    another has it by now.
    """

    def __init__(self, path: Path):
        self.path = path
        self.lost = False
        self._who = this_process()
        self._beats = 0
        self._written = 0.0
        self._stop = threading.Event()
        self._writing = threading.Lock()

    def refresh(self) -> None:
        """Say that the holder lives; written at most every few seconds."""
        if self._beats and time.monotonic() - self._written < BEAT_SECONDS:
            return
        self._beats, self._written = self._beats + 1, time.monotonic()
        # a disk that is full for a while: the next beat tries again
        with self._writing, contextlib.suppress(OSError):
            if not self._stop.is_set() and self._ours():
                write_text(self.path, self._content())

    def keep(self) -> Lease:
        """Refresh in the background until released."""
        threading.Thread(target=self._keep, daemon=True).start()
        return self

    def _keep(self) -> None:
        while not self.lost and not self._stop.wait(BEAT_SECONDS):
            self.refresh()

    def release(self) -> None:
        """Give it back, unless it is another's by now."""
        with self._writing:  # a beat that is under way would bring it back
            self._stop.set()
            if self._ours():
                self.path.unlink(missing_ok=True)

    def _ours(self) -> bool:
        """Whether no other process has taken it since,
        as it may when this one was silent for too long.
        """
        # empty: nobody's, since a successor's is never seen half written
        who = read_json(self.path)
        others = bool(who) and any(who.get(key) != value for key, value in self._who.items())
        self.lost = self.lost or others
        return not self.lost

    def _content(self) -> str:
        return json.dumps(self._who | {"job": os.environ.get("SLURM_JOB_ID"), "beats": self._beats})


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _lives(content: str) -> bool | None:
    """Whether the holder lives; None where only time can tell: it is on another host,
    or the lease is damaged.
    """
    with contextlib.suppress(ValueError, AttributeError):
        return lives_here(parse_json(content))
    return None


class Leases:
    """The leases of one folder as one process sees them;
    it remembers since when each has not changed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._seen: dict[str, tuple[str, float]] = {}

    def acquire(self, name: str) -> Lease | None:
        """The lease of that name, or None while another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.json"
        lease = Lease(path)
        for _ in range(2):
            try:
                # created with its content: another process never sees an empty lease that it might
                # take for a dead one
                temporary = temporary_beside(path)
                temporary.write_text(lease._content(), encoding="utf-8")
                try:
                    os.link(temporary, path)
                finally:
                    temporary.unlink()
                return lease
            except FileExistsError:
                if not self._take_away(path):
                    return None
        return None

    def acquire_watching(
        self, name: str, what: str, say: Callable[[str], None] = print
    ) -> Lease | None:
        """As `acquire`, but a holder on another host is watched until it gives a sign of life,
        or is too long silent.

        A command that has just begun cannot know since when that host has been silent. what: the
        holder does, in words.
        """
        path = self.folder / f"{name}.json"
        content, told = _read(path), False
        while (
            (lease := self.acquire(name)) is None
            and _read(path) == content
            and _lives(content) is None
        ):
            if not told:
                say(
                    f"{self.holder(name)} {what}: "
                    f"waiting for a sign of life, at most {STALE_SECONDS:.0f} s ..."
                )
                told = True
            time.sleep(min(1.0, STALE_SECONDS / 10))
        if lease and told:
            say("it gave none: going on in its place")
        return lease

    def _take_away(self, path: Path) -> bool:
        """Remove a lease whose holder is gone; False while it lives, or may live."""
        try:
            content = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return True
        if not self.holder_gone(path.name, content):
            return False
        aside = temporary_beside(path)
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return True
        # between reading and renaming someone else may have renewed it: then it is put back
        if aside.read_text(encoding="utf-8") != content:
            os.rename(aside, path)
            return False
        aside.unlink()
        return True

    def holder_gone(self, name: str, content: str) -> bool:
        """Whether the process that wrote this content is known to be dead,
        or silent for too long.
        """
        if (living := _lives(content)) is not None:
            return not living
        before, since = self._seen.get(name, (None, 0.0))
        if before != content:
            self._seen[name] = (content, time.monotonic())
            return False
        return time.monotonic() - since > STALE_SECONDS

    def held_by_other_job(self, name: str) -> bool:
        """Whether somebody outside this SLURM job has it."""
        who = read_json(self.folder / f"{name}.json")
        return bool(who) and who.get("job") != os.environ.get("SLURM_JOB_ID")

    def holder(self, name: str) -> str:
        """Who has it, in words."""
        who = read_json(self.folder / f"{name}.json")
        return f"process {who.get('pid', '?')} on {who.get('host', '?')}"
