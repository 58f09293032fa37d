"""Diffusion Forcing, a negative control: an independent time for every token (arXiv 2407.01392;
fig. 2b of 2603.06507).

t_i ~ p(t) for each token i;   L = L_velocity

python -m bench.run method=diffusion_forcing
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.core.model.method import Context, Method
from bench.core.model.noise import NoiseLevels
from bench.core.model.streams import Draw


@dataclass
class DiffusionForcing(Method):
    """K = N levels a sample; the sample's shared time is not used."""

    name: str

    def noise(self, t: Tensor, draw: Draw, ctx: Context) -> NoiseLevels:
        return NoiseLevels(ctx.second_time(draw, ctx.grid.tokens))
