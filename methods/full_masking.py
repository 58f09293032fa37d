"""Full masking, a negative control: some tokens are pure noise (Self-Flow, arXiv 2603.06507,
fig. 2b).

token i stands at t = 1 with probability R_M, else at the sample's t;   L = L_velocity

python -m bench.run method=full_masking
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.core.model.method import Context, Method
from bench.core.model.noise import NoiseLevels
from bench.core.model.streams import Draw
from methods.parts import dual_levels


@dataclass
class FullMasking(Method):
    """mask_ratio: R_M (the paper gives none; ours is Self-Flow's)."""

    name: str
    mask_ratio: float = field(metadata={"range": "[0, 1]"})

    def noise(self, t: Tensor, draw: Draw, ctx: Context) -> NoiseLevels:
        return dual_levels(t, torch.ones_like(t), self.mask_ratio, draw, ctx.grid.tokens)
