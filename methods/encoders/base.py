"""What encoders share in reading a picture: its scaling, the patch grid, the token grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

RESIZES = ("none", "features")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def on_grid(
    patches: Tensor, grid: tuple[int, int], wanted: tuple[int, ...], resize: str, name: str
) -> Tensor:
    """Patch tokens [B, h w, W] on the token grid.

    resize: "features" interpolates them (bilinear, antialias), "none" demands equality.

    Raises ValueError when the grids differ and nothing may be resized.
    """
    if tuple(grid) == tuple(wanted):
        return patches
    if resize == "none" or len(wanted) != 2:
        raise ValueError(
            f"encoder {name} gives a {grid[0]}x{grid[1]} grid and the data has "
            f"{'x'.join(map(str, wanted))} tokens: "
            "set encoder.resize=features to interpolate its features, or choose another encoder"
        )
    maps = patches.transpose(1, 2).unflatten(2, grid)
    size = [int(n) for n in wanted]
    resized = F.interpolate(
        maps.float(), size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return resized.flatten(2).transpose(1, 2)


def patch_grid(
    name: str, token_grid: tuple[int, ...], own: int | None, resize: str
) -> tuple[int, int]:
    """The encoder's patch grid: the token grid, or own x own.

    Raises ValueError where the two cannot be reconciled.

    With the token grid as patch grid the picture is scaled to patch x grid pixels and no feature is
    resampled.
    """
    if resize not in RESIZES:
        raise ValueError(f"encoder.resize={resize} is unknown (choices: {', '.join(RESIZES)})")
    if len(token_grid) != 2:
        raise ValueError(
            f"encoder {name} reads pictures, "
            f"and the tokens form a {len(token_grid)}-dimensional grid: "
            "choose another one"
        )
    height, width = token_grid
    grid = (own, own) if own else (height, width)
    if grid != tuple(token_grid) and resize == "none":
        raise ValueError(
            f"encoder {name} with encoder.patch_grid={own} gives {own}x{own} patches "
            f"and the data has {height}x{width} tokens: "
            "set encoder.resize=features to interpolate its features, "
            "or leave encoder.patch_grid out"
        )
    return grid


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
    return (
        x
        if tuple(x.shape[2:]) == size
        else F.interpolate(x, size=size, mode="bicubic", align_corners=False)
    )
