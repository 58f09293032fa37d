"""What a frozen encoder is to those who use one: uint8 pictures in, patch tokens on a grid out,
and facts that keep comparisons honest.

How one is read (its pixels, its grid) is its own affair: methods/encoders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class EncoderFeatures(NamedTuple):
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


def weights_fingerprint(module: nn.Module, reading: str = "") -> str:
    """16 hexadecimal digits of the SHA-256 of names and values of all parameters and buffers,
    and of how they read.
    """
    digest = hashlib.sha256(reading.encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
