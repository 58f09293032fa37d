"""Improved precision and recall of samples against reference images (Kynkaanniemi et al. 2019,
arXiv:1904.06991).

Definition of the ADM evaluator (equations 1-2 of the paper, k = 3): squared L2 distances in
float32; radius_i is the (k + 1)-th smallest entry of row i of a set's distance matrix with itself,
the zero to itself included; precision is the share of samples that lie within some reference
image's ball, recall the share of reference images that lie within some sample's ball. `<=`, nothing
clamped.

Distances are made a block at a time, so 10,000 x 50,000 of them need some tens of megabytes.

    from probes.distances.precision_recall import precision_recall
    precision, recall = precision_recall(samples, reference)
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

NEIGHBOURS = 3
BALLS = (  # for protocols
    "squared L2, float32, k = 3, "
    "radius to the (k + 1)-th smallest with itself included, <=, not clamped"
)
BLOCK = 2048


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared L2 distances [m, n] of rows a [m, d] and b [n, d],
    as |a|^2 + |b|^2 - 2 a.b in their own type.
    """
    return (a * a).sum(1, keepdim=True) + (b * b).sum(1) - 2 * (a @ b.T)


def squared_radii(
    features: Tensor, k: int = NEIGHBOURS, block: int = BLOCK, progress: bool = False
) -> Tensor:
    """Squared distance [n] of each row of features [n, d] to its k-th nearest other row."""
    n = len(features)
    if n <= k:
        raise ValueError(f"{n} images have no {k}-th neighbour; give at least {k + 1}")
    radii = []
    for i in tqdm(
        range(0, n, block), desc="radii", unit="block", disable=not progress, leave=False
    ):
        smallest = None
        for j in range(0, n, block):
            distances = squared_distances(features[i : i + block], features[j : j + block])
            if smallest is not None:
                distances = torch.cat([smallest, distances], dim=1)
            smallest = distances.topk(min(k + 1, distances.shape[1]), dim=1, largest=False).values
        assert smallest is not None and smallest.shape[1] == k + 1
        radii.append(smallest.max(dim=1).values)
    return torch.cat(radii)


def share_inside(
    points: Tensor, centres: Tensor, radii: Tensor, block: int = BLOCK, progress: bool = False
) -> float:
    """Share (0..1) of points [m, d] that lie within the ball
    (squared radii [n]) of some centre [n, d].
    """
    inside = 0
    for i in tqdm(
        range(0, len(points), block), desc="balls", unit="block", disable=not progress, leave=False
    ):
        covered = torch.zeros(len(points[i : i + block]), dtype=torch.bool, device=points.device)
        for j in range(0, len(centres), block):
            distances = squared_distances(points[i : i + block], centres[j : j + block])
            covered |= (distances <= radii[j : j + block]).any(dim=1)
        inside += int(covered.sum())
    return inside / len(points)


def precision_recall(
    samples: Tensor,
    reference: Tensor,
    k: int = NEIGHBOURS,
    block: int = BLOCK,
    progress: bool = False,
) -> tuple[float, float]:
    """Precision and recall (0..1) of samples [m, d] against reference [n, d],
    both float32 on one device.
    """
    precision = share_inside(
        samples, reference, squared_radii(reference, k, block, progress), block, progress
    )
    recall = share_inside(
        reference, samples, squared_radii(samples, k, block, progress), block, progress
    )
    return precision, recall
