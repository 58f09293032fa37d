"""Resume checkpoints and snapshots on disk: atomic, checksummed, read without pickled code.

A checkpoint is `checkpoints/ckpt-<images>-<sha256, 16 digits>.pt`: the file's own hash is in its
name, so that one rename makes file and checksum appear together. A damaged newest one falls back to
the one before, with a warning. A snapshot is the EMA backbone alone,
`snapshots/<images>.safetensors`, kept for good.
"""

from __future__ import annotations

import contextlib
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from bench.core.store.files import atomic, file_hash
from bench.core.store.weight_files import CHECKPOINT_NAME, checkpoints, snapshot_path

# What a run resumes from: tensors, numbers, strings, and containers of them.
TrainingState: TypeAlias = dict[str, Any]

KEPT = 2


def save_checkpoint(folder: Path, images: int, state: TrainingState) -> None:
    """Write the state, keep the last two.

    Raises OSError; the last good state stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"ckpt-{images:012d}"

    def name(temporary: Path) -> str:
        return f"{stem}-{file_hash(temporary)[:16]}.pt"

    size = sum(t.numel() * t.element_size() for t in tensors_of(state))
    with atomic(folder / stem, needed=size, name=name, durable=True) as temporary:
        torch.save(state, temporary)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)


def tensors_of(state: object) -> list[Tensor]:
    """All tensors inside nested containers."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        return tensors_of(list(state.values()))
    children = state if isinstance(state, list | tuple) else ()
    return [tensor for child in children for tensor in tensors_of(child)]


def remove_checkpoints(folder: Path) -> None:
    """Delete them all, and the folder where nothing else is in it."""
    for path in checkpoints(folder):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's content is what its name says."""
    match = CHECKPOINT_NAME.fullmatch(path.name)
    return match is not None and file_hash(path).startswith(match[2])


def load_checkpoint(
    folder: Path,
    map_location: torch.device | str = "cpu",
    fault: Callable[[TrainingState], str] = lambda state: "",
) -> TrainingState | None:
    """The newest undamaged checkpoint's state, or None when there is none.

    fault(state): why a run cannot go on from it, "" where it can. Each damaged one is named in a
    warning and set aside, so that it does not count among the last two. Raises ValueError where
    whole ones are there and none can be gone on from: they may be another version's.
    """
    unfit: dict[Path, str] = {}
    for path in reversed(checkpoints(folder)):
        state = _read(path, map_location)
        if isinstance(state, str):
            _set_aside(path, state, len(checkpoints(folder)) > 1)
        elif wrong := fault(state):
            unfit[path] = wrong
        else:
            for newer, wrong in unfit.items():
                _set_aside(newer, wrong, True)
            return state
    if unfit:
        path, wrong = next(iter(unfit.items()))
        raise ValueError(
            f"{path} is no checkpoint of this run ({wrong}), nor is one before it: resume with the "
            f"version that wrote it, or delete {folder} to train anew"
        )
    return None


def read_checkpoint(path: Path) -> TrainingState:
    """A checkpoint's state on the CPU. Raises ValueError for one that is damaged."""
    state = _read(path, "cpu")
    if isinstance(state, str):
        raise ValueError(
            f"{path} is damaged ({state}): delete it, and what it holds is made anew where another "
            "run begins from there"
        )
    return state


def _read(path: Path, map_location: torch.device | str) -> TrainingState | str:
    """A checkpoint's state, or what is wrong with the file."""
    if not is_whole(path):
        return "its checksum differs"
    unreadable = "it cannot be read as tensors, numbers and texts alone"
    try:
        state = torch.load(path, map_location=map_location, weights_only=True)
    except RuntimeError as error:  # also of memory that does not suffice, and then the file is fine
        if "PytorchStreamReader" not in str(error):
            raise
        return unreadable
    # whatever a file that is none makes the reader of pickles raise; its words advise to trust it
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, ValueError):
        return unreadable
    images = state.get("images") if isinstance(state, dict) else None
    return state if path.name.startswith(f"ckpt-{images or 0:012}-") else "it is another's"


def _set_aside(path: Path, wrong: str, others: bool) -> None:
    path.rename(path.with_name(f"damaged-{path.name}"))
    instead = "no other is left, so training starts anew"
    if others:
        instead = "going back to the checkpoint before it"
    warnings.warn(f"{path.name} is damaged ({wrong}) and set aside: {instead}", stacklevel=3)


def save_snapshot(run_dir: Path, images: int, state: Mapping[str, Tensor]) -> Path:
    """Write the backbone's state, atomically."""
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    return write_tensors(snapshot_path(run_dir, images), state, {"images": str(images)})


def write_tensors(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write a safetensors file, atomically. Raises OSError, clearly when the disk is full."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(t.numel() * t.element_size() for t in state.values())
    with atomic(path, needed=size, durable=True) as temporary:
        save_file(state, temporary, metadata=metadata)
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


def load_snapshot(
    path: Path,
    backbone: nn.Module,
    chosen: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda state: state,
) -> nn.Module:
    """Load strictly; chosen(state): what of it is the backbone's, where there is more.

    Raises ValueError naming missing and surplus keys, or a file that is cut off.
    """
    state = chosen(read_tensors(path))
    try:
        backbone.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"snapshot {path} does not fit this backbone: {' '.join(str(error).split())}"
        ) from error
    return backbone
