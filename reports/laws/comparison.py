"""What scaling laws say beyond their parameters: the largest size foretold, arms compared.

    predict_largest(n, y)                           # from the smaller sizes, beside the measured
    effective_multiplier(selfflow, vanilla, 1e9)    # how many times larger vanilla would have to be
    crossing_point(selfflow, repa, 1e8, 1e10)       # the size where one overtakes the other
    common_e(points, noise, luck, laws)             # whether one E serves all arms, and their laws

N may be FLOPs: then the multiplier is of compute. Intervals come from the bootstrap samples that
laws carry, the same draw of shared luck in each sample of every arm (reports.laws.noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from reports.laws.fits import (
    BOOTSTRAP,
    BOOTSTRAP_SEED,
    Law,
    Numbers,
    check_points,
    fit_power_law,
    percentiles,
    repeated_noise,
)
from reports.laws.forms import Problem, power_law
from reports.laws.noise import Noise

SURE = 0.975  # of the bootstrap samples: below it two laws are not said to cross
Points = tuple[np.ndarray, np.ndarray]  # N and y of an arm


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
    n: Numbers, y: Numbers, bootstrap: int = BOOTSTRAP, noise: Noise | None = None
) -> Prediction:
    """Fit without the largest N and foretell it. Raises Refusal when too few sizes remain."""
    sizes, values = np.asarray(n, float), np.asarray(y, float)
    check_points(sizes, values, None)
    largest, n_largest = sizes == sizes.max(), float(sizes.max())
    # how much runs of the largest size scatter is known, where they lie is not
    noise = repeated_noise(sizes, np.log(values), None, None) if noise is None else noise
    smaller = noise.only(~largest) if noise else None
    law = fit_power_law(sizes[~largest], values[~largest], bootstrap=bootstrap, noise=smaller)
    rng = np.random.default_rng(BOOTSTRAP_SEED + 1)
    if noise:
        luck = noise.only(largest).draw(rng, bootstrap).mean(1)
    else:
        luck = law.deviation / math.sqrt(largest.sum()) * rng.standard_t(law.df, bootstrap)
    curve = power_law(law.samples, sizes[largest][:1])[:, 0]
    low, high = percentiles(curve * np.exp(luck))
    measured = float(np.exp(np.log(values[largest]).mean()))
    return Prediction(n_largest, law.predict(n_largest), low, high, measured)


# Two laws -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """A number of two laws with its interval, None where it does not exist or is not sure; share:
    of the bootstrap samples in which it does.

    A high end of infinity says that in more than a fortieth of the samples nothing is large enough.
    """

    value: float | None
    low: float | None
    high: float | None
    share: float


def effective_multiplier(method: Law, baseline: Law, n: float) -> Compared:
    """How many times more parameters (or FLOPs) the baseline needs for the method's y at N; None
    where it never gets there.
    """
    return _compare(method, baseline, lambda p, q: _multiplier(p, q, n))


def crossing_point(method: Law, baseline: Law, least: float, most: float) -> Compared:
    """The N in [least, most] before which one law is ahead and after which it is behind, where at
    least `SURE` of the bootstrap samples have one, in the direction of the laws themselves.

    Two laws that never meet cross in many a sample, as their ends are uncertain; but for nearly all
    to cross alike, one must be surely ahead at one end and surely behind at the other.
    """
    ends = np.array([least, most])
    sense = float(
        np.sign(np.diff(power_law(method.values, ends) - power_law(baseline.values, ends))[0])
    )
    met = _compare(method, baseline, lambda p, q: _meeting(p, q, least, most, sense))
    return met if met.share >= SURE and met.value else Compared(None, None, None, met.share)


def _multiplier(p: np.ndarray, q: np.ndarray, n: float) -> np.ndarray:
    y = power_law(p, np.array([n]))[:, 0]
    above = y > q[:, 0]
    ratio = np.where(above, (y - q[:, 0]) / q[:, 1], 1.0)
    with np.errstate(over="ignore"):
        return np.where(above, ratio ** (-1 / q[:, 2]) / n, math.inf)


def _meeting(p: np.ndarray, q: np.ndarray, least: float, most: float, sense: float) -> np.ndarray:
    grid = np.geomspace(least, most, 257)
    apart = sense * (power_law(p, grid) - power_law(q, grid))
    meets = (apart[:, 0] < 0) & (apart[:, -1] > 0)
    at, row = (apart[:, 1:] > 0).argmax(1), np.arange(len(apart))
    before, after = apart[row, at], apart[row, at + 1]
    share = before / np.where(meets, before - after, np.inf)
    return np.where(meets, grid[at] * (grid[at + 1] / grid[at]) ** share, math.nan)


def _compare(
    method: Law, baseline: Law, number: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Compared:
    if len(method.names) != 3 or len(baseline.names) != 3:
        raise ValueError("two methods are compared by laws of one axis; fit them without D")
    value = float(number(method.values[None], baseline.values[None])[0])
    drawn = number(method.samples, baseline.samples)
    share = float(np.isfinite(drawn).mean())
    point = value if math.isfinite(value) else None
    if not share:
        return Compared(point, None, None, share)
    return Compared(point, *percentiles(drawn[~np.isnan(drawn)]), share)


# All laws -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommonE:
    """The laws of arms that share one E, and p, the share of bootstrap samples under it that gain
    as much by an E of each arm.
    """

    p: float
    laws: Mapping[str, Law]


def common_e(
    points: Mapping[str, Points], noise: Noise, luck: np.ndarray, own: Mapping[str, Law]
) -> CommonE:
    """Test one E, which belongs to the data, against an E of each arm: a likelihood ratio whose
    distribution under one E is that of the parametric bootstrap.

    points: of at least two arms; noise: of all their points, one arm after the other; luck:
    [bootstrap, points] draws of it; own: the laws with an E of each.
    """
    arm = np.repeat(np.arange(len(points)), [len(n) for n, _ in points.values()])
    n, y = (np.concatenate([of_arm[axis] for of_arm in points.values()]) for axis in (0, 1))
    problem, weigh = Problem(n, arm=arm), noise.weigh()
    best, cost = problem.best(np.log(y), weigh)
    # the law of one E with new luck, fitted with one E and with an E of each arm
    drawn = problem.curve(best[None])[0] + luck
    refits, costs = problem.solve(drawn, np.repeat(best[None], len(luck), 0), weigh)
    values, samples = problem.parameters(best[None])[0], problem.parameters(refits)
    gain, gains, laws = cost, costs, {}
    for index, (name, (n_arm, y_arm)) in enumerate(points.items()):
        here, columns = arm == index, [0, 1 + 2 * index, 2 + 2 * index]
        alone = Problem(n_arm)
        weigh_arm = weigh[np.ix_(here, here)]
        starts = (alone.unknowns(samples[:, columns]), alone.unknowns(own[name].values[None]))
        ends = [
            alone.solve(drawn[:, here], np.broadcast_to(start, (len(luck), 3)), weigh_arm)[1]
            for start in starts
        ]
        gains = gains - np.min(ends, 0)
        start = np.concatenate(
            [one[:1] for one in (alone.unknowns(values[None, columns]), starts[1])]
        )
        gain -= alone.solve(np.log(np.stack([y_arm] * 2)), start, weigh_arm)[1].min()
        residuals = np.log(y_arm) - np.log(power_law(values[columns], n_arm))
        laws[name] = Law(
            own[name].names,
            values[columns],
            samples[:, columns],
            own[name].deviation,
            own[name].df,
            own[name].source,
            residuals,
        )
    return CommonE((1 + int((gains >= gain).sum())) / (1 + len(gains)), laws)
