"""What scaling laws say beyond their parameters: the largest size foretold, two methods compared.

    predict_largest(n, y)                           # from the smaller sizes, beside the measured
    effective_parameters(selfflow, vanilla, n=1e9)  # how many times larger vanilla would have to be
    crossing_point(selfflow, repa, 1e8, 1e10)       # the size where one overtakes the other

Laws are fitted by reports.laws.fits; intervals come from the bootstrap samples that they carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from reports.laws.fits import (
    BOOTSTRAP,
    BOOTSTRAP_SEED,
    LEAST_SIZES,
    Law,
    Noise,
    check_points,
    fit_power_law,
    percentiles,
    power_law,
    size_noise,
)


@dataclass(frozen=True)
class Prediction:
    """The largest size foretold from the smaller ones, the interval of a measurement there, and the
    measured value.
    """

    n: float
    predicted: float
    low: float
    high: float
    measured: float


def predict_largest(
    n: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    bootstrap: int = BOOTSTRAP,
    noise: Noise | None = None,
) -> Prediction:
    """Fit without the largest N and foretell it. Raises Refusal when too few sizes remain.

    Three sizes suffice where seeds tell the deviation: the curve then passes through their means,
    and the interval says how little that is.
    """
    sizes, values = np.asarray(n, float), np.asarray(y, float)
    check_points(sizes, values, None, 2)
    largest = sizes == sizes.max()
    n_largest = float(sizes.max())
    # how much runs of the largest size scatter is known, where they lie is not
    seeds = size_noise([(sizes, None, np.log(values))]) if noise is None else noise
    law = fit_power_law(
        sizes[~largest],
        values[~largest],
        bootstrap=bootstrap,
        least=LEAST_SIZES - bool(seeds),
        noise=seeds,
    )
    rng = np.random.default_rng(BOOTSTRAP_SEED + 1)
    curve = np.array([power_law(row, sizes[largest][:1], None)[0] for row in law.samples])
    deviation, df = seeds.get(n_largest, (law.deviation, law.df))
    luck = deviation / math.sqrt(largest.sum()) * rng.standard_t(df, len(curve))
    low, high = percentiles(curve * np.exp(luck), 0.95)
    return Prediction(
        n_largest, law.predict(n_largest), low, high, float(np.exp(np.log(values[largest]).mean()))
    )


@dataclass(frozen=True)
class Crossing:
    """A number with its interval, None where it does not exist; share: of the bootstrap samples in
    which it does.

    A high end of infinity says that in more than a fortieth of the samples nothing is large enough.
    """

    value: float | None
    low: float | None
    high: float | None
    share: float


def effective_parameters(method: Law, baseline: Law, n: float) -> Crossing:
    """How many times more parameters the baseline needs for the method's y at N; infinite where it
    never gets there.
    """
    return _compare(method, baseline, lambda p, q: _multiplier(p, q, n))


def crossing_point(method: Law, baseline: Law, least: float, most: float) -> Crossing:
    """The N in [least, most] where two laws are equal (the smallest, if several)."""
    return _compare(method, baseline, lambda p, q: _meeting(p, q, least, most))


def _multiplier(p: np.ndarray, q: np.ndarray, n: float) -> float:
    y = float(power_law(p, np.array([n]), None)[0])
    return ((y - q[0]) / q[1]) ** (-1 / q[2]) / n if y > q[0] else math.inf


def _meeting(p: np.ndarray, q: np.ndarray, least: float, most: float) -> float:
    grid = np.geomspace(least, most, 257)
    apart = power_law(p, grid, None) - power_law(q, grid, None)
    change = np.flatnonzero(np.sign(apart[1:]) != np.sign(apart[:-1]))
    if not len(change):
        return math.nan
    i = int(change[0])
    share = apart[i] / (apart[i] - apart[i + 1])
    return float(grid[i] * (grid[i + 1] / grid[i]) ** share)


def _compare(
    method: Law, baseline: Law, number: Callable[[np.ndarray, np.ndarray], float]
) -> Crossing:
    if len(method.names) != 3 or len(baseline.names) != 3:
        raise ValueError("two methods are compared by laws over sizes alone; fit them without D")
    value = number(method.values, baseline.values)
    drawn = np.array([number(p, q) for p, q in zip(method.samples, baseline.samples, strict=True)])
    share = float(np.isfinite(drawn).mean())
    point = value if math.isfinite(value) else None
    counted = drawn[~np.isnan(drawn)]
    if not share:
        return Crossing(point, None, None, share)
    # order statistics, as between a number and infinity there is no middle
    low, high = (
        np.percentile(counted, 2.5, method="lower"),
        np.percentile(counted, 97.5, method="higher"),
    )
    return Crossing(point, float(low), float(high), share)
