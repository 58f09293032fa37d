"""Room on the disk, claimed before it is written to:
a memory map without its blocks is killed by a bus error.

file = new_array(folder / "features.npy", (50_000, 768), np.float16)
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_full(error: BaseException, path: Path, needed: int = 0) -> OSError | None:
    """The clear message for a full disk, or None when the error is another one; needed: bytes,
    where it takes many.
    """
    full = isinstance(error, OSError) and error.errno in FULL
    if not full and (not needed or shutil.disk_usage(path.parent).free >= needed):
        return None
    what = f"needs {needed / 1e6:.1f} MB" if needed else "cannot be written"
    return OSError(
        errno.ENOSPC,
        f"the disk is full: {path.name} {what}; free some space and run the same command again",
    )


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise OSError where the disk of a folder being made in a cache has
    fewer than `needed` bytes free.
    """
    if shutil.disk_usage(folder).free < needed:
        raise _full(folder, needed, what)


def new_array(path: Path, shape: tuple[int, ...], dtype: type, what: str = "") -> np.memmap:
    """A new memory-mapped .npy whose blocks are there. Raises OSError when the disk is full."""
    import numpy as np  # here: what only writes status.json starts faster without it

    what = what or path.name
    needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
    check_room(path.parent, needed, what)
    file: np.memmap = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with open(path, "r+b") as handle:
            try:
                os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in FULL:
                    return file  # a file system that cannot claim blocks
                raise _full(path.parent, needed, what) from error
    return file


def _full(folder: Path, needed: int, what: str) -> OSError:
    free = shutil.disk_usage(folder).free
    # the folder itself is temporary: its parent is the one that a user knows
    return OSError(
        errno.ENOSPC,
        f"the disk is full: {what} needs {needed / 1e9:.3g} GB, "
        f"{free / 1e9:.3g} GB are free at {folder.parent}; "
        "free some space or name another cache=DIR",
    )
