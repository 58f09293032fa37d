"""Room on the disk, claimed before it is written to: a memory map without its blocks is killed by a bus error.

file = new_array(folder / "features.npy", (50_000, 768), np.float16)
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise OSError where a folder's disk has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _full(folder, needed, what, free)


def new_array(path: Path, shape: tuple[int, ...], dtype: type, what: str = "") -> np.memmap:
    """A new memory-mapped .npy whose blocks are there. Raises OSError when the disk is full."""
    what = what or path.name
    needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
    check_room(path.parent, needed, what)
    file: np.memmap = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with open(path, "r+b") as handle:
            try:
                os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    return file  # a file system that cannot claim blocks
                raise _full(path.parent, needed, what, shutil.disk_usage(path.parent).free) from error
    return file


def _full(folder: Path, needed: int, what: str, free: int) -> OSError:
    return OSError(
        errno.ENOSPC,
        f"the disk is full: {what} needs {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free at {folder.parent}; "
        "free some space or name another cache=DIR",
    )
