"""Dispersive Loss: features of a batch are pushed apart,
arXiv 2506.09027 (the PyTorch release's constants).

    L = L_velocity + 0.25 * log( (1 / B^2) sum_ij exp(-||z_i - z_j||^2 / (dim * tau)) ),   i = j included

z: all tokens of one block's output, flattened; no normalisation, head or stop-gradient. B is a
group of 32 consecutive samples, averaged over groups, so that the term does not depend on the
number of processes.

    python -m bench.run method=dispersive
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core.model.method import Arm, Batch, Context, Method, Term, generative
from bench.core.model.sizes import Size
from bench.core.ranges import check_range


def dispersion(z: Tensor, tau: float) -> Tensor:
    """log of the mean over pairs of exp(-||z_i - z_j||^2 / (dim tau)); z [..., B, dim] -> [...]."""
    squared = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()
    return torch.logsumexp((-squared / (z.shape[-1] * tau)).flatten(-2), dim=-1) - 2 * math.log(
        z.shape[-2]
    )


@dataclass
class Dispersive(Method):
    """tau: temperature; block: whose output is dispersed; group:
    samples compared with each other.
    """

    name: str
    weight: float
    tau: float
    block: Any
    group: int

    def __post_init__(self) -> None:
        check_range("method.tau", self.tau, "(0, inf)")
        check_range("method.group", self.group, "[2, inf)")

    def group_size(self) -> int:
        return self.group

    def blocks(self, size: Size) -> dict[str, int]:
        return {"student": size.block(self.block)}

    def loss(self, net: Arm, batch: Batch, ctx: Context) -> dict[str, Term]:
        block = self.blocks(ctx.size)["student"]
        term, features = generative(net, batch, self.student_noise(batch, ctx), taps=(block,))
        groups = features[block].flatten(1).float().unflatten(0, (-1, self.group))
        return {
            "velocity": term,
            "dispersion": Term(dispersion(groups, self.tau).mean(), self.weight),
        }
