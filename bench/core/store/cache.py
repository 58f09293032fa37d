"""Make something once and keep it, however many processes ask for it at the same time.

A cache entry is a folder that appears whole (made beside its place, then renamed) under a lock that
the operating system releases when its holder dies, so that a killed process leaves neither half an
entry nor a stale lock.

    folder = cached_folder(Path("cache/extractors/local-1a2b"), make)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.core.store.files import open_lock
from bench.core.store.waiting import saying


def cached_folder(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, after `make(temporary folder)` filled it if it was not there yet.

    Raises ValueError when the cache cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder.with_name(f"{folder.name}.lock"))
    except OSError as error:
        raise ValueError(
            f"the cache {folder.parent} cannot be written ({error}); name another cache folder"
        ) from error
    place = f"{folder.parent.name}/{folder.name}"
    with lock:
        with saying(f"waiting for another process that makes {place}"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            said = f"making {place}, once, in {folder.parent.parent}"
            with saying(said), whole_folder(folder) as temporary:
                make(temporary)
    return folder


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` at once when the block ends; where the block
    fails nothing is left. Its caller holds a lock.
    """
    # One name, since the lock lets one process in: what a killed one left is swept up here.
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
