"""HASTE: REPA plus attention alignment, both ended early, arXiv 2505.16792.

    L = L_velocity + 1[images < stop] * (0.5 * L_REPA + 0.5 * L_A)
    L_A = mean of H(softmax Z_t, softmax Z_s),   Z = q k^T / sqrt(d_head)

The mean is over layer pairs, batch, the first 12 heads and queries.

The teacher's class row and column are removed before its softmax; there is no gradient to it.

    python -m bench.run method=haste encoder=dinov2_b data=imagenet256 size=B
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core.model.method import Arm, Batch, Context, Step, Term, generative
from bench.core.model.sizes import Size
from methods.parts import switched_off
from methods.repa import REPA

HEADS = 12
BySize = Any  # one value for all sizes, or a mapping by size; OmegaConf knows no such union


def attention_cross_entropy(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean of H(softmax teacher, softmax student) over everything but the keys;
    logits [B, heads, N, N].
    """
    return -(teacher.softmax(dim=-1) * student.log_softmax(dim=-1)).sum(dim=-1).mean()


@dataclass
class HASTE(REPA):
    """attention_weight: of L_A; student_layers, teacher_layers: 0-based layer pairs by size;
    stop_images: by size.
    """

    attention_weight: float
    student_layers: BySize
    teacher_layers: BySize
    stop_images: BySize

    needs = frozenset({"clean", "attention"})

    def of_size(self, values: BySize, size: Size) -> Any:
        """The entry of a mapping by size (or the value itself).

        Raises ValueError for a size without one.
        """
        if not isinstance(values, dict):
            return values
        if size.name not in values:
            raise ValueError(
                f"haste has published layer pairs for the sizes {', '.join(values)}, "
                f"not for {size.name}: "
                "set method.student_layers, method.teacher_layers and method.stop_images"
            )
        return values[size.name]

    def ends(self, size: Size) -> int:
        stop = self.of_size(self.stop_images, size)
        if type(stop) is not int or stop < 1:
            raise ValueError(
                f"method.stop_images={stop} is not a number of images: choose a whole number from 1"
            )
        return stop

    def pairs(self, size: Size) -> list[tuple[int, int]]:
        """(student, teacher) layers, counted from 0.

        Raises ValueError for lists that make no pairs.
        """
        students, teachers = (
            self.of_size(layers, size) for layers in (self.student_layers, self.teacher_layers)
        )
        for key, layers in (("student_layers", students), ("teacher_layers", teachers)):
            if (
                not isinstance(layers, list)
                or not layers
                or any(type(n) is not int or n < 0 for n in layers)
            ):
                raise ValueError(
                    f"method.{key}={layers} is no list of layers: "
                    "write it like [2, 3, 4], counted from 0"
                )
        if len(students) != len(teachers):
            raise ValueError(
                f"method.student_layers={students} and "
                f"method.teacher_layers={teachers} make no pairs: "
                "give as many of each"
            )
        if max(students) >= size.depth:
            raise ValueError(
                f"method.student_layers={students}: "
                f"size {size.name} has the layers 0 to {size.depth - 1}: choose these"
            )
        return list(zip(students, teachers, strict=True))

    def blocks(self, size: Size) -> dict[str, int]:
        students = (student for student, _ in self.pairs(size))
        attention = {f"attention{i}": student + 1 for i, student in enumerate(students)}
        return super().blocks(size) | attention

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        noise = self.noise(batch.t, step.draw, ctx)
        if step.images >= self.ends(ctx.size):
            term, _ = generative(net, batch, noise, step)
            return {"velocity": term, "alignment": switched_off(net.heads)}

        block = super().blocks(ctx.size)["student"]
        students, teachers = zip(*self.pairs(ctx.size), strict=True)
        qk_taps = [n + 1 for n in students]
        term, features = generative(net, batch, noise, step, taps=(block,), qk_taps=qk_taps)
        encoded = ctx.encode(batch, attention_of=teachers)

        pairs = []
        for number, teacher in zip(qk_taps, encoded.attention, strict=True):
            q, k = features["qk", number]
            heads, seen = min(HEADS, q.shape[1], teacher.shape[1]), teacher.shape[-1]
            q, k = q[:, :heads, :seen].float(), k[:, :heads, :seen].float()
            student = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
            pairs.append(attention_cross_entropy(teacher[:, :heads].float(), student))
        return {
            "velocity": term,
            "alignment": self.alignment(net, features[block], encoded.patches, step),
            "attention": Term(torch.stack(pairs).mean(), self.attention_weight),
        }
