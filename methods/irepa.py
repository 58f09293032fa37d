"""iREPA: alignment of spatial structure, arXiv 2512.10794.

REPA with a convolution as head and a normalised target.

y' = (y - 0.6 mean_tokens y) / (std_tokens y + 1e-6)   for each image and channel, unbiased std
L = L_velocity + 1.0 * mean over tokens of -cos(conv3x3(h_l), y')

The text and the released pixel-space code have a 3x3 kernel; the released command for latents says
none and so trains its default, 1x1, a linear map: method.kernel=1.

python -m bench.run method=irepa
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from bench.core.model.method import Context
from methods.repa import Alignment


class ConvolutionHead(nn.Module):
    """A convolution (W, W_enc, kernel) along all axes of the token grid, whose size it keeps:
    [B, N, W] -> [B, N, W_enc]. The paper's grid has two.

    It starts as PyTorch starts it, here and in the official code.
    """

    def __init__(self, width: int, out: int, grid: tuple[int, ...], kernel: int):
        super().__init__()
        self.grid = grid
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(grid) - 1]
        self.convolution = convolution(width, out, kernel, padding=kernel // 2)
        size = "x".join([str(kernel)] * len(grid))
        self.description = f"{size} convolution on the token grid"

    def forward(self, features: Tensor) -> Tensor:
        maps = features.transpose(1, 2).unflatten(2, self.grid)
        return self.convolution(maps).flatten(2).transpose(1, 2)


def spatially_normalised(y: Tensor, share: float) -> Tensor:
    """(y - share * mean) / (std + 1e-6) over the tokens of y [B, N, W]."""
    return (y - share * y.mean(dim=1, keepdim=True)) / (y.std(dim=1, keepdim=True) + 1e-6)


@dataclass
class IREPA(Alignment):
    """mean_share: gamma, how much of the mean over tokens is taken away; kernel: of the head, 3 as
    the text says or 1 as the released command for latents trains.
    """

    mean_share: float
    kernel: int = field(default=3, metadata={"range": "[1, inf)"}, kw_only=True)

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(
                f"method.kernel={self.kernel} has no middle token: choose an odd number, 3 or 1"
            )

    def heads(self, ctx: Context) -> nn.ModuleDict:
        width, grid = ctx.size.width, ctx.grid.seen.grid
        if ctx.grid.seen.tokens == 1:
            raise ValueError(
                "method=irepa standardises an encoder's features over the tokens that it sees, and "
                "here it sees one: choose another method, as method=repa"
            )
        head = ConvolutionHead(width, ctx.encoder_width, grid, self.kernel)
        return nn.ModuleDict({"projector": head})

    def target(self, patches: Tensor) -> Tensor:
        return spatially_normalised(patches.float(), self.mean_share)
