"""Token grids: the one place where pictures, videos or sounds become sequences of tokens and back.

Everything between the data set and the sampler is tokens `[B, N, C]`; a patch's numbers are ordered
(channel, then the patch's own axes), which is the order (c, p1, p2) of the papers' convolutional
patch embedding.

    >>> TokenGrid(shape=(8, 8), patch=2, channels=1).tokens
    16
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenGrid:
    """A 1-, 2- or 3-dimensional grid of patches.

    shape: size of the data on each axis (cells: pixels, latent cells, samples); patch: cells a
    patch has on each axis, one number for all of them or a number for each; channels: numbers a
    cell has. Raises ValueError when an axis is no multiple of the patch.
    """

    shape: tuple[int, ...]
    patch: int | tuple[int, ...]
    channels: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if not isinstance(self.patch, int):  # an int stays one: fingerprints hold what was said
            object.__setattr__(self, "patch", tuple(self.patch))
        if not 1 <= len(self.shape) <= 3:
            raise ValueError(
                f"a token grid has 1, 2 or 3 axes, not {len(self.shape)} (shape {self.shape})"
            )
        if len(self.patches) != len(self.shape) or min(self.patches) < 1:
            raise ValueError(
                f"patch {self.patch} does not fit the shape {self.shape}: give data.patch one "
                f"whole number from 1, or {len(self.shape)} of them"
            )
        if any(size % patch for size, patch in zip(self.shape, self.patches, strict=True)):
            raise ValueError(
                f"patch {self.patch} does not divide the shape {self.shape}: choose a divisor as "
                "data.patch"
            )

    @property
    def patches(self) -> tuple[int, ...]:
        """Cells of a patch on each axis."""
        return (self.patch,) * len(self.shape) if isinstance(self.patch, int) else self.patch

    @property
    def grid(self) -> tuple[int, ...]:
        """Tokens on each axis."""
        return tuple(size // patch for size, patch in zip(self.shape, self.patches, strict=True))

    @property
    def tokens(self) -> int:
        """N, the length of the sequence."""
        return math.prod(self.grid)

    @property
    def token_dim(self) -> int:
        """C, the numbers a token has."""
        return self.channels * math.prod(self.patches)

    @property
    def seen(self) -> TokenGrid:
        """The tokens that an encoder of the data has something to say of: all, or the first."""
        return self

    @property
    def weight(self) -> Tensor | None:
        """What each number counts in the loss [N, C], 0 for one that a token has not; None: all
        alike.
        """
        return None

    def patchify(self, x: Tensor) -> Tensor:
        """[B, c, *shape] -> [B, N, C]; rows in (c, p1, p2, ...) order."""
        axes = len(self.shape)
        cells = (n for pair in zip(self.grid, self.patches, strict=True) for n in pair)
        split = x.reshape(len(x), self.channels, *cells)
        grid_axes = range(2, 2 + 2 * axes, 2)
        patch_axes = range(3, 3 + 2 * axes, 2)
        in_order = split.permute(0, *grid_axes, 1, *patch_axes)
        return in_order.reshape(len(x), self.tokens, self.token_dim)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """[B, N, C] -> [B, c, *shape], the inverse of `patchify`."""
        axes = len(self.shape)
        split = tokens.reshape(tokens.shape[0], *self.grid, self.channels, *self.patches)
        order = [0, 1 + axes]
        for axis in range(axes):
            order += [1 + axis, 2 + axes + axis]
        return split.permute(*order).reshape(tokens.shape[0], self.channels, *self.shape)

    def position_embedding(self, width: int) -> Tensor:
        """Fixed sin-cos embedding [1, N, width], float32.

        The last axis takes the first channels ("w first", as DiT, SiT). Each axis has an equal,
        even share of the channels; channels left over (3 axes at width 1024) stay zero.
        """
        axes = len(self.grid)
        share = width // (2 * axes) * 2
        frequencies = 1.0 / 10000 ** (torch.arange(share // 2, dtype=torch.float64) / (share / 2))
        along = (torch.arange(n, dtype=torch.float64) for n in self.grid)
        coordinates = torch.meshgrid(*along, indexing="ij")
        embedding = torch.zeros(self.tokens, width, dtype=torch.float64)
        for i, coordinate in enumerate(reversed(coordinates)):
            angles = coordinate.reshape(-1, 1) * frequencies
            waves = torch.cat([angles.sin(), angles.cos()], dim=1)
            embedding[:, i * share : (i + 1) * share] = waves
        return embedding[None].float()
