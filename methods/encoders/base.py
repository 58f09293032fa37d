"""What encoders share: a picture's scaling, patches that fit the token grid, and being made of
another encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from bench.core.model.encoder import Encoder, EncoderCard
from bench.core.model.tokens import TokenGrid

RESIZES = ("none", "features")


class PatchEncoder(Encoder):
    """An encoder whose patches are made to fit the token grid, which is its `grid`.

    patches: rows and columns that the network reads. Without card.patch_grid these are the token
    grid, the picture is scaled to patch x grid pixels and no feature is resampled.
    """

    def __init__(self, card: EncoderCard, token_grid: TokenGrid):
        super().__init__(card)
        self.patches, self.grid = fitting_grids(card, token_grid.grid)

    def on_grid(self, patches: Tensor) -> Tensor:
        """Patch tokens [B, h w, W] on `grid`, interpolated (bilinear, antialias) from another."""
        if self.patches == self.grid:
            return patches
        maps = patches.transpose(1, 2).unflatten(2, self.patches).float()
        size = list(self.grid)
        maps = F.interpolate(maps, size=size, mode="bilinear", antialias=True, align_corners=False)
        return maps.flatten(2).transpose(1, 2)


class DerivedEncoder(Encoder):
    """An encoder made of another one, `of`, by changing its features or its weights.

    change: how, in words. Grid, width and card are those of `of`, which it is as related to as to
    itself, unless trained_on says that nothing learned is left.
    """

    def __init__(self, card: EncoderCard, of: Encoder, change: str, trained_on: str | None = None):
        learned = trained_on is None
        inner = of.card if learned else replace(of.card, trained_on=trained_on, labels="")
        super().__init__(replace(inner, name=card.name))
        self.width, self.grid, self.hears = of.width, of.grid, of.hears
        self.reading = f"{change}; {of.reading}"
        if learned:
            self.not_counted, self.training_flops = of.not_counted, of.training_flops


def fitting_grids(
    card: EncoderCard, token_grid: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The patch grid, own x own or the token grid, and the token grid.

    Raises ValueError where the two cannot be reconciled.
    """
    if card.resize not in RESIZES:
        raise ValueError(f"encoder.resize={card.resize} is unknown (choices: {', '.join(RESIZES)})")
    if len(token_grid) != 2:
        others = {
            1: "one of sounds, encoder=crepe_tiny or mert_95m, or ",
            3: f"encoder=frames encoder.of={card.name}, or ",
        }
        raise ValueError(
            f"encoder {card.name} reads pictures, and the tokens form a "
            f"{len(token_grid)}-dimensional grid: choose "
            f"{others.get(len(token_grid), '')}one that is trained on the data "
            "themselves, encoder=local_s, local_m or local_l"
        )
    height, width = token_grid
    own = card.patch_grid
    patches = (own, own) if own else (height, width)
    if patches != (height, width) and card.resize == "none":
        raise ValueError(
            f"encoder {card.name} with encoder.patch_grid={own} gives {own}x{own} patches and the "
            f"data has {height}x{width} tokens: set encoder.resize=features to interpolate its "
            "features, or leave encoder.patch_grid out"
        )
    return patches, (height, width)


def as_input(
    images: Tensor, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 [B, 3, *size]: / 255, (x - mean) / std,
    then bicubic without antialias, as REPA.

    The order of the last two does not matter, since a bicubic kernel's weights sum to one: CLIP's,
    which resizes first, is the same.
    """
    x = images.float() / 255
    x = (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False)
