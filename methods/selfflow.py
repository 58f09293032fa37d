"""Self-Flow: dual-timestep scheduling and an EMA teacher at the cleaner level, arXiv 2603.06507.

    tau_i = s with probability R_M, else t;   t, s ~ p(t), unsorted
    L = L_velocity(x_tau) + 0.8 * mean over tokens of 1 - cos(head(h_l(x_tau, tau)), sg f'_k(x_min, min(t, s)))

The teacher is the EMA copy that is also evaluated; it sees all tokens at the lower level
(t = 1 is noise), with the student's noise and dropped labels.

    python -m bench.run method=selfflow
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.model.method import Arm, Batch, Context, Method, Term, generative
from bench.core.model.noise import NoiseLevels
from bench.core.model.sizes import Size
from bench.core.model.streams import Draw
from bench.core.ranges import check_range
from methods.parts import (
    dual_levels,
    self_head,
    self_head_description,
    teacher_features,
    token_cosine,
)


@dataclass
class SelfFlow(Method):
    """mask_ratio: R_M; weight: gamma; blocks: as `Size.block` takes them.

    The last four are ablation switches.
    """

    name: str
    mask_ratio: float
    weight: float
    student_block: Any
    teacher_block: Any
    masking: bool
    near: float | None
    similarity: str
    attention: str

    needs = frozenset({"ema"})

    def __post_init__(self) -> None:
        for key, choices in (
            ("similarity", ("cosine", "l1")),
            ("attention", ("full", "separated")),
        ):
            if getattr(self, key) not in choices:
                raise ValueError(
                    f"method.{key}={getattr(self, key)} is unknown (choices: {', '.join(choices)})"
                )
        check_range("method.mask_ratio", self.mask_ratio, "[0, 1]")
        check_range("method.near", self.near, "(0, 1]")

    def inert(self) -> dict[str, str]:
        reason = "method.masking=false has one noise level a sample"
        return {} if self.masking else dict.fromkeys(("mask_ratio", "near", "attention"), reason)

    def blocks(self, size: Size) -> dict[str, int]:
        return {
            "student": size.block(self.student_block),
            "teacher": size.block(self.teacher_block),
        }

    def head_description(self, size: Size) -> str:
        return self_head_description(size)

    def heads(self, ctx: Context) -> nn.ModuleDict:
        return nn.ModuleDict({"projector": self_head(ctx.size.width)})

    def noise(self, t: Tensor, draw: Draw, ctx: Context) -> NoiseLevels:
        if not self.masking:
            return NoiseLevels.single(t)
        s = ctx.second_time(draw)
        if self.near is not None:
            s = (t - self.near * draw.uniform()).clamp(min=0)
        return dual_levels(
            t, s, self.mask_ratio, draw, ctx.grid.tokens, separated=self.attention == "separated"
        )

    def loss(self, net: Arm, batch: Batch, ctx: Context) -> dict[str, Term]:
        blocks = self.blocks(ctx.size)
        noise = self.student_noise(batch, ctx)
        term, features = generative(net, batch, noise, taps=(blocks["student"],))
        student = net.heads["projector"](features[blocks["student"]])
        teacher = teacher_features(batch, noise.levels.amin(dim=1), blocks["teacher"], ctx)
        cosine = token_cosine(student, teacher, ctx)
        distance = (
            1 - cosine
            if self.similarity == "cosine"
            else F.l1_loss(student.float(), teacher.float())
        )
        return {"velocity": term, "representation": Term(distance, self.weight)}
