"""Dispersive Loss: features of a batch are pushed apart, arXiv 2506.09027.

    L = L_velocity + 0.25 * log( (1 / B^2) sum_ij exp(-||z_i - z_j||^2 / (dim * tau)) )

i = j is included, and the constants are those of the PyTorch release.

z: all tokens of one block's output, flattened; no normalisation, head or stop-gradient. B is a
group of 32 consecutive samples, averaged over groups, so that the term does not depend on the
number of processes.

    python -m bench.run method=dispersive
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.core.model.method import Arm, Batch, Context, Method, Step, Term, generative
from bench.core.model.sizes import BlockSpec, Size


def dispersion(z: Tensor, tau: float) -> Tensor:
    """log of the mean over pairs of exp(-||z_i - z_j||^2 / (dim tau)); z [..., B, dim] -> [...]."""
    *_, samples, dim = z.shape
    squared = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist").square()
    pairs = (-squared / (dim * tau)).flatten(-2)
    return torch.logsumexp(pairs, dim=-1) - 2 * math.log(samples)


@dataclass
class Dispersive(Method):
    """tau: temperature; block: whose output is dispersed; group: samples compared together."""

    name: str
    weight: float
    tau: float = field(metadata={"range": "(0, inf)"})
    block: BlockSpec
    group: int = field(metadata={"range": "[2, inf)"})

    def blocks(self, size: Size) -> dict[str, int]:
        return {"student": size.block(self.block)}

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        block, noise = self.blocks(ctx.size)["student"], self.noise(batch.t, step.draw, ctx)
        term, features = generative(net, batch, noise, step, taps=(block,))
        groups = features[block].flatten(1).float().unflatten(0, (-1, self.group))
        return {
            "velocity": term,
            "dispersion": Term(dispersion(groups, self.tau).mean(), self.weight),
        }
