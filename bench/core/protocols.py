"""Sampling protocols as data: each a named, complete record that every result carries.

Published rows of this field differ by less than their protocols do, so nothing about how samples were made is left to
defaults that a row does not show. Sources: REPA (arXiv 2410.06940), SiT (arXiv 2401.08740) and Self-Flow (arXiv
2603.06507), released code.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Protocol:
    """How samples are made.

    sampler: euler | heun | sde | dopri5; steps: evaluations of an Euler step (Heun: two each, but the last); shift: a
    of the time shift s(a, t); last_time: where the noisy steps of the SDE end; state: precision of the state;
    guidance: w, with the interval [low, high] of t in which it is on (ends included) and the number of token channels
    it acts on (None: all); labels: random (uniform, the papers') or balanced; rounding: of samples to uint8; block:
    samples of one block and generator.
    """

    name: str
    sampler: str
    steps: int
    shift: float = 1.0
    last_time: float = 0.04
    state: str = "float64"
    model_precision: str = "float32"
    guidance: float = 1.0
    guidance_low: float = 0.0
    guidance_high: float = 1.0
    guided_channels: int | None = None
    labels: str = "random"
    rounding: str = "round_half_up"
    block: int = 64
    atol: float = 1e-6
    rtol: float = 1e-3
    weights: str = "ema"

    @property
    def evaluations(self) -> int:
        """Passes of the backbone for a sample; of an adaptive sampler a usual number, for estimates alone."""
        passes = {"heun": 2 * self.steps - 1, "dopri5": 100}.get(self.sampler, self.steps)
        return passes * (2 if self.guidance > 1 else 1)

    def to_json(self) -> dict[str, Any]:
        """The complete record."""
        return dataclasses.asdict(self)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("sde250", "sde", 250, rounding="truncate"),
        Protocol("ode50", "euler", 50),
        Protocol("heun50", "heun", 50),
        Protocol("dopri5", "dopri5", 0),
    )
}


def sampling_protocol(name: str, **changes: Any) -> Protocol:
    """A named protocol, with changes that show in its record. Raises ValueError with the known names."""
    if name not in PROTOCOLS:
        raise ValueError(f"evaluation.protocol={name} is unknown (choices: {', '.join(PROTOCOLS)})")
    return dataclasses.replace(PROTOCOLS[name], **changes)
