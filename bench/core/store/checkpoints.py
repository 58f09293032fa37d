"""Resume checkpoints and snapshots on disk: atomic, checksummed, read without pickled code.

A checkpoint is `checkpoints/ckpt-<images>-<sha256, 16 digits>.pt`: the file's own hash is in its
name, so that one rename makes file and checksum appear together. A damaged newest one falls back to
the one before, with a warning. A snapshot is the EMA backbone alone,
`snapshots/<images>.safetensors`, kept for good.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.store.files import disk_full

KEPT = 2
_NAME = re.compile(r"ckpt-(\d{12})-([0-9a-f]{16})\.pt")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(temporary: Path, final: Path) -> None:
    """fsync a finished temporary file and rename it, so that `final` is whole or absent,
    with the user's usual mode.
    """
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)
    folder = os.open(final.parent, os.O_RDONLY)  # the new name too outlives a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_checkpoint(folder: Path, images: int, state: dict[str, Any]) -> Path:
    """Write `state` (tensors, numbers, strings, containers), keep the last two.

    Raises OSError; the last good state stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".ckpt-{images:012d}.{os.getpid()}.tmp"
    try:
        torch.save(state, temporary)
        final = folder / f"ckpt-{images:012d}-{file_hash(temporary)[:16]}.pt"
        publish(temporary, final)
    except (OSError, RuntimeError) as error:
        size = sum(t.numel() * t.element_size() for t in tensors_of(state))
        raise disk_full(error, temporary, size) or error from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return final


def tensors_of(state: Any) -> list[Tensor]:
    """All tensors inside nested containers."""
    if isinstance(state, Tensor):
        return [state]
    children = (
        state.values()
        if isinstance(state, dict)
        else state
        if isinstance(state, list | tuple)
        else ()
    )
    return [tensor for child in children for tensor in tensors_of(child)]


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoint files by images, oldest first."""
    return sorted(path for path in folder.glob("ckpt-*.pt") if _NAME.fullmatch(path.name))


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's content is what its name says."""
    match = _NAME.fullmatch(path.name)
    return match is not None and file_hash(path).startswith(match[2])


def load_checkpoint(
    folder: Path, map_location: torch.device | str = "cpu"
) -> dict[str, Any] | None:
    """The newest undamaged checkpoint's state, or None when there is none.

    Each damaged one is named in a warning and set aside, so that it does not count among the last
    two.
    """
    for path in reversed(checkpoints(folder)):
        if is_whole(path):
            return torch.load(path, map_location=map_location, weights_only=True)
        path.rename(path.with_name(f"damaged-{path.name}"))
        warnings.warn(
            f"{path.name} is damaged (its checksum differs) and set aside: "
            + (
                "going back to the checkpoint before it"
                if checkpoints(folder)
                else "no other is left, so training starts anew"
            ),
            stacklevel=2,
        )
    return None


def snapshot_path(run_dir: Path, images: int) -> Path:
    """Where the EMA backbone at `images` lies."""
    return run_dir / "snapshots" / f"{images:012d}.safetensors"


def save_snapshot(run_dir: Path, images: int, state: Mapping[str, Tensor]) -> Path:
    """Write the backbone's state, atomically."""
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    return write_tensors(snapshot_path(run_dir, images), state, {"images": str(images)})


def write_tensors(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write a safetensors file, atomically. Raises OSError, clearly when the disk is full."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(state, temporary, metadata=metadata)
        publish(temporary, path)
    except Exception as error:  # safetensors raises its own SafetensorError for a full disk
        raise (
            disk_full(error, path, sum(t.numel() * t.element_size() for t in state.values()))
            or error
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a snapshot. Raises ValueError for a file that is cut off."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"snapshot {path} is damaged ({error}): delete it and run the training command again"
        ) from error


def load_snapshot(path: Path, backbone: nn.Module) -> nn.Module:
    """Load strictly.

    Raises ValueError naming missing and surplus keys, or a file that is cut off.
    """
    state = read_tensors(path)
    try:
        backbone.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"snapshot {path} does not fit this backbone: {' '.join(str(error).split())}"
        ) from error
    return backbone


def snapshots(run_dir: Path) -> dict[int, Path]:
    """{images: path} of the run's snapshots, in order."""
    return {int(path.stem): path for path in sorted((run_dir / "snapshots").glob("*.safetensors"))}
