"""iREPA: alignment of spatial structure, arXiv 2512.10794.

REPA with a convolution as head and a normalised target.

y' = (y - 0.6 mean_tokens y) / (std_tokens y + 1e-6)   for each image and channel, unbiased std
L = L_velocity + 1.0 * mean over tokens of -cos(conv3x3(h_l), y')

python -m bench.run method=irepa
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bench.core.model.method import Context
from methods.repa import Alignment


class ConvolutionHead(nn.Module):
    """Conv2d(W, W_enc, 3, padding 1) on the token grid: [B, N, W] -> [B, N, W_enc]."""

    description = "3x3 convolution on the token grid"

    def __init__(self, width: int, out: int, grid: tuple[int, ...]):
        super().__init__()
        if len(grid) != 2:
            raise ValueError(
                "irepa's head is a convolution over a two-dimensional token grid, "
                f"not {grid}: choose method=repa"
            )
        self.grid = grid
        self.convolution = nn.Conv2d(width, out, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        image = features.transpose(1, 2).unflatten(2, self.grid)
        return self.convolution(image).flatten(2).transpose(1, 2)


def spatially_normalised(y: Tensor, share: float) -> Tensor:
    """(y - share * mean) / (std + 1e-6) over the tokens of y [B, N, W]."""
    return (y - share * y.mean(dim=1, keepdim=True)) / (y.std(dim=1, keepdim=True) + 1e-6)


@dataclass
class IREPA(Alignment):
    """mean_share: gamma, how much of the mean over tokens is taken away."""

    mean_share: float

    def heads(self, ctx: Context) -> nn.ModuleDict:
        head = ConvolutionHead(ctx.size.width, ctx.encoder_width, ctx.grid.grid)
        return nn.ModuleDict({"projector": head})

    def target(self, patches: Tensor) -> Tensor:
        return spatially_normalised(patches.float(), self.mean_share)
