"""Frechet distance between two sets of feature vectors (FID, sFID, FD-DINOv2, fd_local, fd_pixels).

Heusel et al. 2017 (arXiv:1706.08500), equation 6, of two Gaussians fitted to the features:
    d^2 = |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))
in float64, covariance with ddof 1, as in the ADM evaluator. The root's trace is taken from
symmetric eigenvalues,
    tr (S_1 S_2)^(1/2) = sum_i lambda_i(S_1^(1/2) S_2 S_1^(1/2))^(1/2),
which is the same number without a general matrix square root: that of some releases of scipy is
wrong by orders of magnitude, without a word, where covariances are singular.

    from probes.distances.frechet import distance_of, fit
    distance_of(fit(samples), fit(reference)).value
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# For protocols. What earlier rows call the same quantity: `bench.core.store.rows.SAME_WORDS`.
FRECHET = "float64 mean and covariance (ddof 1), trace of the root by symmetric eigenvalues"
# What rounding may leave of a covariance's symmetry and of its sign, as a share of its largest
# eigenvalue; files of published statistics are float64 or, at times, float32.
MOST_ROUNDING = 1e-5
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Gaussian:
    """Mean [d] and covariance [d, d] (float64, ddof 1) of n feature vectors;
    n is 0 where a file does not say it.
    """

    mean: np.ndarray
    covariance: np.ndarray
    n: int


@dataclass(frozen=True)
class Distance:
    """A squared Frechet distance and what has to be said beside it ("" if nothing)."""

    value: float
    note: str


def fit(features: np.ndarray) -> Gaussian:
    """Fit a Gaussian to features [n, d] (any float type) in float64, in blocks of rows.

    Raises ValueError for fewer than two rows or for non-finite values: `finite_rows` drops and
    counts those.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"features of shape {features.shape} have no covariance; give at least two rows [n, d]"
        )
    n, width = features.shape
    total = np.zeros(width)
    for start in range(0, n, ROWS_AT_ONCE):
        total += features[start : start + ROWS_AT_ONCE].sum(axis=0, dtype=np.float64)
    mean = total / n
    if not np.isfinite(mean).all():
        raise ValueError(
            "features hold values that are not finite; drop and count them with finite_rows first"
        )
    # Centred before the product: sums of squares would lose the digits that the distance is made
    # of.
    scatter = np.zeros((width, width))
    for start in range(0, n, ROWS_AT_ONCE):
        centred = features[start : start + ROWS_AT_ONCE].astype(np.float64) - mean
        scatter += centred.T @ centred
    return Gaussian(mean=mean, covariance=scatter / (n - 1), n=n)


class Moments:
    """Mean and covariance of features that arrive in parts, for more of them than memory holds.

    Blocks of rows are centred on their own mean before they are merged (Chan et al. 1979), as in
    `fit`.
    """

    def __init__(self) -> None:
        self._n, self._waiting = 0, list[np.ndarray]()
        self._mean = self._scatter = np.zeros(())

    def add(self, features: np.ndarray) -> None:
        """Take in rows [m, d].

        Raises ValueError for non-finite values, now or with the rows that follow.
        """
        self._waiting.append(features.copy())
        if sum(map(len, self._waiting)) >= ROWS_AT_ONCE:
            self._merge()

    def _merge(self) -> None:
        rows = np.concatenate(self._waiting).astype(np.float64)
        self._waiting, total = [], self._n + len(rows)
        mean = rows.mean(axis=0)
        if not np.isfinite(mean).all():
            raise ValueError(
                "features hold values that are not finite; "
                "drop and count them with finite_rows first"
            )
        rows -= mean
        gap = mean - self._mean
        self._scatter = (
            self._scatter + rows.T @ rows + np.outer(gap, gap) * (self._n * len(rows) / total)
        )
        self._mean, self._n = self._mean + gap * (len(rows) / total), total

    def gaussian(self) -> Gaussian:
        """Of all rows so far. Raises ValueError for fewer than two."""
        if self._waiting:
            self._merge()
        if self._n < 2:
            raise ValueError(
                f"features of {self._n} picture(s) have no covariance; give at least two"
            )
        return Gaussian(self._mean, self._scatter / (self._n - 1), self._n)


def frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Squared Frechet distance (>= 0 up to rounding) of two Gaussians given as [d] and [d, d].

    Raises ValueError for unlike lengths, and where a matrix is no covariance: not finite, not
    symmetric, or with a negative variance beyond rounding.
    """
    mean_a, mean_b = np.asarray(mean_a, np.float64), np.asarray(mean_b, np.float64)
    if mean_a.shape != mean_b.shape or covariance_a.shape != covariance_b.shape:
        raise ValueError(
            f"features of {mean_a.size} and {mean_b.size} numbers have no distance; "
            "use one extractor for both sides"
        )
    if not (np.isfinite(mean_a).all() and np.isfinite(mean_b).all()):
        raise ValueError("a mean of features is not finite: make the statistics again")
    root_a, root_b = _root(covariance_a), _root(covariance_b)
    # tr (S_a S_b)^(1/2) is the sum of the singular values of S_a^(1/2) S_b^(1/2), whose squares the
    # eigenvalues above are; taken so, rounding is not magnified by another square root
    common = np.linalg.svd(root_a.T @ root_b, compute_uv=False).sum()
    gap = mean_a - mean_b
    return float(gap @ gap + np.trace(covariance_a) + np.trace(covariance_b) - 2 * common)


def _root(covariance: np.ndarray) -> np.ndarray:
    """R [d, d] with R R^T = covariance: eigenvectors times roots of eigenvalues.

    Raises ValueError for what is no covariance.
    """
    covariance = np.asarray(covariance, np.float64)
    if not np.isfinite(covariance).all():
        raise ValueError("a covariance of features is not finite: make the statistics again")
    scale = np.abs(covariance).max(initial=0)
    asymmetry = np.abs(covariance - covariance.T).max(initial=0)
    if asymmetry > MOST_ROUNDING * scale:
        raise ValueError(
            f"a covariance of features is not symmetric (by {asymmetry:.3g}, its largest number is "
            f"{scale:.3g}): make the statistics again"
        )
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    if values.min(initial=0) < -MOST_ROUNDING * np.abs(values).max(initial=0):
        raise ValueError(
            f"a covariance of features has negative variances (an eigenvalue is {values.min():.3g},"
            f" the largest {values.max():.3g}): make the statistics again"
        )
    return vectors * np.sqrt(values.clip(min=0))


def distance_of(samples: Gaussian, reference: Gaussian) -> Distance:
    """Frechet distance of two fitted Gaussians,
    with a warning where a covariance is rank-deficient.
    """
    value = frechet_distance(samples.mean, samples.covariance, reference.mean, reference.covariance)
    width = samples.mean.size
    few = [
        f"{g.n} {name}"
        for name, g in (("samples", samples), ("reference images", reference))
        if 0 < g.n <= width
    ]
    if not few:
        return Distance(value, "")
    note = f"unreliable: {' and '.join(few)} for {width} feature dimensions (use more than {width})"
    return Distance(value, note)
