"""Self-Flow: dual-timestep scheduling and an EMA teacher at the cleaner level, arXiv 2603.06507.

    tau_i = s with probability R_M, else t;   t, s ~ p(t), unsorted
    L = L_velocity(x_tau)
        + 0.8 * mean over tokens of 1 - cos(head(h_l(x_tau, tau)), sg f'_k(x_min, min(t, s)))

The teacher is the EMA copy that is also evaluated; it sees all tokens at the lower level
(t = 1 is noise), with the student's noise and dropped labels.

    python -m bench.run method=selfflow
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from bench.core.model.method import Arm, Batch, Context, Step, Term, generative
from bench.core.model.noise import NoiseLevels
from bench.core.model.streams import Draw
from methods.parts import EmaTeacher, dual_levels, token_cosine

MASKED = ("masking", True)


@dataclass
class SelfFlow(EmaTeacher):
    """mask_ratio: R_M; weight: gamma. The last four are ablation switches: masking=false has one
    level a sample, near takes s below t, attention=separated sees tokens of its own level alone.
    """

    mask_ratio: float = field(metadata={"range": "[0, 1]", "only_if": MASKED})
    weight: float
    masking: bool
    near: float | None = field(metadata={"range": "(0, 1]", "only_if": MASKED})
    similarity: str = field(metadata={"choices": ("cosine", "l1")})
    attention: str = field(metadata={"choices": ("full", "separated"), "only_if": MASKED})

    def noise(self, t: Tensor, draw: Draw, ctx: Context) -> NoiseLevels:
        if not self.masking:
            return NoiseLevels.single(t)
        s = ctx.second_time(draw)
        if self.near is not None:
            s = (t - self.near * draw.uniform()).clamp(min=0)
        separated = self.attention == "separated"
        return dual_levels(t, s, self.mask_ratio, draw, ctx.grid.tokens, separated)

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        block, noise = self.blocks(ctx.size)["student"], self.noise(batch.t, step.draw, ctx)
        term, features = generative(net, batch, noise, step, taps=(block,))
        student = net.heads["projector"](features[block])
        teacher = self.teacher(batch, noise.levels.amin(dim=1), ctx)
        distance = 1 - token_cosine(student, teacher, step)
        if self.similarity == "l1":
            distance = F.l1_loss(student.float(), teacher.float())
        return {"velocity": term, "representation": Term(distance, self.weight)}
