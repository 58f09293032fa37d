"""Random streams by purpose, so that two arms of a comparison see the same images, noise, times and
dropped labels.

There is no generator that lives on between steps: each (seed, purpose, images seen) has its own, so
a resumed run, another number of processes, or another method that draws more of its own changes
nothing for anyone else.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


def generator(
    seed: int, purpose: str, counter: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator seeded by the SHA-256 of (seed, purpose, counter); counter: images seen, or a
    block's number.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{counter}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass
class Draw:
    """One purpose's numbers for one optimiser step.

    Drawn for the whole global batch, of which a process keeps its rows.
    """

    generator: torch.Generator
    batch: int
    rows: slice

    @classmethod
    def of(
        cls,
        seed: int,
        purpose: str,
        images: int,
        batch: int,
        rows: slice,
        device: torch.device | str,
    ) -> Draw:
        """The draws of `purpose` in the step that starts after `images` images."""
        return cls(generator(seed, purpose, images, device), batch, rows)

    def uniform(self, *shape: int) -> Tensor:
        """U(0, 1) of shape [rows, *shape]."""
        g = self.generator
        return torch.rand(self.batch, *shape, generator=g, device=g.device)[self.rows]

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1) of shape [rows, *shape]."""
        g = self.generator
        return torch.randn(self.batch, *shape, generator=g, device=g.device)[self.rows]


def data_order(
    seed: int, first: int, count: int, n: int, of_epoch: Callable[[int], Tensor] | None = None
) -> Tensor:
    """Indices of the `count` training images after `first` seen, int64 [count]: a fresh permutation
    of the n images each epoch.

    of_epoch: the permutation of an epoch, where it is not any one.
    """
    parts = []
    while count:
        epoch, place = divmod(first, n)
        order = of_epoch(epoch) if of_epoch else _epoch_order(seed, epoch, n)
        parts.append(order[place : place + count])
        first, count = first + len(parts[-1]), count - len(parts[-1])
    return torch.cat(parts)


@functools.lru_cache(maxsize=4)  # steps of one epoch ask for the same, a million numbers long
def _epoch_order(seed: int, epoch: int, n: int) -> Tensor:
    return torch.randperm(n, generator=generator(seed, "order", epoch))
