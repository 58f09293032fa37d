"""What a frozen encoder is: uint8 pictures in, patch tokens on a grid out,
and facts that keep comparisons honest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESIZES = ("none", "features")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Features(NamedTuple):
    """patches [B, N, width] float32 in row order of `grid` (h, w); cls [B, width] or None.

    attention: q k^T / sqrt(d_head) among patch tokens [B, heads, N, N] of the layers that were
    asked for.
    """

    patches: Tensor
    cls: Tensor | None
    grid: tuple[int, int]
    attention: tuple[Tensor, ...] = ()


class Encoder(nn.Module):
    """Frozen, in eval mode, without gradient.

    width: numbers of a patch token; grid: its patch grid; family: of the architecture
    ("vit", "convnet"); trained_on: data it was trained on; labels: whose labels it was trained
    with, "" when self-supervised; reading: input pixels, stride, what is resized, where the same
    weights can be read in several ways; fingerprint: 16 hexadecimal digits of the weights and of
    the reading; attends: whether forward takes attention_of=layers; training_flops: of its own
    training where the harness did it; not_counted: what the cost leaves out, in words.
    """

    name: str
    width: int
    grid: tuple[int, int]
    family: str
    trained_on: str
    labels: str
    fingerprint: str
    reading: str = ""
    attends: bool = False
    training_flops: float = 0.0
    not_counted: str = ""

    def freeze(self) -> Encoder:
        """No gradients, eval mode, and the fingerprint."""
        self.eval().requires_grad_(False)
        self.fingerprint = weights_fingerprint(self, self.reading)
        return self

    def train(self, mode: bool = True) -> Encoder:
        """An encoder stays in eval mode."""
        return super().train(False)


def weights_fingerprint(module: nn.Module, reading: str = "") -> str:
    """16 hexadecimal digits of the SHA-256 of names and values of all parameters and buffers,
    and of how they read.
    """
    digest = hashlib.sha256(reading.encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


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
