"""Scaling laws: y = E + A N^-a over sizes, and y = E + A N^-a + B D^-b over sizes and data, with
intervals.

    law = fit_power_law(n, y)               # or (n, y, d); many starts, Huber loss on log residuals
    law.predict(4e9), law.interval("a")     # 95 %, parametric bootstrap from the pooled deviation

The form and the robust loss are those of Hoffmann et al. 2022 (arXiv 2203.15556, equation 10 and
appendix D.2): E is the loss that no size removes, a and b are exponents. Residuals are log(y) -
log(prediction); their deviation comes from seeds where a point has several runs, of each size its
own, else from the residuals.

    python -m bench.report fit --csv FILE --x N --y loss
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from reports.study.contrasts import LEAST_DF, pooled_variance

HUBER = 1e-3  # of a log residual, where the loss turns from square to absolute (Hoffmann et al.)
# the same in deviations of a run, where seeds tell it: 95 % efficient on normal noise (Huber 1964)
EFFICIENT = 1.345
# of each N: deviation of one run's log y there, and its degrees of freedom
Noise = Mapping[float, tuple[float, int]]
BOOTSTRAP = 400
ITERATIONS = 200
LEAST_SIZES = 4  # three numbers a form and one degree of freedom to judge it
JOINT_PARAMETERS = 5
COLLINEAR = 0.99  # correlation of log N and log D above which the joint form is refused
BOOTSTRAP_SEED = 0


class Refusal(ValueError):
    """Why no law can be fitted to these points, in words."""


@dataclass(frozen=True)
class Law:
    """A fitted law.

    names: E, A, a (and B, b); values: in that order; samples: [bootstrap, parameters]; deviation:
    of one run's log y, root mean square over the points; df: of these points' seeds, else of the
    residuals; from_seeds: whether the deviation comes from repeated points.
    """

    names: tuple[str, ...]
    values: np.ndarray
    samples: np.ndarray
    deviation: float
    df: int
    from_seeds: bool
    residuals: np.ndarray = field(repr=False)

    def __getitem__(self, name: str) -> float:
        return float(self.values[self.names.index(name)])

    def predict(self, n: float, d: float | None = None) -> float:
        """y at N (and D)."""
        return float(power_law(self.values, np.array([n], float), _axis(d))[0])

    def predict_interval(
        self, n: float, d: float | None = None, level: float = 0.95
    ) -> tuple[float, float]:
        """Interval of the curve at N (and D), without the noise of a new run."""
        values = [power_law(row, np.array([n], float), _axis(d))[0] for row in self.samples]
        return percentiles(values, level)

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Bootstrap interval of a parameter."""
        return percentiles(self.samples[:, self.names.index(name)], level)


def _axis(d: float | None) -> np.ndarray | None:
    return None if d is None else np.array([d], float)


def percentiles(values: Sequence[float] | np.ndarray, level: float) -> tuple[float, float]:
    """The interval that holds the middle share `level` of bootstrap values."""
    low, high = np.percentile(np.asarray(values, float), [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def power_law(parameters: np.ndarray, n: np.ndarray, d: np.ndarray | None) -> np.ndarray:
    """y [points] of E, A, a (B, b) at N (and D) [points]."""
    e, scale_n, a = parameters[:3]
    y = e + scale_n * n**-a
    return y if d is None else y + parameters[3] * d ** -parameters[4]


def fit_power_law(
    n: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    d: Sequence[float] | np.ndarray | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = BOOTSTRAP_SEED,
    least: int = LEAST_SIZES,
    noise: Noise | None = None,
) -> Law:
    """Fit y = E + A N^-a (+ B D^-b) with E >= 0; points that share N (and D) are seeds of one size.

    least: sizes (and values of D) below which a fit is refused; seed: of the bootstrap, another for
    each law that is compared; noise: of each N, where more than these points tell it. A point
    counts by its deviation, in the fit and in the bootstrap. Raises Refusal for too few sizes,
    values that have no logarithm, or points that leave a parameter open.
    """
    n, y = np.asarray(n, float), np.asarray(y, float)
    d = None if d is None else np.asarray(d, float)
    check_points(n, y, d, least)

    # the noise of each point: what its seeds say, and until there is a curve nothing else
    problem, log_y = _Problem(n, d), np.log(y)
    seeds = size_noise([(n, d, log_y)]) if noise is None else noise
    of_points = [seeds[float(at)] if seeds else (0.0, 0) for at in n]
    unit = np.maximum(HUBER / EFFICIENT, [deviation for deviation, _ in of_points])

    # the best end of many starts
    starts = problem.starts(log_y)
    ends, costs = problem.solve(np.repeat(log_y[None], len(starts), 0), starts, unit)
    best = ends[int(np.argmin(costs))]
    if problem.on_bound(best):
        raise Refusal(
            "the values do not fall with size as a power law does: "
            "an exponent lies at the edge of its range"
        )

    # without seeds the noise is that of the residuals
    prediction = problem.curve(best[None])[0][0]
    residuals = log_y - prediction
    if seeds:
        df = len(y) - len(np.unique(n if d is None else n + 1j * d))
    else:
        df = max(len(y) - len(best), 1)
        of_points = [(float(np.sqrt((residuals**2).sum() / df)), df)] * len(y)

    # parametric bootstrap: the same design with new noise, fitted again from the best end. An
    # uncertain deviation widens the interval as Student's t does; points that share one share its
    # draw
    rng = np.random.default_rng(seed)
    spreads = {
        one: one[0] * np.sqrt(one[1] / rng.chisquare(one[1], bootstrap))
        for one in dict.fromkeys(of_points)
    }
    spread = np.stack([spreads[one] for one in of_points], 1)
    drawn = prediction + spread * rng.standard_normal((bootstrap, len(y)))
    refits, _ = problem.solve(drawn, np.repeat(best[None], bootstrap, 0), unit)
    names = ("E", "A", "a") if d is None else ("E", "A", "a", "B", "b")
    values, samples = problem.parameters(best[None])[0], problem.parameters(refits)
    deviation = math.sqrt(float(np.mean([one**2 for one, _ in of_points])))
    return Law(names, values, samples, deviation, df, bool(seeds), residuals)


class _Problem:
    """The fit of one design in unknowns that the data scale: log E, log A, a (log B, b), with N and
    D over their mean.
    """

    def __init__(self, n: np.ndarray, d: np.ndarray | None):
        self.mean_n = math.exp(float(np.log(n).mean()))
        self.mean_d = 1.0 if d is None else math.exp(float(np.log(d).mean()))
        self.axes = [np.log(n / self.mean_n)] + ([] if d is None else [np.log(d / self.mean_d)])
        self.low = np.array([-60.0] + [-60.0, 1e-3] * len(self.axes))
        self.high = np.array([60.0] + [60.0, 10.0] * len(self.axes))

    def curve(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log y [s, points] of parameters [s, p], and its derivative [s, points, p]."""
        parts = [np.repeat(np.exp(x[:, :1]), len(self.axes[0]), 1)]
        slopes = []
        for at, axis in zip((1, 3), self.axes, strict=False):
            power = np.exp(x[:, at, None] - x[:, at + 1, None] * axis)
            parts.append(power)
            slopes += [power, -axis * power]
        y = np.sum(parts, axis=0)
        return np.log(y), np.stack([parts[0], *slopes], 2) / y[:, :, None]

    def starts(self, log_y: np.ndarray) -> np.ndarray:
        """A grid of exponents and of the part of the smallest y that no size removes."""
        low, middle = float(np.exp(log_y.min())), float(np.exp(np.median(log_y)))
        out = []
        for share in (0.1, 0.5, 0.9, 0.99):
            rest = math.log(max(middle - share * low, 1e-3 * low) / len(self.axes))
            for a in (0.1, 0.3, 0.6, 1.0, 1.5, 2.0):
                out.append([math.log(share * low)] + [rest, a] * len(self.axes))
        return np.array(out)

    def solve(
        self, log_y: np.ndarray, x: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Parameters and costs of the samples log_y [s, points] from the starts x [s, p].

        unit: deviation of a point. Levenberg and Marquardt's iteration on Huber's loss of log
        residuals, all samples at once: a fit costs milliseconds, where a call of an optimiser for
        each bootstrap sample costs seconds.
        """
        damping = np.full(len(x), 1e-2)
        prediction, slope = self.curve(x)
        cost = _huber((prediction - log_y) / unit).sum(1)
        for _ in range(ITERATIONS):
            # a damped Newton step of the weighted squares, with Gauss and Newton's curvature
            residual = (prediction - log_y) / unit
            scaled = slope / unit[:, None]
            weight = np.minimum(1.0, EFFICIENT / np.maximum(np.abs(residual), 1e-300))
            gradient = np.einsum("snp,sn->sp", scaled, weight * residual)
            curvature = np.einsum("snp,sn,snq->spq", scaled, weight, scaled)
            scale = np.maximum(np.diagonal(curvature, axis1=1, axis2=2), 1e-12)
            damped = curvature + (damping[:, None] * scale)[:, :, None] * np.eye(x.shape[1])
            step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
            # taken where it lowers the cost; elsewhere the damping grows
            tried = np.clip(x - np.clip(step, -2.0, 2.0), self.low, self.high)
            new_prediction, new_slope = self.curve(tried)
            new_cost = _huber((new_prediction - log_y) / unit).sum(1)
            better = new_cost < cost
            gain = np.where(better, cost - new_cost, 0.0)
            damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-12, 1e8)
            x = np.where(better[:, None], tried, x)
            prediction = np.where(better[:, None], new_prediction, prediction)
            slope = np.where(better[:, None, None], new_slope, slope)
            cost = np.where(better, new_cost, cost)
            # until no sample gains any more
            if (((gain <= 1e-10 * cost) & better) | (damping >= 1e6)).all():
                break
        return x, cost

    def on_bound(self, x: np.ndarray) -> bool:
        """Whether an exponent of the parameters x [p] lies at the edge of what is searched."""
        return bool((np.isclose(x, self.low) | np.isclose(x, self.high))[2::2].any())

    def parameters(self, x: np.ndarray) -> np.ndarray:
        """E, A, a (B, b) in the units of the data, [s, p]."""
        out = [np.exp(x[:, 0])]
        for at, mean in zip((1, 3), (self.mean_n, self.mean_d), strict=False):
            if at < x.shape[1]:
                out += [np.exp(x[:, at] + x[:, at + 1] * math.log(mean)), x[:, at + 1]]
        return np.stack(out, 1)


def _huber(residual: np.ndarray) -> np.ndarray:
    size = np.abs(residual)
    return np.where(size <= EFFICIENT, 0.5 * size**2, EFFICIENT * (size - 0.5 * EFFICIENT))


def check_points(n: np.ndarray, y: np.ndarray, d: np.ndarray | None, least: int) -> None:
    """Raise Refusal, with the reason, where no law of `least` sizes can be fitted."""
    for name, values in (("N", n), ("y", y), ("D", d)):
        if values is not None and not (np.isfinite(values) & (values > 0)).all():
            bad = values[~(np.isfinite(values) & (values > 0))][0]
            raise Refusal(f"{name} holds {bad:g}; a power law needs finite positive numbers")
        if values is not None and len(values) != len(y):
            raise Refusal(
                f"{name} has {len(values)} values and y {len(y)}; they must be of one length"
            )
        if values is not None and name != "y" and len(np.unique(values)) < least:
            raise Refusal(
                f"there are {len(np.unique(values))} values of {name}; "
                f"an irreducible part, a scale and an exponent need at least {least}"
            )
    if d is None:
        return
    if (points := len(np.unique(n + 1j * d))) <= JOINT_PARAMETERS:
        raise Refusal(
            f"there are {points} pairs of N and D for the {JOINT_PARAMETERS} "
            "parameters of the joint form"
        )
    if abs(np.corrcoef(np.log(n), np.log(d))[0, 1]) > COLLINEAR:
        raise Refusal(
            "D goes with N in all points: what each does cannot be told apart; "
            "vary one at a fixed other"
        )


def size_noise(
    parts: Sequence[tuple[np.ndarray, np.ndarray | None, np.ndarray]],
) -> dict[float, tuple[float, int]]:
    """Deviation of log y over seeds at each N, pooled over the parts (n, d, log y), and its degrees
    of freedom.

    Noise differs by size. But a deviation of a few degrees of freedom is no weight: with fewer than
    six, a size takes the one that is pooled over all sizes. {} where no point has two runs.
    """
    cells: dict[float, list[np.ndarray]] = {}
    for n, d, log_y in parts:
        points, index = np.unique(n if d is None else n + 1j * d, return_inverse=True)
        for at, point in enumerate(points):
            cells.setdefault(float(point.real), []).append(log_y[index == at])
    pooled, df = pooled_variance([values for at in cells.values() for values in at])
    own = {at: pooled_variance(values) for at, values in cells.items()}
    if not df:
        return {}
    chosen = {at: one if one[1] >= LEAST_DF else (pooled, df) for at, one in own.items()}
    return {at: (math.sqrt(variance), freedom) for at, (variance, freedom) in chosen.items()}
