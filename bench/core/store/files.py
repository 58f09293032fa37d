"""Files that are whole or absent, JSON and YAML, hashes, and room on the disk: every file of this
program that another process may read is written through `atomic`, the only place that renames one.

    with atomic(folder / "a.npy", needed=array.nbytes) as temporary, open(temporary, "wb") as file:
        np.save(file, array)

A reader sees the old file or the new one, never half of one, whichever process is killed when.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from bench.core.store.untrusted import parse_json

if TYPE_CHECKING:
    import numpy as np

# A JSON object as it was read: what its values are, bench.core.store.schema checks.
Json: TypeAlias = dict[str, Any]

FULL = (errno.ENOSPC, errno.EDQUOT)
_CAUSES = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "this shell allows no larger file, see ulimit -f",
}


@contextlib.contextmanager
def atomic(
    path: Path,
    needed: int = 0,
    name: Callable[[Path], str] | None = None,
    durable: bool = False,
) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`; written, it takes the place of `path` at once.

    needed: bytes, for the message of a full disk; name(temporary): another last part of the path,
    where it follows from the content; durable: the new name too outlives a power cut, for what
    others are deleted on the strength of. Where the block fails nothing is left, and `path` stays
    as it was. Raises OSError, clearly when the disk is full.
    """
    temporary = temporary_beside(path)
    try:
        # made here, so that its mode is the user's usual one: safetensors makes private files
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, path.with_name(name(temporary)) if name else path)
        if durable:
            _sync(path.parent)
    except Exception as error:
        if (full := disk_full(error, path, needed)) is not None:
            raise full from error
        raise
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be gone
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no other thread, process or host has: containers of several
    hosts share process numbers.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def leftovers(folder: Path) -> list[Path]:
    """Temporary files that killed processes left in a folder."""
    return sorted(folder.glob(".*.tmp"))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text, atomically, in a folder that is there."""
    write_bytes(path, content.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, atomically, in a folder that is there."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object, atomically, making its folder.

    Raises ValueError for a number that JSON cannot hold, and OSError, clearly when the disk is
    full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, allow_nan=False)


def write_yaml(path: Path, content: Mapping[str, object]) -> None:
    """Write YAML in the order of its keys, atomically."""
    import yaml

    write_text(path, yaml.safe_dump(dict(content), sort_keys=False))


def read_json(path: Path) -> Json:
    """A JSON object, empty when there is none or it cannot be read."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def open_lock(path: Path) -> IO[bytes]:
    """A file to lock, made where there is none. Raises ValueError for a link, which would have a
    file elsewhere made or changed, and OSError.
    """
    try:
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
    except OSError as error:
        if path.is_symlink():
            raise ValueError(
                f"{path} is a link (to {os.readlink(path)}) and no lock of this program: remove it"
            ) from error
        raise


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_hash(content: object) -> str:
    """8 hexadecimal digits of JSON content: the same where, keys in any order, the content is."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def disk_full(error: BaseException, path: Path, needed: int = 0) -> OSError | None:
    """The clear message for a file that finds no room, with its path and the cause (disk, quota,
    limit of the shell), or None when the error is another one.

    needed: bytes, where it takes many: libraries report a full disk with errors of their own.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code not in _CAUSES:
        code = _no_room_for(path.parent, needed) if needed else None
    if code is None:
        return None
    what = f"needs {needed / 1e6:.1f} MB" if needed else "cannot be written"
    full, remedy = "the disk is full", "free some space"
    if code == errno.EFBIG:
        full, remedy = "the file is too large", "raise the limit"
    return OSError(
        code,
        f"{full}: {path.name} {what}; {remedy} and run the same command again "
        f"({_CAUSES[code]}, in {path.parent})",
    )


def _no_room_for(folder: Path, needed: int) -> int | None:
    """Why so many bytes cannot be had in a folder, None where they can. A quota is only seen by
    asking for them.
    """
    if _free(folder) < needed:
        return errno.ENOSPC
    if not hasattr(os, "posix_fallocate"):  # macOS has none
        return None
    probe = temporary_beside(folder / "room")
    try:
        with open(probe, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        return error.errno if error.errno in _CAUSES else None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return None


def _free(folder: Path) -> float:
    """Bytes free on the disk of a folder; without end where the folder is gone."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return float("inf")


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise OSError where the disk of a folder being made in a cache has
    fewer than `needed` bytes free.
    """
    if shutil.disk_usage(folder).free < needed:
        raise _no_room(folder, needed, what)


def new_array(path: Path, shape: tuple[int, ...], dtype: type, what: str = "") -> np.memmap:
    """A new memory-mapped .npy whose blocks are there: one without them is killed by a bus error.

    Raises OSError when the disk is full.
    """
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
                raise _no_room(path.parent, needed, what) from error
    return file


def _no_room(folder: Path, needed: int, what: str) -> OSError:
    free = shutil.disk_usage(folder).free
    # the folder itself is temporary: its parent is the one that a user knows
    return OSError(
        errno.ENOSPC,
        f"the disk is full: {what} needs {needed / 1e9:.3g} GB, "
        f"{free / 1e9:.3g} GB are free at {folder.parent}; "
        "free some space or name another cache=DIR",
    )


def flatten(tree: Mapping[str, object], prefix: str = "") -> Json:
    """{"a.b": value} of nested mappings; lists and empty mappings are values."""
    flat: Json = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        nested = flatten(value, f"{name}.") if isinstance(value, Mapping) else {}
        flat |= nested or {name: value}
    return flat
