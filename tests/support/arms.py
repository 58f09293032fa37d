"""Small arms and batches that tests share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from bench.config.compose import compose
from bench.config.groups import build
from bench.config.schema import Option
from bench.core.data.base import Digits
from bench.core.model.backbone import SiT
from bench.core.model.conditions import Condition
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.method import Arm, Batch, Context, Method, Step
from bench.core.model.sampling import sample_block
from bench.core.model.sizes import SIZES, Size
from bench.core.model.streams import Draw, generator
from bench.core.model.tokens import TokenGrid
from bench.core.train.ema import ema_copy

GRID = TokenGrid((8, 8), 2, 1)
NANO = SIZES["nano"]
CLASSES = 10
# What a method needs to be told at this size, with eight pictures.
SMALL: dict[str, dict[str, Any]] = {
    "haste": {"student_layers": [0, 1], "teacher_layers": [2, 3], "stop_images": 1000},
    "dispersive": {"group": 8},
}


class StandInEncoder(Encoder):
    """Patch means of the clean picture through a fixed random map.

    A frozen encoder that costs nothing, attention included.
    """

    width, grid, attends = 12, (4, 4), True

    def __init__(self) -> None:
        super().__init__(EncoderCard("stand_in", "stand-in", "nothing", ""))
        self.map = torch.nn.Linear(12, self.width, bias=False)
        with torch.no_grad():
            self.map.weight.copy_(
                torch.randn(self.map.weight.shape, generator=generator(0, "stand-in", 0))
            )
        self.freeze()
        self.calls = 0

    @torch.no_grad()
    def forward(self, images: torch.Tensor, attention_of: Sequence[int] = ()) -> EncoderFeatures:
        self.calls += 1
        patches = self.map(TokenGrid((8, 8), 2, 3).patchify(images.float() / 255))
        logits = (
            (patches @ patches.transpose(1, 2))[:, None].expand(-1, 12, -1, -1) * (1 + layer)
            for layer in attention_of
        )
        return EncoderFeatures(patches, None, self.grid, tuple(logits))


def method_option(name: str) -> Option:
    """A method as its YAML says; composed for data whose recipe suits every method."""
    return compose([f"method={name}", "data=imagenet256"]).method


def method(name: str, **changes: Any) -> Any:
    """A method as its YAML says, with changes."""
    option = method_option(name)
    assert changes.keys() <= option.values.keys()
    return build(option.changed(**changes))


def random_backbone(
    size: Size = NANO,
    grid: TokenGrid = GRID,
    classes: int = CLASSES,
    seed: int = 0,
    condition: Condition | None = None,
) -> SiT:
    """A backbone whose every parameter is random, so that no path is switched off by a zero."""
    backbone = SiT(grid, size, condition or classes)
    draw = generator(seed, "test weights", 0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.08)
    return backbone


def batch_of(n: int = 8, seed: int = 0) -> Batch:
    """A batch of real digits with noise, times and labels."""
    data, draw = Digits("digits", 2), generator(seed, "test batch", 0)
    rows = torch.arange(n)
    x0 = data.tokens("train", rows)
    return Batch(
        x0,
        torch.randn(x0.shape, generator=draw),
        torch.rand(n, generator=draw),
        data.labels("train", rows),
        data.images("train", rows),
        rows,
    )


def context(arm_method: Method, backbone: SiT, encoder: Encoder | None = None) -> Context:
    """What the method needs, lent."""
    return Context(
        backbone.grid,
        backbone.size,
        ema=ema_copy(backbone) if "ema" in arm_method.needs else None,
        encoder=(encoder or StandInEncoder()) if "clean" in arm_method.needs else None,
    )


def step_of(images: int = 0, n: int = 8) -> Step:
    """A step with the method's draws."""
    return Step(images, Draw.of(0, "method", images, n, slice(0, n), "cpu"))


def arm_of(arm_method: Any, backbone: SiT | None = None) -> tuple[Arm, Context]:
    """An arm and its context, heads seeded."""
    backbone = backbone or random_backbone()
    ctx = context(arm_method, backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Arm(backbone, arm_method.heads(ctx), arm_method), ctx


def samples(
    velocity: Any, protocol: Any, shape: tuple[int, int], classes: int, n: int, device: str = "cpu"
) -> list[torch.Tensor]:
    """n samples and their labels, block after block."""
    blocks = [
        sample_block(velocity, protocol, shape, classes, 0, b, device)
        for b in range(-(-n // protocol.block))
    ]
    return [torch.cat(parts)[:n] for parts in zip(*blocks, strict=True)]
