"""frames: an encoder of pictures on every frame of a video, the mean over a token's frames.

    features of token (k, y, x) = mean over its frames t of `of`(frame t) at (y, x)

It sees each picture and nothing of how one becomes the next. The paper's video arms read DINOv2 and
Depth Anything so (arXiv 2603.06507, 4.2, which leaves open how frames become tokens).

    python -m bench.run data=moving_digits method=repa encoder=frames encoder.of=local_m
    python -m bench.run data=clips data.root=DIR method=repa encoder=frames encoder.of=dinov2_b
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.core.data.base import DataSet
from bench.core.data.frames import FrameData, frame_grid, frames_of
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.tokens import TokenGrid
from methods.encoders.base import DerivedEncoder


class Frames(DerivedEncoder):
    """`of` on single frames. Raises ValueError where there are none."""

    def __init__(self, card: EncoderCard, of: Encoder, *, token_grid: TokenGrid):
        super().__init__(card, of, "each frame, mean over a token's frames")
        self.network, self.grid = of, (token_grid.grid[0], *of.grid)
        self.freeze()

    @staticmethod
    def for_inner(
        *, token_grid: TokenGrid, dataset: DataSet | None = None, **others: object
    ) -> dict[str, object]:
        """What `of` is built with: a frame's places, and frames as its data."""
        if (axes := len(token_grid.grid)) != 3:
            raise ValueError(
                f"encoder=frames reads the frames of videos, and the tokens form a "
                f"{axes}-dimensional grid: name the encoder in encoder.of as encoder=NAME itself"
            )
        frames = None if dataset is None else FrameData(dataset)
        return {**others, "token_grid": frame_grid(token_grid), "dataset": frames}

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        clips, length = len(images), images.shape[2]
        found = self.network(frames_of(images))
        # [clips, tokens of time, frames of a token, places, width]
        patches = found.patches.unflatten(0, (clips, self.grid[0], length // self.grid[0]))
        cls = None if found.cls is None else found.cls.unflatten(0, (clips, length)).mean(dim=1)
        return EncoderFeatures(patches.mean(dim=2).flatten(1, 2), cls, self.grid)
