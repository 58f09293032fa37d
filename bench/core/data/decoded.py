"""Files decoded by threads, with a bar, and kept in the cache for the next who asks.

read = lambda split: decoded(files[split], decode, f"reading {split}", threads=8)
pictures = kept(cache / "pictures" / key, ("train", "heldout"), read, "picture")
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.core.store.cache import cached_folder

Source = TypeVar("Source")


def attempted(
    files: Sequence[Source], read: Callable[[Source], Tensor], description: str, threads: int
) -> list[Tensor | ValueError]:
    """What each file holds, or why it cannot be read."""

    def attempt(file: Source) -> Tensor | ValueError:
        try:
            return read(file)
        except ValueError as error:
            return error

    bar = {"desc": description, "unit": "file", "disable": None, "leave": False}
    with ThreadPoolExecutor(threads) as pool:
        return list(tqdm(pool.map(attempt, files), total=len(files), **bar))


def decoded(
    files: Sequence[Source], read: Callable[[Source], Tensor], description: str, threads: int
) -> Tensor:
    """All of them, [n, ...]. Raises ValueError naming the first that cannot be read."""
    found: list[Tensor] = []
    for one in attempted(files, read, description, threads):
        if isinstance(one, ValueError):
            raise one
        found.append(one)
    return torch.stack(found)


def kept(
    folder: Path | None, splits: Collection[str], read: Callable[[str], Tensor], noun: str
) -> dict[str, Tensor]:
    """The splits as `read` gives them, from the cache's folder where they are there; None: read,
    and not kept. noun: of one example, for messages.
    """
    if folder is None:
        return {split: read(split) for split in splits}

    def make(temporary: Path) -> None:
        for split in splits:
            np.save(temporary / f"{split}.npy", read(split).numpy())

    there = cached_folder(folder, make)
    try:
        return {split: torch.from_numpy(np.load(there / f"{split}.npy")) for split in splits}
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"the cached {noun}s {there} are damaged ({error}): "
            "delete that folder, they are made again"
        ) from error
