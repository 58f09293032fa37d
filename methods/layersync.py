"""LayerSync: a block learns from a deeper one of the same pass, arXiv 2510.12581.

No head, no teacher, no encoder.

L = L_velocity - 0.2 * mean over tokens of cos(h_l, sg h_k),   l < k

python -m bench.run method=layersync
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.model.method import Arm, Batch, Context, Method, Step, Term, generative
from bench.core.model.sizes import BlockSpec, Size
from methods.parts import token_cosine


@dataclass
class LayerSync(Method):
    """student_block l, teacher_block k: 8 <- 16 (XL), 8 <- 18 (L, from the authors' notes).

    Elsewhere ours: 4 <- 8 of 12.
    """

    name: str
    weight: float
    student_block: BlockSpec
    teacher_block: BlockSpec

    def blocks(self, size: Size) -> dict[str, int]:
        student, teacher = size.block(self.student_block), size.block(self.teacher_block)
        if student >= teacher:
            raise ValueError(
                f"layersync's block {student} learns from a deeper one, and {teacher} is none: "
                "set method.student_block below method.teacher_block"
            )
        return {"student": student, "teacher": teacher}

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        blocks, noise = self.blocks(ctx.size), self.noise(batch.t, step.draw, ctx)
        term, features = generative(net, batch, noise, step, taps=tuple(blocks.values()))
        student, teacher = features[blocks["student"]], features[blocks["teacher"]].detach()
        cosine = token_cosine(student, teacher, step)
        return {"velocity": term, "representation": Term(-cosine, self.weight)}
