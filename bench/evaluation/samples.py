"""The samples of a snapshot being measured, block by block in its run folder:
a stop or a kill costs one block.

    samples/blocks-<images>-<key>/<block>.npy     tokens, float32 [64, N, C]; labels follow from seed and block

The key is of everything a block depends on. How many samples and processes there are changes no
block.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.model.sampling_protocol import Protocol
from bench.core.store.files import atomic
from bench.core.store.rows import protocol_id
from bench.core.train.distributed import Processes


class SampleSpool:
    """The blocks of one snapshot; `block` computes one that is not there yet."""

    def __init__(self, run_dir: Path, images: int, digest: str, protocol: Protocol, seed: int):
        key = protocol_id(protocol.to_json() | {"seed": seed, "snapshot_sha256": digest})
        self.folder = run_dir / "samples" / f"blocks-{images:012d}-{key}"

    def block(self, number: int, make: Callable[[int], Tensor]) -> Tensor:
        """A block's tokens, from its file or made and written, atomically. Raises OSError."""
        path = self.folder / f"{number:06d}.npy"
        with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or cut off: made anew
            return torch.from_numpy(np.load(path))
        tokens = make(number)
        for folder in (
            self.folder.parent,
            self.folder,
        ):  # never the run folder: one that was deleted stays deleted
            folder.mkdir(exist_ok=True)
        with atomic(path, needed=tokens.nbytes) as temporary, open(temporary, "wb") as file:
            np.save(file, tokens.numpy())
        return tokens

    def tokens(
        self,
        make: Callable[[int], Tensor],
        count: int,
        processes: Processes,
        between: Callable[[], None],
    ) -> Tensor:
        """All processes' blocks in order, each process computing every world-th.

        between: called by every process equally often, as its collectives need, after each round of
        blocks.
        """
        mine = []
        for first in range(0, count, processes.world):
            if (number := first + processes.rank) < count:
                mine.append(self.block(number, make))
            between()
        return gather_blocks(mine, count, processes)


def gather_blocks(mine: list[Tensor], count: int, processes: Processes) -> Tensor:
    """All processes' blocks (rank r has blocks r, r + world, ...) put back in order."""
    everyone: list[Any] = [mine]
    if processes.world > 1:
        everyone = [None] * processes.world
        torch.distributed.all_gather_object(everyone, mine)
    return torch.cat([everyone[b % processes.world][b // processes.world] for b in range(count)])


def remove(run_dir: Path, images: int) -> None:
    """Remove the blocks of the snapshot at `images`, whose result is written."""
    for folder in run_dir.glob(f"samples/blocks-{images:012d}-*"):
        shutil.rmtree(folder, ignore_errors=True)
