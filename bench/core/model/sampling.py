"""Samplers, from noise at t = 1 to data at t = 0, in fixed blocks of 64 so that the number of
processes changes nothing.

A block's start, labels and increments each come from one generator, seeded by
(seed, purpose, block): the same file for any number of processes on one kind of device, and the
same noise for every arm. They are drawn on the CPU, because a GPU's generator gives other numbers:
what then differs between devices is arithmetic alone. Definitions follow REPA's released sampler
(arXiv 2410.06940).

    velocity, protocol = velocity_of(backbone), sampling_protocol("ode50")
    tokens, asked = sample_block(velocity, protocol, (16, 4), 10, seed=0, block=3, device="cpu")
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core.model.backbone import SiT
from bench.core.model.conditions import Prompts
from bench.core.model.noise import shift_time
from bench.core.model.sampling_protocol import Protocol
from bench.core.model.streams import generator

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""v(x [B, N, C], t [B], condition [B, ...]) -> [B, N, C]."""


def velocity_of(backbone: SiT, precision: str = "float32") -> Velocity:
    """The backbone as a velocity field, one level for all tokens; precision: float32 or bf16
    (autocast).
    """

    @torch.no_grad()
    def velocity(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            prediction, _ = backbone(x.float(), t.float(), condition)
        assert prediction is not None
        return prediction

    return velocity


@dataclass(frozen=True)
class Field:
    """A velocity field with guidance, v_u + w (v_c - v_u) while low <= t <= high, on all or the
    first channels. There is none where the protocol's w is 1 or less. null: the row of a condition
    that says nothing.
    """

    velocity: Velocity
    protocol: Protocol
    null: Tensor

    def __call__(
        self, x: Tensor, t: Tensor, condition: Tensor, decided_at: Tensor | None = None
    ) -> Tensor:
        """Velocity [B, N, C] at one time t (a scalar) for all samples.

        decided_at: the time that says whether guidance is on, where that is not t.
        """
        p = self.protocol
        times = torch.full((len(x),), float(t), dtype=torch.float64, device=x.device)
        decision = float(t if decided_at is None else decided_at)
        if p.guidance <= 1 or not p.guidance_low <= decision <= p.guidance_high:
            return self.velocity(x, times, condition).to(x.dtype)
        # with and without the condition in one pass
        rows = torch.cat([condition, self.null.to(condition.device).expand_as(condition)])
        both = self.velocity(torch.cat([x, x]), torch.cat([times, times]), rows).to(x.dtype)
        conditional, unconditional = both.chunk(2)
        mixed = unconditional + p.guidance * (conditional - unconditional)
        if (first := p.guided_channels) is None:
            return mixed
        return torch.cat([mixed[..., :first], conditional[..., first:]], dim=-1)


def time_steps(protocol: Protocol) -> Tensor:
    """steps + 1 times from 1 to 0, shifted; float64."""
    return shift_time(torch.linspace(1, 0, protocol.steps + 1, dtype=torch.float64), protocol.shift)


def euler(field: Field, x: Tensor, condition: Tensor) -> Tensor:
    """Euler's method."""
    times = time_steps(field.protocol)
    for now, then in itertools.pairwise(times):
        x = x + (then - now) * field(x, now, condition)
    return x


def heun(field: Field, x: Tensor, condition: Tensor) -> Tensor:
    """Heun's method as REPA runs it.

    The last step is not corrected, and the current t decides guidance for both stages.
    """
    times = time_steps(field.protocol)
    for i, (now, then) in enumerate(itertools.pairwise(times)):
        slope = field(x, now, condition)
        if i < field.protocol.steps - 1:
            slope = (slope + field(x + (then - now) * slope, then, condition, decided_at=now)) / 2
        x = x + (then - now) * slope
    return x


def sde(field: Field, x: Tensor, condition: Tensor, increments: torch.Generator) -> Tensor:
    """Euler-Maruyama with w(t) = 2t: drift (2 - t) v + x, noise sqrt(2 t |h|),
    then one deterministic step to 0.

    increments: a generator of the CPU.
    """
    times = torch.linspace(1, field.protocol.last_time, field.protocol.steps, dtype=torch.float64)
    for now, then in itertools.pairwise(times):
        h = then - now
        noise = torch.randn(x.shape, generator=increments, dtype=x.dtype).to(x.device)
        drift = (2 - now) * field(x, now, condition) + x
        x = x + h * drift + float((2 * now * h.abs()).sqrt()) * noise
    last = times[-1]
    return x - last * ((2 - last) * field(x, last, condition) + x)


def dopri5(field: Field, x: Tensor, condition: Tensor) -> Tensor:
    """Adaptive Dormand-Prince by torchdiffeq (optional extra `dopri5`)."""
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise ValueError(
            "the sampler dopri5 needs torchdiffeq: "
            "pip install torchdiffeq, or choose ode50, heun50 or sde250"
        ) from error
    ends = torch.tensor([1.0, 0.0], dtype=x.dtype, device=x.device)
    p = field.protocol
    tolerances = {"atol": p.atol, "rtol": p.rtol}
    states: Any = odeint(
        lambda t, state: field(state, t, condition), x, ends, method="dopri5", **tolerances
    )
    return states[-1]


def solved(field: Field, x: Tensor, condition: Tensor, increments: torch.Generator) -> Tensor:
    """From noise x [B, N, C] to samples, by the protocol's sampler; increments: of the SDE's noise,
    a generator of the CPU.
    """
    if field.protocol.sampler == "sde":
        return sde(field, x, condition, increments)
    ordinary = {"euler": euler, "heun": heun, "dopri5": dopri5}[field.protocol.sampler]
    return ordinary(field, x, condition)


def block_prompts(protocol: Protocol, prompts: int, seed: int, block: int) -> Tensor:
    """The prompts (of a table of so many: classes, or texts) that a block asks for, int64 [64]:
    uniform at random (the papers'), or the sample's number modulo the prompts.
    """
    size = protocol.block
    if protocol.labels == "balanced":
        return (block * size + torch.arange(size)) % prompts
    return torch.randint(0, prompts, (size,), generator=generator(seed, "sample_labels", block))


def sample_block(
    velocity: Velocity,
    protocol: Protocol,
    shape: tuple[int, int],
    prompts: Prompts | int,
    seed: int,
    block: int,
    device: torch.device | str,
) -> tuple[Tensor, Tensor]:
    """One whole block: tokens float32 [64, N, C] and which prompts they were asked for [64], both
    on the CPU; shape: (N, C); prompts: a number stands for so many classes.
    """
    prompts = Prompts.of_classes(prompts) if isinstance(prompts, int) else prompts
    asked = block_prompts(protocol, len(prompts.rows), seed, block)
    condition = prompts.rows[asked].to(device)
    x = torch.randn(protocol.block, *shape, generator=generator(seed, "sample_noise", block))
    x = x.bfloat16() if protocol.noise_precision == "bf16" else x
    x = x.to(device, getattr(torch, protocol.state))
    field = Field(velocity, protocol, prompts.null)
    x = solved(field, x, condition, generator(seed, "sample_increments", block))
    return x.float().cpu(), asked
