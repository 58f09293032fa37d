"""Sampling protocols as data: each a named, complete record that every result carries.

Published rows of this field differ by less than their protocols do, so nothing about how samples
were made is left to defaults that a row does not show. Sources: REPA (arXiv 2410.06940), SiT (arXiv
2401.08740) and Self-Flow (arXiv 2603.06507), released code.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

CHOICES = {
    "sampler": ("euler", "heun", "sde", "dopri5"),
    "state": ("float32", "float64"),
    "noise_precision": ("float32", "bf16"),
    "model_precision": ("float32", "bf16"),
    "decoder_precision": ("float32", "bf16"),
    "labels": ("random", "balanced"),
    "rounding": ("round_half_up", "truncate"),
}


@dataclass(frozen=True)
class Protocol:
    """How samples are made.

    sampler: euler | heun | sde | dopri5; steps: evaluations of an Euler step
    (Heun: two each, but the last); shift: a of the time shift s(a, t); last_time: where the noisy
    steps of the SDE end; state: precision of the state; noise_precision: that the starting noise is
    rounded to; model_precision: of the backbone (bf16: autocast); decoder_precision: of the
    autoencoder that decodes latents (pixels need none); guidance: w, with the interval [low, high]
    of t in which it is on (ends included) and the number of token channels it acts on (None: all);
    labels: random (uniform, the papers') or balanced; rounding: of samples to uint8; block: samples
    of one block and generator. Raises ValueError for values that no sampler has.
    """

    name: str
    sampler: str
    steps: int
    shift: float = 1.0
    last_time: float = 0.04
    state: str = "float64"
    noise_precision: str = "float32"
    model_precision: str = "float32"
    decoder_precision: str = "float32"
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

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            value = getattr(self, key)
            if value not in choices:
                raise ValueError(f"{key}={value} is unknown (choices: {', '.join(choices)})")
        # an adaptive sampler chooses its steps itself
        least = {"dopri5": 0, "sde": 2}.get(self.sampler, 1)
        if self.steps < least:
            raise ValueError(f"steps={self.steps} is too few for {self.name}: {least} or more")
        if not 0 < self.shift < math.inf:
            raise ValueError(
                f"shift={self.shift} of the times must be a number above 0 (1 is none)"
            )
        if self.shift != 1 and self.sampler not in ("euler", "heun"):
            raise ValueError(
                f"shift={self.shift} says nothing for {self.name}, whose times are its own: "
                "leave it out"
            )
        if self.steps and self.sampler == "dopri5":
            raise ValueError(
                f"steps={self.steps} says nothing for {self.name}, which chooses its own: "
                "leave it out"
            )
        if not 0 < self.last_time < 1:
            raise ValueError(f"last_time={self.last_time} must lie between 0 and 1")
        if not math.isfinite(self.guidance):
            raise ValueError(f"guidance={self.guidance} must be a number (1 is none)")
        if not self.guidance_low <= self.guidance_high:
            raise ValueError(
                f"guidance_low={self.guidance_low} is above guidance_high={self.guidance_high}: "
                "give low <= high (t = 1 is noise)"
            )
        if self.guided_channels is not None and self.guided_channels < 1:
            raise ValueError(f"guided_channels={self.guided_channels} must be 1 or more")

    @property
    def evaluations(self) -> int:
        """Passes of the backbone for a sample; of an adaptive sampler a usual number, for estimates
        alone.
        """
        passes = {"heun": 2 * self.steps - 1, "dopri5": 100}.get(self.sampler, self.steps)
        return passes * (2 if self.guidance > 1 else 1)

    def to_json(self) -> dict[str, Any]:
        """The complete record."""
        return dataclasses.asdict(self)


# Fields that a request may change; the others are what a protocol's name stands for.
FIXED = ("name", "sampler", "last_time", "block", "atol", "rtol", "weights")
CHANGEABLE = tuple(field.name for field in dataclasses.fields(Protocol) if field.name not in FIXED)

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
    """A named protocol, with changes that show in its record.

    Raises ValueError with the known names.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"evaluation.protocol={name} is unknown (choices: {', '.join(PROTOCOLS)})")
    return dataclasses.replace(PROTOCOLS[name], **changes)
