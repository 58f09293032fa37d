"""Passes without gradient: sampling by sampler, and features of every block.

for row in passes(arm, ("ode50",), peak): ...
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from bench.commands.timing.arms import TimedArm
from bench.commands.timing.clock import step_seconds
from bench.commands.timing.rows import Timing
from bench.core.model.graphs import Replayed, begin_step
from bench.core.model.sampling import Velocity, sample_block, velocity_of
from bench.core.model.sampling_protocol import sampling_protocol

FEW_STEPS = 6  # of a sampler: each costs what every other does
REPEATS = 3


def passes(arm: TimedArm, samplers: Sequence[str], peak: float) -> Iterator[Timing]:
    """A row a sampler and one of features, of the arm's EMA; compiled, as its steps are, and once
    more without; where steps replay graphs, samplers a third time, as bench.evaluate graphs=true
    replays them.
    """
    compute = arm.learner.cfg.compute
    for eager in (False, True) if compute.compile else (False,):
        stance = torch.compiler.set_stance("force_eager") if eager else contextlib.nullcontext()
        velocity = velocity_of(arm.learner.averaged, arm.learner.precision)
        if compute.graphs:
            velocity = _each_a_step(velocity)
        with stance:
            for name in samplers:
                yield _sampling(arm, name, velocity, peak, " (plain)" if eager else "")
            yield _features(arm, peak, "(plain)" if eager else "")
            for name in samplers if eager and compute.graphs else ():
                yield _sampling(arm, name, Replayed(velocity), peak, " (plain, replayed)")


def _each_a_step(velocity: Velocity) -> Velocity:
    """The same of compiled blocks that replay graphs."""

    def of_step(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        begin_step()
        return velocity(x, t, condition)

    return of_step


def _sampling(arm: TimedArm, name: str, velocity: Velocity, peak: float, note: str) -> Timing:
    learner, protocol = arm.learner, sampling_protocol(name)
    device, grid = learner.processes.device, learner.data.grid
    few = dataclasses.replace(protocol, steps=FEW_STEPS)
    shape = (grid.tokens, grid.token_dim)

    def sample() -> object:
        return sample_block(velocity, few, shape, learner.data.prompts, 0, 0, device)

    seconds = _median(sample, device) / few.evaluations
    row = _row(arm, "sampling", name + note, protocol.block, seconds, peak)
    rate = protocol.block / seconds / protocol.evaluations
    return dataclasses.replace(row, images_per_s=rate)


def _features(arm: TimedArm, peak: float, note: str) -> Timing:
    learner, n = arm.learner, min(64, arm.learner.batch)
    device, backbone, grid = learner.processes.device, learner.averaged, learner.data.grid
    tokens = torch.randn(n, grid.tokens, grid.token_dim, device=device)
    t, null = torch.rand(n, device=device), backbone.null.expand(n, *backbone.null.shape)
    every = range(1, backbone.size.depth + 1)

    @torch.no_grad()
    def look() -> object:
        if learner.cfg.compute.graphs:
            begin_step()
        with learner.autocast:
            return backbone(tokens, t, null, taps=every)

    return _row(arm, "features", note, n, _median(look, device), peak)


def _median(act: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, the first one left out."""
    act()
    return statistics.median(step_seconds(act, REPEATS, device))


def _row(arm: TimedArm, what: str, name: str, images: int, seconds: float, peak: float) -> Timing:
    flops = arm.forward_flops * images
    return Timing(
        what=what,
        arm=name,
        size=arm.learner.ctx.size.name,
        levels="1",
        batch=images,
        device=arm.learner.processes.device.type,
        ms_per_step=1e3 * seconds,
        images_per_s=images / seconds,
        flops_per_step=flops,
        share=flops / seconds / peak,
    )
