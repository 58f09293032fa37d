"""Training batches in the order that the streams fix: from memory at once, from disk through worker
processes.

The order is a function of (seed, images seen), so a resumed run and another number of processes
read the same pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from bench.core.data.base import DataSet, Examples
from bench.core.model.streams import data_order


def micro_rows(rows: slice, micro_batch: int | None) -> list[slice]:
    """This process's rows cut into pieces of at most `micro_batch`.

    Raises ValueError when it does not divide them.
    """
    share = rows.stop - rows.start
    size = min(micro_batch or share, share)
    if share % size:
        raise ValueError(
            f"micro_batch={size} does not divide the {share} images of a process: "
            f"choose a divisor of {share}"
        )
    return [slice(start, start + size) for start in range(rows.start, rows.stop, size)]


@dataclass
class _Pieces(torch.utils.data.Dataset[Examples | ValueError]):
    """The micro-batches of a stretch of training, one an item, read in worker processes."""

    data: DataSet
    seed: int
    first: int
    last: int
    batch: int
    pieces: list[slice]
    with_image: bool

    def __len__(self) -> int:
        return (self.last - self.first) // self.batch * len(self.pieces)

    def __getitem__(self, item: int) -> Examples | ValueError:
        step, piece = divmod(item, len(self.pieces))
        order = data_order(self.seed, self.first + step * self.batch, self.batch, self.data.n_train)
        try:
            return self.data.examples(order[self.pieces[piece]], self.with_image)
        except ValueError as error:
            return error  # of one picture; raised in a worker it would bring the worker's traceback


def batches(
    data: DataSet,
    seed: int,
    first: int,
    last: int,
    batch: int,
    pieces: list[slice],
    with_image: bool,
    workers: int,
) -> Iterator[Examples]:
    """Micro-batches of the steps from `first` to `last` images seen, `pieces` of each step, in
    order. Raises ValueError naming a picture that cannot be read.
    """
    source = _Pieces(data, seed, first, last, batch, pieces, with_image)
    items: Iterable[Examples | ValueError] = (source[item] for item in range(len(source)))
    if not data.in_memory:
        pin = torch.cuda.is_available()
        items = torch.utils.data.DataLoader(
            source, batch_size=None, shuffle=False, num_workers=workers, pin_memory=pin
        )
    for item in items:
        if isinstance(item, ValueError):
            raise item
        yield item
