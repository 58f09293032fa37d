"""Two numbers that owe nothing to any network: the Frechet distance of the data itself,
and the copy rate.

`fd_pixels` is the Frechet distance of the flattened data (on digits the 64 numbers), the distance
that is unrelated to every encoder. The copy rate is the median distance of a sample to its nearest
training picture over that of held-out pictures: about 1 for new pictures, near 0 for a memoriser,
whatever its other distances are.

    vectors = pixel_vectors(grid.unpatchify(tokens))
    usual = float(nearest_distances(heldout_vectors, train_vectors).median())
    copy_rate(nearest_distances(vectors, train_vectors), usual)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from probes.distances.precision_recall import BLOCK

MOST_NUMBERS = 1024  # a covariance of more needs more samples than most studies draw


def pixel_vectors(data: Tensor, most: int = MOST_NUMBERS) -> Tensor:
    """Flatten data [B, c, *shape] (1 to 3 axes) to [B, d],
    averaging 2 x 2 cells until d <= most.
    """
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[data.ndim - 2]
    data = data.float()
    while data[0].numel() > most:
        if min(data.shape[2:]) < 2:
            raise ValueError(
                f"data of shape {tuple(data.shape[1:])} cannot be averaged to {most} numbers"
            )
        data = pool(data, 2)
    return data.flatten(1)


def nearest_distances(points: Tensor, others: Tensor, block: int = BLOCK) -> Tensor:
    """L2 distance [m] (float64) of each point [m, d] to the nearest row of others [n, d].

    A product of matrices finds the nearest row; the difference from it is taken as it is, since by
    the product the distance of an exact copy would be a random small number instead of 0.
    """
    found = []
    others = others.double()
    squares = others.square().sum(dim=1)
    for part in points.double().split(block):
        least = torch.full((len(part),), torch.inf, dtype=torch.float64)
        nearest = torch.zeros(len(part), dtype=torch.long)
        for start in range(0, len(others), block):
            rows = slice(start, start + block)
            # |p - o|^2 without |p|^2, which is the same for all rows
            value, row = (squares[rows] - 2 * part @ others[rows].T).min(dim=1)
            nearest = torch.where(value < least, start + row, nearest)
            least = torch.minimum(value, least)
        found.append((part - others[nearest]).norm(dim=1))
    return torch.cat(found)


def copy_rate(nearest: Tensor, usual: float) -> tuple[float, str]:
    """Median distance of samples to the nearest training row [m] over `usual`, that of held-out
    rows; and a note.

    NaN, with the reason, where most held-out rows are copies of training rows.
    """
    if not usual:
        return (
            math.nan,
            "most held-out pictures are copies of training pictures: split the data again",
        )
    return float(nearest.median()) / usual, ""
