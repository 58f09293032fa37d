"""SRA: self-representation alignment, arXiv 2505.02831.

An EMA teacher at a lower level, a deeper block.

    t' = max(t - U(0, 0.2), 0)
    L = L_velocity + 0.2 * mean smoothL1(head(h_l(x_t, t)), sg f'_k(x_t', t'))

or, with similarity=cosine, + 0.5 * mean(1 - cos) of the same; beta of smooth L1 is 0.05. From 192M
images on its weight is 0.2 * 10^(-(epoch - 149) / 1000), an epoch being 1.28M images.

The cosine is over the channels of a token, as in the text. The released code's default is a cosine
too, but calls F.cosine_similarity without an axis, which is then the tokens: every channel of a
picture is compared over its places. similarity=cosine_tokens is that. The paper's rows are smooth
L1's.

    python -m bench.run method=sra
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F

from bench.core.model.method import Arm, Batch, Context, Step, Term, generative
from methods.parts import EmaTeacher, token_cosine

WEIGHTS = {"smooth_l1": 0.2, "cosine": 0.5, "cosine_tokens": 0.5}
EPOCH = 1_280_000  # images, as the paper counts
SMOOTH = ("similarity", "smooth_l1")


@dataclass
class SRA(EmaTeacher):
    """weight: None is the paper's, 0.2 or 0.5; gap: the most that the teacher is cleaner by;
    similarity: cosine is over channels, cosine_tokens over tokens; beta: of smooth L1.

    decay_images: images after which smooth_l1's weight decays, None for never.
    """

    weight: float | None
    gap: float = field(metadata={"range": "[0, 1]"})
    similarity: str = field(metadata={"choices": tuple(WEIGHTS)})
    beta: float = field(metadata={"range": "[0, inf)", "only_if": SMOOTH})
    decay_images: int | None = field(metadata={"only_if": SMOOTH})

    def weight_at(self, images: int) -> float:
        """The term's weight after so many images."""
        weight = WEIGHTS[self.similarity] if self.weight is None else self.weight
        decay = self.decay_images if self.similarity == "smooth_l1" else None
        if decay is None or images < decay:
            return weight
        return weight * 10 ** (-(images // EPOCH - 149) / 1000)

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        block, noise = self.blocks(ctx.size)["student"], self.noise(batch.t, step.draw, ctx)
        term, features = generative(net, batch, noise, step, taps=(block,))
        student = net.heads["projector"](features[block]).float()
        lower = (batch.t - self.gap * step.draw.uniform()).clamp(min=0)
        teacher = self.teacher(batch, lower, ctx).float()
        distance = 1 - token_cosine(student, teacher, step)
        if self.similarity == "smooth_l1":
            distance = F.smooth_l1_loss(student, teacher, beta=self.beta)
        elif self.similarity == "cosine_tokens":
            distance = (1 - F.cosine_similarity(student, teacher, dim=1)).mean()
        return {"velocity": term, "representation": Term(distance, self.weight_at(step.images))}
