"""Whose turn a step is, where one backbone is trained on several kinds of data: a step is of one
part, drawn by its share from the stream (seed, "part", images seen). So all arms have the same
sequence, and a resumed run goes on in it (arXiv 2603.06507, App. D: 0.57, 0.30 and 0.13).

    turns = Turns({"digits": 1, "notes": 3}, seed=0, batch=32)
    turns.at(images=64), turns.seen(images=64)      # "notes", {"digits": 32, "notes": 32}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bench.core.data.base import DataSet
from bench.core.model.encoder import Encoder
from bench.core.model.method import Method
from bench.core.model.streams import generator
from bench.core.train.settings import Time


@dataclass
class TrainedPart:
    """What the steps of one kind of data are made of.

    cached: the encoder's patch tokens, where they were computed before; time: p(t), None: that of
    the settings; share: of the steps, in proportion to the others'; weight: of its losses, w_m.
    """

    data: DataSet
    method: Method
    encoder: Encoder | None = None
    cached: np.ndarray | None = None
    time: Time | None = None
    share: float = 1.0
    weight: float = 1.0


class Turns:
    """The sequence of parts. share: of each, in proportion; batch: images of a step."""

    def __init__(self, share: Mapping[str, float], seed: int, batch: int):
        self.names, self.seed, self.batch = list(share), seed, batch
        self._ends = np.cumsum(list(share.values())) / sum(share.values())
        self._drawn: list[int] = []  # part of each step, as far as anybody asked

    def at(self, images: int) -> str:
        """The part of the step that begins after so many images."""
        return self.names[self.number(images)]

    def number(self, images: int) -> int:
        """The same, by its place among the parts."""
        if len(self.names) == 1:
            return 0
        step = images // self.batch
        while len(self._drawn) <= step:
            drawn = generator(self.seed, "part", len(self._drawn) * self.batch)
            u = float(torch.rand((), generator=drawn))
            place = int(np.searchsorted(self._ends, u, side="right"))
            self._drawn.append(min(place, len(self.names) - 1))
        return self._drawn[step]

    def seen(self, images: int) -> dict[str, int]:
        """Images of each part among the first so many."""
        if len(self.names) == 1:
            return {self.names[0]: images}
        steps = images // self.batch
        if steps:
            self.number(images - self.batch)
        counts = np.bincount(np.array(self._drawn[:steps], int), minlength=len(self.names))
        return dict(zip(self.names, (counts * self.batch).tolist(), strict=True))
