"""The interface of a method: the only thing that differs between two arms of a comparison.

A method says which train-only heads it needs (`heads`), at which noise levels the tokens of a batch
stand (`noise`), and what its loss is (`loss`). The trainer owns everything else. It lends a method
what lasts for a run as `Context` (the EMA copy as teacher, the frozen encoder), and what a method
shows of a step, it writes to `Step`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bench.core.model.backbone import Features, SiT
from bench.core.model.encoder import Encoder, EncoderFeatures
from bench.core.model.flow import interpolate, squared_error
from bench.core.model.noise import NoiseLevels, TimeDistribution
from bench.core.model.sizes import Size
from bench.core.model.streams import Draw
from bench.core.model.tokens import TokenGrid

ALIGNMENT = "alignment_cosine"
"""What a method that aligns tokens logs under: the cosine of student and target, [B, N]."""


@dataclass
class Batch:
    """One process's rows of a step.

    x0: data, x1: noise [B, N, C]; t: times [B]; condition: after dropout, int64 [B, ...]; clean:
    the data as the encoder reads them, uint8 [B, 3, H, W] of pictures, when the method needs them;
    index: which training examples these are [B]; patches: the encoder's patch tokens
    [B, N, W_enc], where they were computed before.
    """

    x0: Tensor
    x1: Tensor
    t: Tensor
    condition: Tensor
    clean: Tensor | None = None
    index: Tensor | None = None
    patches: Tensor | None = None


class Term(NamedTuple):
    """A scalar loss and its weight in the sum."""

    value: Tensor
    weight: float


@dataclass(frozen=True)
class Context:
    """What is lent to a method for a run.

    time: p(t); ema: the EMA backbone when the method needs "ema"; encoder: the frozen encoder when
    it needs "clean".
    """

    grid: TokenGrid
    size: Size
    time: TimeDistribution = field(default_factory=TimeDistribution)
    ema: SiT | None = None
    encoder: Encoder | None = None

    @property
    def encoder_width(self) -> int:
        """Numbers of one of the encoder's patch tokens."""
        assert self.encoder is not None
        return self.encoder.width

    def encode(self, batch: Batch, attention_of: Sequence[int] = ()) -> EncoderFeatures:
        """The frozen encoder's features of the clean data, patches [B, N, W_enc], of the first N
        tokens where it sees no others; attention_of: layers whose attention logits are wanted too.

        Raises ValueError where the grids differ.
        """
        encoder = self.encoder
        assert encoder is not None
        if batch.patches is not None and not attention_of:
            return EncoderFeatures(batch.patches, None, encoder.grid)
        wanted = {"attention_of": attention_of} if attention_of else {}
        features = encoder(batch.clean, **wanted)
        if (found := features.patches.shape[1]) != self.grid.seen.tokens:
            raise ValueError(
                f"encoder {encoder.name} gives {found} patch tokens and the data has "
                f"{self.grid.seen.tokens} tokens: "
                "set encoder.resize=features, or another encoder or data.patch"
            )
        return features

    def second_time(self, draw: Draw, *shape: int) -> Tensor:
        """Further times from p(t), [B, *shape], out of the method's own stream."""
        return self.time(draw.uniform(*shape), draw.normal(*shape))


class Pass(NamedTuple):
    """The student's pass through the backbone: its noise levels, the velocity [B, N, C]
    that it predicted, and the tapped features.
    """

    noise: NoiseLevels
    prediction: Tensor
    features: Features


@dataclass
class Step:
    """One micro-batch's step: what a method may know of it, and what it shows.

    images: seen so far; draw: the method's own stream; taps: blocks that somebody else wants to see
    in `observed`, the student's (first) pass; logged: numbers for metrics.jsonl, without gradient.
    """

    images: int
    draw: Draw
    taps: Collection[int] = ()
    observed: Pass | None = None
    logged: dict[str, Tensor] = field(default_factory=dict)

    def log(self, name: str, values: Tensor) -> None:
        """Show numbers of any shape; metrics.jsonl has their mean as "diagnostics.<name>"."""
        self.logged[name] = values.detach()


class Method:
    """Vanilla flow matching; a method overrides what it does differently.

    needs: of {"clean", "attention", "ema"}: whether it is given the clean data and the encoder,
    one that serves attention maps, and the EMA teacher; group: samples that the loss compares with
    each other, of which what a process computes at once is a multiple.
    """

    name: str
    needs: ClassVar[frozenset[str]] = frozenset()
    group: int = 1

    def blocks(self, size: Size) -> dict[str, int]:
        """The blocks that the method reads, by role ("student", "teacher"), checked against the
        depth.
        """
        return {}

    def ends(self, size: Size) -> int | None:
        """Images after which terms of the loss have ended, for methods that stop early:
        `loss` reads step.images.
        """
        return None

    def heads(self, ctx: Context) -> nn.ModuleDict:
        """Trainable modules that exist in training alone; their `description` says what they are
        in the table of arms.
        """
        return nn.ModuleDict()

    def noise(self, t: Tensor, draw: Draw, ctx: Context) -> NoiseLevels:
        """The levels of a batch's tokens from the shared times t [B] and the method's own draws."""
        return NoiseLevels.single(t)

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        """The terms of the loss, the generative one called "velocity"."""
        return {"velocity": generative(net, batch, self.noise(batch.t, step.draw, ctx), step)[0]}


class Arm(nn.Module):
    """Backbone and heads whose forward *is* the loss, so that DDP,
    FSDP and clipping see one module.
    """

    def __init__(self, backbone: SiT, heads: nn.ModuleDict, method: Method):
        super().__init__()
        self.backbone, self.heads, self.method = backbone, heads, method

    def forward(self, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        return self.method.loss(self, batch, ctx, step)


def described_heads(method: Method, ctx: Context) -> str:
    """A method's heads in words, as each describes itself; "" where there are none."""
    with torch.device("meta"):
        heads = method.heads(ctx)
    return ", ".join(str(getattr(head, "description", name)) for name, head in heads.items())


def predict(
    net: Arm,
    batch: Batch,
    noise: NoiseLevels,
    step: Step,
    taps: Collection[int] = (),
    qk_taps: Collection[int] = (),
) -> tuple[Tensor, Features]:
    """v_theta(x_t, t) [B, N, C] and the tapped features: the student's pass, shown in
    `step.observed`.
    """
    x_t = interpolate(batch.x0, batch.x1, noise.per_token(batch.x0.shape[1]))
    wanted = {*taps, *step.taps}
    prediction, features = net.backbone(x_t, noise, batch.condition, taps=wanted, qk_taps=qk_taps)
    if step.observed is None:
        step.observed = Pass(noise, prediction, features)
    return prediction, features


def generative(
    net: Arm,
    batch: Batch,
    noise: NoiseLevels,
    step: Step,
    taps: Collection[int] = (),
    qk_taps: Collection[int] = (),
) -> tuple[Term, Features]:
    """The flow-matching term and the tapped features.

    Mean over all elements of (v_theta(x_t, t) - (x1 - x0))^2, each as the grid weights it; the
    term's weight is 1.
    """
    prediction, features = predict(net, batch, noise, step, taps, qk_taps)
    squares = squared_error(prediction, batch.x0, batch.x1, net.backbone.weight)
    return Term(squares.mean(), 1.0), features
