"""What several methods share: projection heads, cosine along channels, the EMA teacher,
dual-timestep levels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.model.flow import interpolate
from bench.core.model.method import ALIGNMENT, Batch, Context, Method, Step, Term
from bench.core.model.noise import NoiseLevels
from bench.core.model.sizes import BlockSpec, Size
from bench.core.model.streams import Draw

HEAD_INIT = {"choices": ("xavier", "torch")}


class ProjectionHead(nn.Sequential):
    """Linear maps from each width to the next with SiLU between them, as REPA's projector
    (W, H, H, W_enc) and the head of Self-Flow and SRA (W, 2W, W).

    init: "xavier", uniform within sqrt(6 / (fan_in + fan_out)) and zero biases, as in the official
    codes, whose heads lie inside the model that is initialised so; "torch", PyTorch's own, whose
    weights are 22 to 52 % smaller.
    """

    def __init__(self, *widths: int, init: str, note: str = ""):
        linears = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        if init == "xavier":
            for linear in linears:
                nn.init.xavier_uniform_(linear.weight)
                nn.init.zeros_(linear.bias)
        layers = [layer for linear in linears for layer in (linear, nn.SiLU())]
        super().__init__(*layers[:-1])
        self.description = f"{len(linears)}-layer MLP, {widths[1]} wide{note}"


def token_cosine(student: Tensor, target: Tensor, step: Step) -> Tensor:
    """Mean over batch and tokens of the cosine along channels, [B, N, W] x [B, N, W] -> scalar,
    in float32; logged.
    """
    cosine = F.cosine_similarity(student.float(), target.float(), dim=-1)
    step.log(ALIGNMENT, cosine)
    return cosine.mean()


def switched_off(heads: nn.ModuleDict) -> Term:
    """A term that has ended: zero, weight zero, still a function of the heads,
    as DDP wants every parameter.
    """
    return Term(torch.stack([0.0 * p.sum() for p in heads.parameters()]).sum(), 0.0)


@dataclass
class EmaTeacher(Method):
    """A block of the student learns, through a head, "projector", from a block of the EMA copy,
    which sees cleaner tokens: Self-Flow and SRA.

    head_init: as `ProjectionHead` takes it; its default here is of runs that lack the option.
    """

    name: str
    student_block: BlockSpec
    teacher_block: BlockSpec
    head_init: str = field(default="torch", metadata=HEAD_INIT, kw_only=True)

    needs = frozenset({"ema"})

    def blocks(self, size: Size) -> dict[str, int]:
        student, teacher = size.block(self.student_block), size.block(self.teacher_block)
        return {"student": student, "teacher": teacher}

    def heads(self, ctx: Context) -> nn.ModuleDict:
        width = ctx.size.width
        init, note = self.head_init, ", student only"
        head = ProjectionHead(width, 2 * width, width, init=init, note=note)
        return nn.ModuleDict({"projector": head})

    @torch.no_grad()
    def teacher(self, batch: Batch, t: Tensor, ctx: Context) -> Tensor:
        """The EMA copy's block output [B, N, W] at one level t [B], from the student's own noise
        and dropped conditions; the pass stops after the block.
        """
        assert ctx.ema is not None
        block, x_t = self.blocks(ctx.size)["teacher"], interpolate(batch.x0, batch.x1, t)
        _, features = ctx.ema(x_t, t, batch.condition, taps=(block,), stop_after=block)
        return features[block]


def dual_levels(
    t: Tensor, s: Tensor, ratio: float, draw: Draw, tokens: int, separated: bool = False
) -> NoiseLevels:
    """Self-Flow's tau: token i takes s with probability R_M (Bernoulli a token),
    else t. s and t are not sorted.
    """
    takes_s = draw.uniform(tokens) < ratio
    return NoiseLevels(torch.stack([t, s], dim=1), takes_s, separated)
