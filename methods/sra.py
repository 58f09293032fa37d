"""SRA: self-representation alignment, arXiv 2505.02831.

An EMA teacher at a lower level, a deeper block.

    t' = max(t - U(0, 0.2), 0)
    L = L_velocity + 0.2 * mean smoothL1(head(h_l(x_t, t)), sg f'_k(x_t', t'))   (beta 0.05)
    or                0.5 * mean(1 - cos) of the same                             (similarity=cosine)

From 192M images on, smooth L1's weight is 0.2 * 10^(-(epoch - 149) / 1000), an epoch being 1.28M
images.

    python -m bench.run method=sra
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import nn

from bench.core.model.method import Arm, Batch, Context, Method, Term, generative
from bench.core.model.sizes import Size
from bench.core.ranges import check_range
from methods.parts import self_head, self_head_description, teacher_features, token_cosine

WEIGHTS = {"smooth_l1": 0.2, "cosine": 0.5}
EPOCH = 1_280_000  # images, as the paper counts


@dataclass
class SRA(Method):
    """similarity: smooth_l1 or cosine over channels; weight: None is the paper's, 0.2 or 0.5.

    decay_images: images after which smooth_l1's weight decays, None for never; beta: of smooth L1.
    """

    name: str
    weight: float | None
    gap: float
    similarity: str
    beta: float
    decay_images: int | None
    student_block: Any
    teacher_block: Any

    needs = frozenset({"ema"})

    def __post_init__(self) -> None:
        if self.similarity not in WEIGHTS:
            raise ValueError(
                f"method.similarity={self.similarity} is unknown (choices: {', '.join(WEIGHTS)})"
            )
        check_range("method.gap", self.gap, "[0, 1]")
        check_range("method.beta", self.beta, "[0, inf)")

    def inert(self) -> dict[str, str]:
        reason = "it is of method.similarity=smooth_l1 alone"
        return (
            dict.fromkeys(("beta", "decay_images"), reason) if self.similarity == "cosine" else {}
        )

    def blocks(self, size: Size) -> dict[str, int]:
        return {
            "student": size.block(self.student_block),
            "teacher": size.block(self.teacher_block),
        }

    def head_description(self, size: Size) -> str:
        return self_head_description(size)

    def heads(self, ctx: Context) -> nn.ModuleDict:
        return nn.ModuleDict({"projector": self_head(ctx.size.width)})

    def weight_at(self, images: int) -> float:
        """The term's weight after so many images."""
        weight = WEIGHTS[self.similarity] if self.weight is None else self.weight
        if self.similarity == "cosine" or self.decay_images is None or images < self.decay_images:
            return weight
        return weight * 10 ** (-(images // EPOCH - 149) / 1000)

    def loss(self, net: Arm, batch: Batch, ctx: Context) -> dict[str, Term]:
        assert ctx.draw is not None
        blocks = self.blocks(ctx.size)
        term, features = generative(
            net, batch, self.student_noise(batch, ctx), taps=(blocks["student"],)
        )
        student = net.heads["projector"](features[blocks["student"]]).float()
        lower = (batch.t - self.gap * ctx.draw.uniform()).clamp(min=0)
        teacher = teacher_features(batch, lower, blocks["teacher"], ctx).float()
        cosine = token_cosine(student, teacher, ctx)
        distance = (
            1 - cosine
            if self.similarity == "cosine"
            else F.smooth_l1_loss(student, teacher, beta=self.beta)
        )
        return {"velocity": term, "representation": Term(distance, self.weight_at(ctx.images))}
