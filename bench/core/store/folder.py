"""A run's folder: who may write in it, what is said of its state, and its metrics line by line.

Two processes cannot write one run: `RunFolder.claim` holds an operating-system lock while the
process lives, and beside it the heartbeat in status.json covers file systems without locks and
other hosts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import IO

from bench.core.store.files import Json, disk_full, open_lock
from bench.core.store.lease import is_fresh, this_process
from bench.core.store.runs import read_status, write_status

HEARTBEAT_SECONDS = 30.0  # between heartbeats while nothing else is said: sampling can take hours


class RunFolder:
    """The files of one run; `claim` before writing."""

    def __init__(self, path: Path):
        self.path = path
        self._lock: IO[bytes] | None = None
        self._status: Json = {}
        self._written = float("-inf")
        self._writing = threading.Lock()
        self._released = threading.Event()
        self._beating = False

    def claim(self) -> None:
        """Make the folder and take its lock.

        Raises ValueError when it cannot be written or another process has it.
        """
        # the folder and its lock, held for the life of the process
        self._released, self._beating = threading.Event(), False
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open_lock(self.path / ".lock")
        except OSError as error:
            reason = f"{self.path} cannot be written ({error.strerror})"
            raise ValueError(f"{reason}: choose another folder with runs=DIR") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{self.path} is being written by another process{self._holder()}: "
                "wait for it or stop it"
            ) from None
        # between opening and locking its holder may have withdrawn: a lock of no folder any more
        if self._deleted():
            self.release()
            return self.claim()
        # on another host, or a file system without locks, the heartbeat says it
        status = read_status(self.path)
        elsewhere = status.get("host") not in (None, socket.gethostname())
        if elsewhere and status.get("state") == "running" and is_fresh(status):
            raise ValueError(
                f"{self.path} is being written on another host{self._holder()}: "
                "wait for it or stop it"
            )

    def _holder(self) -> str:
        """In brackets, " (process 7 on node1)"; "" of one that has only just begun."""
        status = read_status(self.path)
        pid, host = status.get("pid"), status.get("host")
        return f" (process {pid} on {host})" if pid and host else ""

    def release(self) -> None:
        """Let go of the lock, and end the heartbeat."""
        self._released.set()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def withdraw(self) -> None:
        """Let go, and leave no trace of a folder in which nothing was written yet."""
        if [path.name for path in self.path.iterdir()] == [".lock"]:
            # while it is held: afterwards it might be another process's
            (self.path / ".lock").unlink()
            with contextlib.suppress(OSError):  # another process claimed the folder meanwhile
                self.path.rmdir()
        self.release()

    def _deleted(self) -> bool:
        """Whether the folder that was claimed is no longer there,
        be there another of its name or not.
        """
        if self._lock is None:
            return not self.path.exists()
        try:
            return not os.path.samestat(os.fstat(self._lock.fileno()), os.stat(self.path / ".lock"))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
                return True
            raise

    def check_exists(self) -> None:
        """Raise OSError when somebody deleted the folder;
        called before whatever would make it anew.
        """
        if self._deleted():
            raise OSError(
                f"the run folder {self.path} was deleted while the run was going on: "
                "the same command starts it anew"
            )

    def status(self, now: bool = False, **changes: object) -> None:
        """Merge changes into status.json, with a heartbeat;
        written at most every two seconds unless `now`.

        From the first call to `release` the heartbeat goes on by itself.
        """
        with self._writing:
            self._status |= changes
            if not now and time.monotonic() - self._written < 2:
                return
            self._written = time.monotonic()
            self.check_exists()
            write_status(self.path, self._status | this_process() | {"heartbeat": time.time()})
        if not self._beating:
            self._beating = True
            threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            # the folder deleted, the disk full: the run itself will say so
            with contextlib.suppress(OSError):
                if time.monotonic() - self._written > HEARTBEAT_SECONDS / 2:
                    self.status(now=True)


class MetricsLog:
    """metrics.jsonl, appended line by line;
    a resumed run cuts off what was written after its checkpoint.
    """

    def __init__(self, path: Path, keep_bytes: int):
        self.path = path
        path.touch()
        if (size := path.stat().st_size) < keep_bytes:
            warnings.warn(
                f"{path} has {size} bytes, and the checkpoint knows of {keep_bytes}: "
                "lines of the past are lost",
                stacklevel=2,
            )
            # half a line would be glued to the next one
            os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
        elif size > keep_bytes:
            os.truncate(path, keep_bytes)

    def append(self, line: Json) -> None:
        """Add one JSON line. Raises OSError, clearly when the disk is full."""
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise disk_full(error, self.path) or error from error

    def synced_bytes(self) -> int:
        """Length so far, all of it on disk: a checkpoint that stores it counts on these lines."""
        with open(self.path, "rb") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size
