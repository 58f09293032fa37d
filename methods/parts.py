"""What several methods share: projection heads, cosine along channels, the EMA teacher's pass,
dual-timestep levels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.model.flow import interpolate
from bench.core.model.method import Batch, Context, Term
from bench.core.model.noise import NoiseLevels
from bench.core.model.sizes import Size
from bench.core.model.streams import Draw


def repa_hidden(width: int, hidden: int | None) -> int:
    """H of REPA's projector: as configured, else 2048 (published, S to XL) or, below S,
    where that is too wide, 2W.
    """
    return hidden or (2048 if width >= 384 else 2 * width)


def repa_head(width: int, hidden: int | None, out: int) -> nn.Module:
    """REPA's projector: Linear(W, H)-SiLU-Linear(H, H)-SiLU-Linear(H, out);
    H from `repa_hidden`.
    """
    h = repa_hidden(width, hidden)
    return nn.Sequential(
        nn.Linear(width, h), nn.SiLU(), nn.Linear(h, h), nn.SiLU(), nn.Linear(h, out)
    )


def self_head(width: int) -> nn.Module:
    """The head of Self-Flow and SRA (released code): Linear(W, 2W)-SiLU-Linear(2W, W),
    on the student alone.
    """
    return nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))


def self_head_description(size: Size) -> str:
    """`self_head` in words."""
    return f"2-layer MLP, {2 * size.width} wide, student only"


def token_cosine(student: Tensor, target: Tensor, ctx: Context) -> Tensor:
    """Mean over batch and tokens of the cosine along channels, [B, N, W] x [B, N, W] -> scalar,
    in float32; logged.
    """
    cosine = F.cosine_similarity(student.float(), target.float(), dim=-1)
    ctx.token_cosine = cosine.detach()
    ctx.diagnostics["alignment_cosine"] = ctx.token_cosine.mean()
    return cosine.mean()


def switched_off(heads: nn.ModuleDict) -> Term:
    """A term that has ended: zero, weight zero, still a function of the heads,
    as DDP wants every parameter.
    """
    return Term(torch.stack([0.0 * p.sum() for p in heads.parameters()]).sum(), 0.0)


@torch.no_grad()
def teacher_features(batch: Batch, t: Tensor, block: int, ctx: Context) -> Tensor:
    """The EMA copy's block output at one level t [B],
    from the student's own noise and dropped labels.

    Stops after `block`.
    """
    assert ctx.ema is not None
    _, features = ctx.ema(
        interpolate(batch.x0, batch.x1, t), t, batch.label, taps=(block,), stop_after=block
    )
    return features[block]


def dual_levels(
    t: Tensor, s: Tensor, ratio: float, draw: Draw, tokens: int, separated: bool = False
) -> NoiseLevels:
    """Self-Flow's tau: token i takes s with probability R_M (Bernoulli a token),
    else t. s and t are not sorted.
    """
    takes_s = draw.uniform(tokens) < ratio
    return NoiseLevels(torch.stack([t, s], dim=1), takes_s, separated)
