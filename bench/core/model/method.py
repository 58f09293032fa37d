"""The interface of a method: the only thing that differs between two arms of a comparison.

A method says at which noise levels the tokens of a batch stand, which train-only heads it needs,
and what its loss is. The trainer owns everything else; it lends the EMA copy as teacher and the
frozen encoder to methods that need them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.model.backbone import Features, SiT
from bench.core.model.flow import interpolate, velocity
from bench.core.model.noise import NoiseLevels, TimeDistribution
from bench.core.model.sizes import Size
from bench.core.model.streams import Draw
from bench.core.model.tokens import TokenGrid


@dataclass
class Batch:
    """One process's rows of a step.

    x0: data, x1: noise [B, N, C]; t: times [B]; label: after dropout [B]; image: the clean
    pictures, uint8 [B, 3, H, W], when the method needs them; index: which training examples these
    are [B].
    """

    x0: Tensor
    x1: Tensor
    t: Tensor
    label: Tensor
    image: Tensor | None = None
    index: Tensor | None = None


class Term(NamedTuple):
    """A scalar loss and its weight in the sum."""

    value: Tensor
    weight: float


@dataclass
class Context:
    """What a method may know of the step beside its batch.

    time: p(t); images: seen so far; draw: the method's own stream (None outside a step); ema: the
    EMA backbone when the method needs "ema"; encoder: the frozen encoder when it needs "image";
    cached: its patch tokens of all training pictures [n, N, W_enc], where they were computed
    before; diagnostics: numbers a method wants logged, tensors without gradient; token_cosine: of
    student and target [B, N], when the method aligns tokens, for the diagnostics by noise level.
    """

    grid: TokenGrid
    size: Size
    time: TimeDistribution = field(default_factory=TimeDistribution)
    images: int = 0
    draw: Draw | None = None
    ema: SiT | None = None
    encoder: Any = None
    cached: np.ndarray | None = None
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
    token_cosine: Tensor | None = None

    def encode(self, batch: Batch, **wanted: Any) -> Any:
        """The frozen encoder's features of the clean pictures: .patches [B, N, W_enc],
        and what else is wanted of it.

        Raises ValueError where the grids differ.
        """
        if self.cached is not None and not wanted:
            assert batch.index is not None
            patches = torch.from_numpy(self.cached[batch.index.cpu().numpy()]).to(batch.x0.device)
            return CachedFeatures(patches)
        features = self.encoder(batch.image, **wanted)
        if features.patches.shape[1] != self.grid.tokens:
            raise ValueError(
                f"encoder {self.encoder.name} gives {features.patches.shape[1]} "
                "patch tokens and the "
                f"data has {self.grid.tokens} tokens: "
                "set encoder.resize=features, or another encoder or data.patch"
            )
        return features

    def second_time(self, draw: Draw, *shape: int) -> Tensor:
        """Further times from p(t), [B, *shape], out of the method's own stream."""
        return self.time(draw.uniform(*shape), draw.normal(*shape))


class CachedFeatures(NamedTuple):
    """What is kept of an encoder's features."""

    patches: Tensor


class Method:
    """Vanilla flow matching; a method overrides what it does differently.

    needs: of {"image", "attention", "ema"}: whether it is given the clean picture and the encoder,
    one that serves attention maps, and the EMA teacher.
    """

    name: str
    needs: ClassVar[frozenset[str]] = frozenset()

    def blocks(self, size: Size) -> dict[str, int]:
        """The blocks the method reads, by role ("student", "teacher"),
        checked against the depth.
        """
        return {}

    def head_description(self, size: Size) -> str:
        """The heads in words, for the table of arms; "" when there are none."""
        return ""

    def ends(self, size: Size) -> int | None:
        """Images after which terms of the loss have ended, for methods that stop early:
        `loss` reads ctx.images.
        """
        return None

    def group_size(self) -> int:
        """Samples that the loss compares with each other:
        what a process computes at once is a multiple of them.
        """
        return 1

    def inert(self) -> dict[str, str]:
        """Options that say nothing beside the others, and why: a value of one's own is refused."""
        return {}

    def heads(self, ctx: Context) -> nn.ModuleDict:
        """Trainable modules that exist in training alone."""
        return nn.ModuleDict()

    def noise(self, t: Tensor, draw: Draw, ctx: Context) -> NoiseLevels:
        """The levels of a batch's tokens from the shared times t [B] and the method's own draws."""
        return NoiseLevels.single(t)

    def loss(self, net: Arm, batch: Batch, ctx: Context) -> dict[str, Term]:
        """The terms of the loss, the generative one called "velocity"."""
        return {"velocity": generative(net, batch, self.student_noise(batch, ctx))[0]}

    def student_noise(self, batch: Batch, ctx: Context) -> NoiseLevels:
        """`noise` of this batch with the step's own draws."""
        assert ctx.draw is not None
        return self.noise(batch.t, ctx.draw, ctx)


class Arm(nn.Module):
    """Backbone and heads whose forward *is* the loss, so that DDP,
    FSDP and clipping see one module.
    """

    def __init__(self, backbone: SiT, heads: nn.ModuleDict, method: Method):
        super().__init__()
        self.backbone, self.heads, self.method = backbone, heads, method

    def forward(self, batch: Batch, ctx: Context) -> dict[str, Term]:
        return self.method.loss(self, batch, ctx)


def generative(
    net: Arm,
    batch: Batch,
    noise: NoiseLevels,
    taps: Collection[int] = (),
    qk_taps: Collection[int] = (),
) -> tuple[Term, Features]:
    """The flow-matching term and the tapped features.

    Mean over all elements of (v_theta(x_t, t) - (x1 - x0))^2, weight 1.
    """
    x_t = interpolate(batch.x0, batch.x1, noise.per_token(batch.x0.shape[1]))
    prediction, features = net.backbone(x_t, noise, batch.label, taps=taps, qk_taps=qk_taps)
    error = prediction.float() - velocity(batch.x0, batch.x1)
    return Term(error.square().mean(), 1.0), features
