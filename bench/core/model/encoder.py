"""What a frozen encoder is to those who use one: uint8 pictures (or waves) in, patch tokens on a
grid out, and facts that keep comparisons honest.

How one is read (its pixels, its grid) is its own affair: methods/encoders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class EncoderFeatures(NamedTuple):
    """patches [B, N, width] float32 in row order of `grid`, (h, w) of pictures; cls [B, width] or
    None.

    attention: q k^T / sqrt(d_head) among patch tokens [B, heads, N, N] of the layers that were
    asked for.
    """

    patches: Tensor
    cls: Tensor | None
    grid: tuple[int, ...]
    attention: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class EncoderCard:
    """What an encoder says of itself, apart from how it is made: the keys that all of
    bench/conf/encoder share.

    family: of the architecture ("vit", "convnet", "hubert"); trained_on: data it was trained on;
    labels: whose labels it was trained with, "" when self-supervised; None where the file does not
    say and the encoder knows. patch_grid: n x n patches, None for the token grid; resize:
    "features" interpolates patch tokens to the token grid, "none" demands equality.
    """

    name: str
    family: str | None = None
    trained_on: str | None = None
    labels: str | None = None
    patch_grid: int | None = None
    resize: str = "none"


class Encoder(nn.Module):
    """Frozen, in eval mode, without gradient.

    width: numbers of a patch token; grid: its patch grid; reading: input pixels, stride, what is
    resized, where the same weights can be read in several ways; fingerprint: 16 hexadecimal digits
    of the weights and of the reading; hears: whether it reads waves, float32 [B, samples], and not
    bytes; attends: whether forward takes attention_of=layers; training_flops: of its own training
    where the harness did it; not_counted: what the cost leaves out, in words.
    """

    width: int
    grid: tuple[int, ...]
    fingerprint: str
    reading: str = ""
    hears: bool = False
    attends: bool = False
    training_flops: float = 0.0
    not_counted: str = ""

    def __init__(self, card: EncoderCard):
        super().__init__()
        self.card = card

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def family(self) -> str:
        return self.card.family or ""

    @property
    def trained_on(self) -> str:
        return self.card.trained_on or ""

    @property
    def labels(self) -> str:
        return self.card.labels or ""

    @property
    def source(self) -> PatchSource | None:
        """What this one's patch tokens are made of, where another's alone make them."""
        return None

    __call__: Callable[..., EncoderFeatures]
    """uint8 pictures [B, 3, H, W] -> features; with attention_of=layers where it attends."""

    def freeze(self) -> Encoder:
        """No gradients, eval mode, and the fingerprint."""
        self.eval().requires_grad_(False)
        self.fingerprint = weights_fingerprint(self, self.reading)
        return self

    def train(self, mode: bool = True) -> Encoder:
        """An encoder stays in eval mode."""
        return super().train(False)


class PatchSource(NamedTuple):
    """encoder: whose patch tokens [B, N, W] are changed to another's."""

    encoder: Encoder
    changed: Callable[[Tensor], Tensor]


def weights_fingerprint(module: nn.Module, reading: str = "") -> str:
    """16 hexadecimal digits of the SHA-256 of names and values of all parameters and buffers,
    and of how they read.
    """
    digest = hashlib.sha256(reading.encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
