"""Training batches in the order that the streams fix: from memory at once, from disk through worker
processes where they are decoded, and through threads where they are read as they lie there.

The order is a function of (seed, images seen), so a resumed run and another number of processes
read the same pictures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from bench.core.data.base import DataSet, Examples


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
    with_clean: bool
    cached: np.ndarray | None
    hears: bool

    def __len__(self) -> int:
        return (self.last - self.first) // self.batch * len(self.pieces)

    def __getitem__(self, item: int) -> Examples | ValueError:
        step, piece = divmod(item, len(self.pieces))
        order = self.data.order(self.seed, self.first + step * self.batch, self.batch)
        index = order[self.pieces[piece]]
        try:
            examples = self.data.examples(index, self.with_clean and not self.hears)
            if self.with_clean and self.hears:
                examples = examples._replace(clean=self.data.waves("train", index).samples)
        except ValueError as error:
            return error  # of one picture; raised in a worker it would bring the worker's traceback
        if self.cached is None:
            return examples
        return examples._replace(patches=torch.from_numpy(self.cached[index.numpy()]))


def batches(
    data: DataSet,
    seed: int,
    first: int,
    last: int,
    batch: int,
    pieces: list[slice],
    with_clean: bool,
    workers: int,
    cached: np.ndarray | None = None,
    pin: bool = False,
    hears: bool = False,
) -> Iterator[Examples]:
    """Micro-batches of the steps from `first` to `last` images seen, `pieces` of each step, in
    order; cached: patch tokens of all training pictures [n, N, W_enc], of which each gets its own;
    pin: in page-locked memory, which a GPU copies from while it computes; hears: whether what is
    clean are waves.

    Raises ValueError naming a picture that cannot be read.
    """
    source = _Pieces(data, seed, first, last, batch, pieces, with_clean, cached, hears)
    items: Iterable[Examples | ValueError]
    if data.in_memory or (not data.decodes and not workers):
        items = (_pinned(source[item], pin) for item in range(len(source)))
    elif data.decodes:
        items = torch.utils.data.DataLoader(
            source, batch_size=None, shuffle=False, num_workers=workers, pin_memory=pin
        )
    else:
        items = _by_threads(source, workers, pin)
    for item in items:
        if isinstance(item, ValueError):
            raise item
        yield item


def _pinned(item: Examples | ValueError, pin: bool) -> Examples | ValueError:
    if not pin or isinstance(item, ValueError):
        return item
    pinned = {k: v.pin_memory() for k, v in item._asdict().items() if v is not None}
    return item._replace(**pinned)


def _by_threads(source: _Pieces, workers: int, pin: bool) -> Iterator[Examples | ValueError]:
    """The items in order, read by threads two each ahead. Reading waits for files and for no
    Python; what processes read would be copied once more, through memory that they share.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Examples | ValueError]] = deque()
        for item in range(len(source)):
            waiting.append(pool.submit(lambda item=item: _pinned(source[item], pin)))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def ahead(items: Iterable[Examples], device: torch.device) -> Iterator[Examples]:
    """The items on a device. To a GPU each is copied while the one before it is computed with: on a
    stream of its own, from page-locked memory.
    """
    if device.type != "cuda":
        yield from items
        return
    stream = torch.cuda.Stream(device)

    def copied(item: Examples) -> tuple[Examples, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            parts = (None if part is None else part.to(device, non_blocking=True) for part in item)
            return Examples(*parts), stream.record_event()  # type: ignore[arg-type]

    def ready(item: Examples, arrived: torch.cuda.Event) -> Examples:
        computing = torch.cuda.current_stream(device)
        computing.wait_event(arrived)
        for part in item:
            if part is not None:  # its memory is not free before the computation is done with it
                part.record_stream(computing)
        return item

    before = None
    for item in items:
        now = copied(item)
        if before is not None:
            yield ready(*before)
        before = now
    if before is not None:
        yield ready(*before)
