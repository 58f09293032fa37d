"""Videos as pictures: the frames of a data set of videos, for what reads one picture at a time.

pictures = FrameData(data)              # a frame of each clip, in turn, with the clip's label
frames_of(data.images("heldout"))       # all of them, uint8 [n T, 3, H, W]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.core.data.base import DataSet, Indices
from bench.core.model.tokens import TokenGrid


def frames_of(clips: Tensor) -> Tensor:
    """Clips [n, c, T, H, W] -> their frames one after another, [n T, c, H, W]."""
    return clips.transpose(1, 2).flatten(0, 1)


def shuffled(clips: Tensor, seed: int = 0) -> Tensor:
    """Clips [n, c, T, H, W] with the frames of each in an order of its own: every picture is as it
    was, and nothing moves as it did.
    """
    n, _, frames = clips.shape[:3]
    draw = torch.Generator().manual_seed(seed)
    order = torch.rand(n, frames, generator=draw).argsort(dim=1)
    index = order[:, None, :, None, None].expand_as(clips)
    return clips.gather(2, index)


def frame_grid(grid: TokenGrid) -> TokenGrid:
    """The places that the tokens of a grid of three axes have in a frame."""
    patch = grid.patch if isinstance(grid.patch, int) else grid.patch[1:]
    return TokenGrid(grid.shape[1:], patch, grid.channels)


class FrameData:
    """One frame of each clip of a data set, frame i mod T of clip i, as a data set of pictures that
    small networks are trained on; it has no tokens.

    Its name is that of the clips: a network of frames and one of clips have learned the same data,
    and are related. Caches tell them apart by the fingerprint.
    """

    noun = "frame"
    in_memory = True

    def __init__(self, clips: DataSet):
        self.clips, self.name, self.classes = clips, clips.name, clips.classes
        self.frames, self.grid = clips.grid.shape[0], frame_grid(clips.grid)
        self.class_names: Sequence[str] = clips.class_names

    @property
    def fingerprint(self) -> str:
        return f"{self.clips.fingerprint}f"

    @property
    def n_train(self) -> int:
        return self.clips.n_train

    @property
    def n_heldout(self) -> int:
        return self.clips.n_heldout

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """uint8 [n, 3, H, W]."""
        if isinstance(indices, slice):
            indices = torch.arange(self.clips.size(split))[indices]
        which = torch.as_tensor(indices)
        clips = torch.as_tensor(self.clips.images(split, which))
        return clips[torch.arange(len(clips)), :, which % self.frames]

    def labels(self, split: str, indices: Indices = slice(None)) -> Tensor:
        return self.clips.labels(split, indices)
