"""The compute-optimal frontier: what quality a budget of FLOPs buys, and by which N and D.

    cost = ImageCost.fitted(parameters, flops_per_image)        # FLOPs an image = scale N^exponent
    optimum(joint.values[None], cost, 1e21)                # N, D and y
    frontier_law(joint, cost)                              # y = E + F C^-h along it, a Law in C
    lower_envelope(flops, y)                               # what was measured, without any law

Hoffmann et al. 2022 (arXiv 2203.15556, equation 4) minimise E + A N^-a + B D^-b at C = 6 N D:

    N_opt = G (C / 6)^(b / (a + b)),   G = (a A / (b B))^(1 / (a + b))

Here an image costs what was counted, k N^g FLOPs with g near 1 (attention, heads, teacher and
encoder are in it), and at C = k N^g D the same derivation gives

    N_opt = G (C / k)^(b / (a + g b)),   G = (a A / (g b B))^(1 / (a + g b))

at which B D^-b = A N^-a a / (g b), so that the frontier is a power law itself, of exponent
h = a b / (a + g b).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reports.laws.fits import Law


@dataclass(frozen=True)
class ImageCost:
    """FLOPs of training on one image (or token): scale N^exponent; 6 N for a language model."""

    scale: float
    exponent: float = 1.0

    @classmethod
    def fitted(cls, n: np.ndarray, flops: np.ndarray) -> ImageCost:
        """The straight line through log FLOPs an image over log N, both [points]."""
        exponent, constant = np.polyfit(np.log(n), np.log(flops), 1)
        return cls(float(np.exp(constant)), float(exponent))


def optimum(
    parameters: np.ndarray, cost: ImageCost, flops: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N, D and y [s] of the best run of so many FLOPs, by joint laws E, A, a, B, b [s, 5]."""
    e, scale_n, a, scale_d, b = parameters.T
    g, budget = cost.exponent, flops / cost.scale
    n = (a * scale_n / (g * b * scale_d) * budget**b) ** (1 / (a + g * b))
    return n, budget / n**g, e + scale_n * n**-a * (1 + a / (g * b))


def frontier_law(joint: Law, cost: ImageCost) -> Law:
    """y = E + A C^-a along the frontier of a joint law, C in FLOPs."""

    def along(parameters: np.ndarray) -> np.ndarray:
        e, _, a, _, b = parameters.T
        exponent = a * b / (a + cost.exponent * b)
        # the part that compute removes, where log C / scale is 0
        _, _, y = optimum(parameters, cost, cost.scale)
        return np.stack([e, (y - e) * cost.scale**exponent, exponent], 1)

    names = ("E", "A", "a")
    return replace(
        joint, names=names, values=along(joint.values[None])[0], samples=along(joint.samples)
    )


def lower_envelope(flops: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of the points that no other one beats at as few FLOPs, from few to many."""
    order = np.lexsort((y, flops))
    best = np.minimum.accumulate(np.append(np.inf, y[order]))[:-1]
    return order[y[order] < best]
