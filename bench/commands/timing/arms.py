"""Arms that are ready to step, also where their data or their encoder are not: latents are random,
and so are the features of an encoder that nobody named.

    arm = TimedArm.of("selfflow", "token", ["size=S", "runs=/tmp/x"], distributed.start("cpu"))
    arm.step()

Random latents are two batches that take turns, in page-locked memory where a GPU copies them: what
is timed is the step, and a loader is where there are files to load.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.commands.timing.clock import Parts, step_bytes
from bench.config.checks import check_group
from bench.config.compose import compose
from bench.config.groups import build
from bench.config.recipes import decoded_shape, shape_of
from bench.config.schema import Config
from bench.core.data.base import DataSet, Examples, read_by_encoder
from bench.core.data.latents import LatentData
from bench.core.model.backbone import SiT
from bench.core.model.conditions import PAD, Classes, Condition
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.graphs import check_device
from bench.core.model.method import Context, Method
from bench.core.model.noise import NoiseLevels
from bench.core.model.streams import Draw, generator
from bench.core.model.tokens import TokenGrid
from bench.core.train.cost import count
from bench.core.train.distributed import Processes
from bench.core.train.learner import Learner
from bench.core.train.loading import ahead
from bench.core.train.parts import TrainedPart
from bench.machine.estimate import refuse_what_cannot_fit

ROWS = 512  # random latents and features in all
PARTED = 5  # steps that are taken apart


class RandomLatents(LatentData):
    """Moments [n, 8, h, w] like a latent data set's, pictures and labels, all random."""

    in_memory = True

    def __init__(self, grid: TokenGrid, told: Condition, shown: tuple[int, ...], n: int):
        self.name, self.grid, self.told, self.has_pictures = "random", grid, told, True
        draw = generator(0, "random latents", 0)
        self.stored = torch.rand(n, 2 * grid.channels, *grid.shape, generator=draw)
        row = tuple(told.null.shape)  # of a class none, of a text its bytes
        most = told.count if isinstance(told, Classes) else PAD
        self.classes = most
        self._rows = torch.randint(0, most, (n, *row), generator=draw)
        self._labels = {"train": torch.zeros(n, dtype=torch.int64)}
        self.shown, self.index, self.shards_at_once = shown, None, 0

    @property
    def condition(self) -> Condition:
        return self.told

    def examples(self, index: Tensor, with_clean: bool) -> Examples:
        clean = None
        if with_clean:
            clean = torch.randint(0, 256, (len(index), *self.shown), dtype=torch.uint8)
        return Examples(index, self.stored[index], self._rows[index], clean)


class RandomFeatures(Encoder):
    """An encoder's shape: what it would have computed before comes with the batch."""

    attends = True

    def __init__(self, grid: TokenGrid, width: int):
        super().__init__(EncoderCard("cached"))
        self.width, self.grid = width, grid.grid
        self.nothing = nn.Parameter(torch.empty(0, device="meta"), requires_grad=False)

    def forward(self, images: Tensor, attention_of: Sequence[int] = ()) -> EncoderFeatures:
        tokens = math.prod(self.grid)
        patches = torch.zeros(len(images), tokens, self.width, device=images.device)
        maps = patches.new_zeros(len(images), 12, tokens, tokens)
        return EncoderFeatures(patches, None, self.grid, (maps,) * len(attention_of))


def level_a_token(method: Method) -> Method:
    """The method with its noise levels handed to the backbone one a token, as per-token models
    take them: the same loss at another price.
    """
    own: Callable[..., NoiseLevels] = method.noise

    def noise(t: Tensor, draw: Draw, ctx: Any) -> NoiseLevels:
        return NoiseLevels(own(t, draw, ctx).per_token(ctx.grid.tokens))

    method.noise = noise  # type: ignore[method-assign]
    return method


@dataclass
class TimedArm:
    """A learner with its batches; flops: counted, of a step."""

    name: str
    levels: str
    learner: Learner
    source: Iterator[Examples]
    flops: float
    forward_flops: float

    @classmethod
    def of(
        cls, method: str, levels: str, words: Sequence[str], processes: Processes, width: int
    ) -> TimedArm | None:
        """An arm of some words of bench.run; levels: own, or token (one a token; None where the
        method does not have several others); width: of the random features, where the words name
        no encoder.
        """
        cfg = compose([f"method={method}", *words])
        if cfg.compute.graphs:
            check_device("compute.graphs", processes.device)
        data, built = _data(cfg), build(cfg.method)
        refuse_what_cannot_fit(cfg, data.grid, data.condition, processes, whole=False)
        check_group(built, cfg.micro_batch or cfg.batch)
        draw = Draw.of(0, "levels", 0, 2, slice(0, 2), "cpu")
        k = built.noise(torch.rand(2), draw, Context(data.grid, cfg.size)).levels.shape[1]
        if levels == "token":
            if k in (1, data.grid.tokens):
                return None
            built, k = level_a_token(built), data.grid.tokens

        # the encoder, or random features in its place
        encoder, cached, name = None, None, method
        if "clean" in built.needs:
            named = any(word.startswith("encoder=") for word in words)
            encoder = _encoder(cfg, data, processes) if named else RandomFeatures(data.grid, width)
            name = f"{method}/{encoder.name}"
            if not named and "attention" not in built.needs:
                cached = _features(data, encoder)

        backbone = _backbone(cfg, data, processes.device)
        learner = Learner(cfg, {"": TrainedPart(data, built, encoder, cached)}, backbone, processes)
        clean = () if encoder is None else _clean(data, encoder)
        cost = count(built, data.grid, cfg.size, data.condition, encoder, clean)
        return cls(
            name,
            "token" if k == data.grid.tokens else str(k),
            learner,
            _batches(learner, data),
            cost.flops_per_image["total"] * cfg.batch,
            cost.forward_flops,
        )

    def step(self) -> None:
        """One step of training."""
        self.learner.step(self.source)
        self.learner.images += self.learner.batch

    def bytes(self) -> tuple[int, int]:
        """(at most at once, of them a step's own) bytes."""
        learner = self.learner
        held = [part for state in learner.optimizer.state.values() for part in state.values()]
        held += [*learner.parameters, *learner.arm.buffers(), *learner.ema.parameters()]
        return step_bytes(self.step, held, learner.processes.device)

    def parts(self) -> dict[str, float]:
        """The share of each part in a step, of some that are taken apart; what is not another's is
        the backbone's, the loss with it.
        """
        learner = self.learner
        parts = Parts(learner.processes.device)
        parts.call("data", learner, "make_batch")
        parts.call("optimiser", learner, "update")
        parts.call("EMA", learner, "average")
        for name, module in (("teacher", learner.ctx.ema), ("encoder", learner.ctx.encoder)):
            if module is not None:
                parts.module(name, module)
        for head in learner.arm.heads.values():
            parts.module("heads", head)
        parts.call("in all", self, "step")
        for _ in range(PARTED):
            self.step()
        seconds = parts.read()
        whole = seconds.pop("in all")
        seconds["backbone"] = whole - sum(seconds.values())
        return {name: value / whole for name, value in seconds.items()}


@torch.no_grad()
def _backbone(cfg: Config, data: DataSet, device: torch.device) -> SiT:
    """Random weights, made on the device. None is zero, as adaLN-Zero's are at first: products with
    zeros take a GPU less time than others.
    """
    draw = generator(cfg.seed, "init", 0, device)
    with device:
        backbone = SiT(data.grid, cfg.size, data.condition)
    for weight in backbone.initialise(draw).parameters():
        weight.add_(0.02 * torch.randn(weight.shape, generator=draw, device=device))
    return backbone


def _data(cfg: Config) -> DataSet:
    """The data set, or random latents of its shape where data.root=DIR is not said."""
    if parts := cfg.data.parts:
        raise ValueError(
            f"data={cfg.data.name} has {len(parts)} kinds of steps, and one is timed: say data= "
            f"one of {', '.join(parts)}"
        )
    known = shape_of(cfg.data)
    if cfg.data.values.get("root", "") is not None or known is None:
        return build(cfg.data)
    return RandomLatents(*known, decoded_shape(cfg.data), max(ROWS, 2 * cfg.batch))


def _encoder(cfg: Config, data: DataSet, processes: Processes) -> Encoder:
    assert cfg.encoder is not None
    parts = {"token_grid": data.grid.seen, "dataset": data, "cache": Path(cfg.cache)}
    return build(cfg.encoder, **parts).to(processes.device)


def _features(data: DataSet, encoder: Encoder) -> np.ndarray:
    """Random features, one picture's for all, which takes no room."""
    one = np.random.default_rng(0).standard_normal((1, data.grid.tokens, encoder.width), np.float32)
    return np.broadcast_to(one, (data.n_train, *one.shape[1:]))


def _clean(data: DataSet, encoder: Encoder) -> tuple[int, ...]:
    if isinstance(data, RandomLatents):
        return data.shown
    return tuple(read_by_encoder(data, encoder.hears, "train", slice(0, 1)).shape[1:])


def _batches(learner: Learner, data: DataSet) -> Iterator[Examples]:
    """Batches without end."""
    if isinstance(data, RandomLatents):
        two = list(learner.read(until=2 * learner.batch))
        return ahead(itertools.cycle(two), learner.processes.device)
    return learner.batches(until=learner.batch * 10**6)
