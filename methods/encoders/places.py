"""averaged and permuted: another encoder's features without their places, to part spatial structure
from all the rest.

Both leave the mean over places as it is, so that a linear probe of the encoder reads the same:

    averaged    every place gets the mean over places: what is in the picture, and nothing of where
    permuted    place i gets the features of place p(i), p one fixed permutation without a fixed
                point: every feature is there, at the wrong place

iREPA (arXiv 2512.10794) says that spatial structure and not global accuracy goes with generation;
an arm aligned with `averaged` beside one aligned with the encoder itself asks just that.

    python -m bench.run method=repa encoder=averaged encoder.of=efficientnet_lite0
    python -m bench.run method=repa encoder=permuted encoder.of=dinov2_b encoder.seed=1
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures, PatchSource
from methods.encoders.base import DerivedEncoder


class _Rearranged(DerivedEncoder):
    """Made of the features of `of` alone, by `changed`."""

    network: Encoder

    @property
    def source(self) -> PatchSource:
        return PatchSource(self.network, self.changed)

    @abstractmethod
    def changed(self, patches: Tensor) -> Tensor:
        """Patch tokens [B, N, width] from those of `of`."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        found = self.network(images)
        return found._replace(patches=self.changed(found.patches))


class Averaged(_Rearranged):
    """Every place of `of` with the mean over its places."""

    def __init__(self, card: EncoderCard, of: Encoder):
        super().__init__(card, of, "mean over places")
        self.network = of
        self.freeze()

    def changed(self, patches: Tensor) -> Tensor:
        return patches.mean(dim=1, keepdim=True).expand_as(patches).contiguous()


class Permuted(_Rearranged):
    """The places of `of` in another order, the same for all pictures; seed: it is drawn from."""

    order: Tensor

    def __init__(self, card: EncoderCard, of: Encoder, seed: int):
        super().__init__(card, of, f"places permuted, seed {seed}")
        self.network = of
        self.register_buffer("order", cycle(math.prod(of.grid), seed))
        self.freeze()

    def changed(self, patches: Tensor) -> Tensor:
        if (found := patches.shape[1]) != len(self.order):
            raise ValueError(
                f"encoder {self.name} permutes {'x'.join(map(str, self.grid))} places and got "
                f"{found}: build it for the data's own token grid"
            )
        return patches[:, self.order]


def cycle(n: int, seed: int) -> Tensor:
    """A permutation int64 [n] that is one cycle through all n places, so that none stays.

    Raises ValueError for fewer than two places.
    """
    if n < 2:
        raise ValueError(
            f"{n} place cannot be permuted: choose a smaller data.patch, so that there are more"
        )
    way = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    order = torch.empty_like(way)
    order[way] = way.roll(1)
    return order
