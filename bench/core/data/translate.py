"""Random translations of data on any number of axes: what networks trained on the spot are shown.

translated(pictures, most=1, draw=torch.Generator().manual_seed(0))     # [B, c, H, W]
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def translated(x: Tensor, most: int, draw: torch.Generator) -> Tensor:
    """Each example of x [B, c, *axes] moved by up to `most` cells along each axis, edges
    repeated.
    """
    if most == 0:
        return x
    axes = x.ndim - 2
    offsets = torch.randint(0, 2 * most + 1, (axes, len(x)), generator=draw)
    padded = F.pad(x, (most,) * (2 * axes), mode="replicate")
    for axis, (offset, size) in enumerate(zip(offsets, x.shape[2:], strict=True), start=2):
        places = offset[:, None] + torch.arange(size)
        shape = [len(x), *(1,) * (axis - 1), size, *(1,) * (padded.ndim - axis - 1)]
        to = [*padded.shape[:axis], size, *padded.shape[axis + 1 :]]
        padded = padded.gather(axis, places.reshape(shape).expand(to))
    # an order in memory is an order of sums: networks that are trained on pictures have other
    # weights in another one, and numbers that rest on them would not meet those of earlier runs
    return padded.contiguous(memory_format=torch.channels_last) if axes == 2 else padded
