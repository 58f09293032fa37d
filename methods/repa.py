"""REPA: alignment with a frozen external encoder, arXiv 2410.06940.

L = L_velocity + 0.5 * mean over tokens and batch of -cos(head(h_l), encoder(clean picture))      (eq. 8, lambda 0.5)

python -m bench.run method=repa encoder=dinov2_b
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bench.core.model.method import Arm, Batch, Context, Method, Term, generative
from bench.core.model.sizes import Size
from bench.core.ranges import check_range
from methods.parts import repa_head, repa_hidden, token_cosine


@dataclass
class Alignment(Method):
    """A block is aligned with the encoder's patch tokens through a head, "projector":
    REPA and its relatives.

    weight: lambda; block: l, as `Size.block` takes it.
    """

    name: str
    weight: float
    block: Any

    needs = frozenset({"image"})

    def blocks(self, size: Size) -> dict[str, int]:
        return {"student": size.block(self.block)}

    def target(self, patches: Tensor) -> Tensor:
        """What is aligned to, from the encoder's patch tokens of the clean, un-noised picture:
        here, themselves.
        """
        return patches

    def alignment(self, net: Arm, feature: Tensor, patches: Tensor, ctx: Context) -> Term:
        """-cos of the projected block output [B, N, W] and the target, weighted; patches [B, N, W_enc]."""
        cosine = token_cosine(net.heads["projector"](feature), self.target(patches), ctx)
        return Term(-cosine, self.weight)

    def loss(self, net: Arm, batch: Batch, ctx: Context) -> dict[str, Term]:
        block = self.blocks(ctx.size)["student"]
        term, features = generative(net, batch, self.student_noise(batch, ctx), taps=(block,))
        return {
            "velocity": term,
            "alignment": self.alignment(net, features[block], ctx.encode(batch).patches, ctx),
        }


@dataclass
class REPA(Alignment):
    """head_width: H of the three-layer head; None is 2048, or 2W below S."""

    head_width: int | None

    def __post_init__(self) -> None:
        check_range("method.head_width", self.head_width, "[1, inf)")

    def head_description(self, size: Size) -> str:
        return f"3-layer MLP, {repa_hidden(size.width, self.head_width)} wide"

    def heads(self, ctx: Context) -> nn.ModuleDict:
        return nn.ModuleDict(
            {"projector": repa_head(ctx.size.width, self.head_width, ctx.encoder.width)}
        )
