"""Dual-timestep scheduling alone: Self-Flow "w/o L_rep", arXiv 2603.06507.

t, s ~ p(t), unsorted; token i stands at s with probability R_M, else at t; L = L_velocity

python -m bench.run method=dual_timestep
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from bench.core.model.method import Context, Method
from bench.core.model.noise import NoiseLevels
from bench.core.model.streams import Draw
from methods.parts import dual_levels


@dataclass
class DualTimestep(Method):
    """mask_ratio: R_M, the probability that a token takes the second time."""

    name: str
    mask_ratio: float = field(metadata={"range": "[0, 1]"})

    def noise(self, t: Tensor, draw: Draw, ctx: Context) -> NoiseLevels:
        return dual_levels(t, ctx.second_time(draw), self.mask_ratio, draw, ctx.grid.tokens)
