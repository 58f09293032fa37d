"""Kernel Inception distance (Binkowski et al. 2018, arXiv:1801.01401):
unbiased squared MMD with a cubic kernel.

k(x, y) = (x.y / d + 1)^3; the mean over 100 random subsets of 1,000 samples and 1,000 reference
images (all of them where there are fewer), drawn as torch-fidelity draws them, so that the same
seed gives its number.

    from probes.distances.kid import kid
    kid(samples, reference).value
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020  # torch-fidelity's default


@dataclass(frozen=True)
class Kid:
    """Mean and standard deviation over subsets, and the size that the subsets had."""

    value: float
    spread: float
    subset_size: int


def unbiased_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD of x [m, d] and y [m, d] under the cubic kernel;
    may be slightly negative.
    """
    m, width = x.shape
    assert y.shape == x.shape

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / width + 1) ** 3

    within_x, within_y = kernel(x, x), kernel(y, y)
    own = within_x.sum() - np.trace(within_x) + within_y.sum() - np.trace(within_y)
    return float(own / (m * (m - 1)) - 2 * kernel(x, y).mean())


def kid(
    samples: np.ndarray,
    reference: np.ndarray,
    subsets: int = SUBSETS,
    size: int = SUBSET_SIZE,
    seed: int = SEED,
    progress: bool = False,
) -> Kid:
    """KID of features [n, d] against reference features [k, d].

    Raises ValueError below two images on a side.
    """
    size = min(size, len(samples), len(reference))
    if size < 2:
        raise ValueError(
            f"KID of {len(samples)} samples and {len(reference)} reference images needs two of each"
        )
    draw = np.random.RandomState(seed)
    values = []
    for _ in tqdm(range(subsets), desc="KID", unit="subset", disable=not progress, leave=False):
        x = samples[draw.choice(len(samples), size, replace=False)].astype(np.float64)
        y = reference[draw.choice(len(reference), size, replace=False)].astype(np.float64)
        values.append(unbiased_mmd2(x, y))
    return Kid(float(np.mean(values)), float(np.std(values)), size)
