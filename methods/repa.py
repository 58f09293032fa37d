"""REPA: alignment with a frozen external encoder, arXiv 2410.06940.

    L = L_velocity + 0.5 * mean over tokens and batch of -cos(head(h_l), encoder(clean picture))

Eq. 8 of the paper, with lambda = 0.5.

    python -m bench.run method=repa encoder=dinov2_b
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from bench.core.model.method import Arm, Batch, Context, Method, Step, Term, generative
from bench.core.model.sizes import BlockSpec, Size
from methods.parts import HEAD_INIT, ProjectionHead, token_cosine


@dataclass
class Alignment(Method):
    """A block is aligned with the encoder's patch tokens through a head, "projector":
    REPA and its relatives.

    weight: lambda; block: l, as `Size.block` takes it.
    """

    name: str
    weight: float
    block: BlockSpec

    needs = frozenset({"clean"})

    def blocks(self, size: Size) -> dict[str, int]:
        return {"student": size.block(self.block)}

    def target(self, patches: Tensor) -> Tensor:
        """What is aligned to, from the encoder's patch tokens of the clean, un-noised picture:
        here, themselves.
        """
        return patches

    def alignment(self, net: Arm, feature: Tensor, patches: Tensor, step: Step) -> Term:
        """-cos of the projected block output [B, N, W] and the target, weighted;
        patches [B, n, W_enc] of the first n tokens, those that the encoder sees.
        """
        feature = feature[:, : patches.shape[1]]
        cosine = token_cosine(net.heads["projector"](feature), self.target(patches), step)
        return Term(-cosine, self.weight)

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        block, noise = self.blocks(ctx.size)["student"], self.noise(batch.t, step.draw, ctx)
        term, features = generative(net, batch, noise, step, taps=(block,))
        patches = ctx.encode(batch).patches
        return {
            "velocity": term,
            "alignment": self.alignment(net, features[block], patches, step),
        }


@dataclass
class REPA(Alignment):
    """head_width: H of the three-layer head; None is 2048 (published, S to XL) or, below S,
    where that is too wide, 2W.

    head_init: as `ProjectionHead` takes it; its default here is of runs that lack the option.
    """

    head_width: int | None = field(metadata={"range": "[1, inf)"})
    head_init: str = field(default="torch", metadata=HEAD_INIT, kw_only=True)

    def heads(self, ctx: Context) -> nn.ModuleDict:
        width = ctx.size.width
        hidden = self.head_width or (2048 if width >= 384 else 2 * width)
        widths = (width, hidden, hidden, ctx.encoder_width)
        head = ProjectionHead(*widths, init=self.head_init)
        return nn.ModuleDict({"projector": head})
