"""Scaling laws: y = E + A N^-a over sizes, and y = E + A N^-a + B D^-b over sizes and data, with
intervals.

    law = fit_power_law(n, y)               # or (n, y, d); many starts, Huber loss on log residuals
    law.predict(4e9), law.interval("a")     # 95 %, from a bootstrap
    fit_power_law(n, y, d, runs=labels)     # snapshots: those of a run share its luck

N may be parameters or training FLOPs. Where some point has several runs, seeds tell how runs
scatter (reports.laws.noise), a point counts by that, and the bootstrap is parametric: the curve
plus such luck, fitted again. Else the rows themselves tell it: many rows are drawn with replacement
(as Hoffmann et al. 2022, arXiv 2203.15556, and Besiroglu et al. 2024, arXiv 2404.10102, do), which
holds whatever their scatter is like; of few rows that would be a lottery, and their luck is drawn
normal with the deviation of the residuals, itself uncertain as in Student's t.

    python -m bench.report fit --csv FILE --x N --y loss
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reports.draw.axes import number
from reports.laws.forms import EFFICIENT, NAMES, Problem, power_law, units
from reports.laws.noise import Noise, residual_noise, seed_noise

HUBER = 1e-3  # of a log residual, where the loss turns from square to absolute (Hoffmann et al.)
BOOTSTRAP = 400
BOOTSTRAP_SEED = 0
SPARE = 2  # values of N beyond the parameters of a law, and of each axis beyond its own two
LEAST_SIZES = 3 + SPARE  # values of N that a law in N alone takes
MANY_ROWS = 30  # of a table without seeds, from which on rows are resampled
COLLINEAR = 0.99  # correlation of log N and log D above which the joint form is refused
SMALLEST, LARGEST = 1e-60, 1e60  # that are fitted: powers of such numbers are still finite
Numbers = Sequence[float] | np.ndarray


class Refusal(ValueError):
    """Why no law can be fitted to these points, in words."""


@dataclass(frozen=True)
class Law:
    """A fitted law.

    names: E, A, a (and B, b); values: in that order; samples: [bootstrap, parameters]; deviation:
    of one point's log y, root mean square over the points; run_deviation: what of it the snapshots
    of a run share; df: of these points' seeds, else of the residuals; source: "seeds", "residuals"
    or "rows", which the intervals come from; misfit: share of bootstrap samples that fit as badly
    as the data, where seeds tell what a bad fit is.
    """

    names: tuple[str, ...]
    values: np.ndarray
    samples: np.ndarray
    deviation: float
    df: int
    source: str
    residuals: np.ndarray = field(repr=False)
    run_deviation: float = 0.0
    misfit: float | None = None

    def __getitem__(self, name: str) -> float:
        return float(self.values[self.names.index(name)])

    def predict(self, n: float, d: float | None = None) -> float:
        """y at N (and D)."""
        return float(power_law(self.values, np.array([n], float), _axis(d))[0])

    def predict_interval(
        self, n: float, d: float | None = None, level: float = 0.95
    ) -> tuple[float, float]:
        """Interval of the curve at N (and D), without the noise of a new run."""
        return percentiles(power_law(self.samples, np.array([n], float), _axis(d))[:, 0], level)

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Bootstrap interval of a parameter."""
        return percentiles(self.samples[:, self.names.index(name)], level)


def _axis(d: float | None) -> np.ndarray | None:
    return None if d is None else np.array([d], float)


def percentiles(values: Numbers, level: float = 0.95) -> tuple[float, float]:
    """The interval that holds the middle share `level` of bootstrap values.

    Ends are values themselves, as between a number and infinity there is no middle.
    """
    values = np.asarray(values, float)
    low = np.percentile(values, 50 * (1 - level), method="lower")
    return float(low), float(np.percentile(values, 50 * (1 + level), method="higher"))


def fit_power_law(
    n: Numbers,
    y: Numbers,
    d: Numbers | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = BOOTSTRAP_SEED,
    noise: Noise | None = None,
    luck: np.ndarray | None = None,
    runs: Sequence[object] | np.ndarray | None = None,
) -> Law:
    """Fit y = E + A N^-a (+ B D^-b) with E >= 0; points that share N (and D) are seeds.

    noise: of these points, where more than they tell it; luck: [bootstrap, points] draws of it,
    where other laws are drawn together with this one; seed: of the bootstrap otherwise; runs: which
    run each point is a snapshot of, every one a run of its own where it is not given. Raises
    Refusal for too few sizes, values that have no logarithm, or points that leave a parameter open.
    """
    n, y = np.asarray(n, float), np.asarray(y, float)
    d = None if d is None else np.asarray(d, float)
    check_points(n, y, d)

    # the noise of each point: what its seeds say, and until there is a curve nothing else
    problem, log_y = Problem(n, d), np.log(y)
    labels = None if runs is None else np.asarray(runs)
    if labels is not None:
        _check_runs(n, labels)
    noise = repeated_noise(n, log_y, d, labels) if noise is None else noise
    source = "seeds"
    weigh = units(np.full(len(y), HUBER / EFFICIENT)) if noise is None else noise.weigh()
    best, cost = problem.best(log_y, weigh)
    _check_end(problem, best)
    if noise is None and labels is not None:
        source = "residuals"
        noise = residual_noise(log_y - problem.curve(best[None])[0][0], labels, len(best))
        weigh = noise.weigh()
        best, cost = problem.best(log_y, weigh)
        _check_end(problem, best)
    curve = problem.curve(best[None])[0][0]
    residuals = log_y - curve

    # the bootstrap, each sample fitted again from the best end
    rng = np.random.default_rng(seed)
    rows, df = len(y), len(y) - len(best)
    times = None
    if noise is not None:
        drawn = curve + (noise.draw(rng, bootstrap) if luck is None else luck)
        df = _seeds_df(n, d, labels) if source == "seeds" else noise.seeds_df
    elif rows >= MANY_ROWS:
        source, drawn = "rows", np.repeat(log_y[None], bootstrap, 0)
        times = rng.multinomial(rows, np.full(rows, 1 / rows), bootstrap).astype(float)
    else:
        source = "residuals"
        spread = np.sqrt((residuals**2).sum() / rng.chisquare(df, bootstrap))
        drawn = curve + spread[:, None] * rng.standard_normal((bootstrap, rows))
    refits, costs = problem.solve(drawn, np.repeat(best[None], len(drawn), 0), weigh, times)
    every = noise.deviation if noise else np.sqrt((residuals**2).sum() / df)
    return Law(
        NAMES[: len(best)],
        problem.parameters(best[None])[0],
        problem.parameters(refits),
        float(np.sqrt(np.mean(every**2))),
        df,
        source,
        residuals,
        float(np.sqrt(np.mean(noise.run_deviation**2))) if noise and labels is not None else 0.0,
        (1 + int((costs >= cost).sum())) / (1 + len(costs)) if source == "seeds" else None,
    )


def repeated_noise(
    n: np.ndarray, log_y: np.ndarray, d: np.ndarray | None, runs: np.ndarray | None
) -> Noise | None:
    """What points of one N (and D), or runs of one N and one length, say; None where none do."""
    if d is None or runs is None:
        return seed_noise(log_y, n if d is None else n + 1j * d, n, runs=runs)
    _, run = np.unique(runs, return_inverse=True)
    length = np.zeros(run.max() + 1)
    np.maximum.at(length, run, d)
    return seed_noise(log_y, n + 1j * length[run], n, runs=runs, images=d)


def _seeds_df(n: np.ndarray, d: np.ndarray | None, runs: np.ndarray | None) -> int:
    """Runs beyond the first one at their place."""
    if d is None or runs is None:
        return len(n) - len(np.unique(n if d is None else n + 1j * d))
    length = {run: d[runs == run].max() for run in np.unique(runs)}
    return len(length) - len({(n[runs == run][0], d_last) for run, d_last in length.items()})


def _check_end(problem: Problem, best: np.ndarray) -> None:
    if problem.on_bound(best):
        raise Refusal(
            "the values do not fall with size as a power law does: "
            "an exponent lies at the edge of its range"
        )


# What can be fitted -------------------------------------------------------------------------------


def check_points(n: np.ndarray, y: np.ndarray, d: np.ndarray | None) -> None:
    """Raise Refusal, with the reason and what would help, where no law can be fitted."""
    for name, values in (("N", n), ("y", y), ("D", d)):
        if values is None:
            continue
        usable = np.isfinite(values) & (values >= SMALLEST) & (values <= LARGEST)
        if not usable.all():
            raise Refusal(
                f"{name} holds {values[~usable][0]:g}; "
                f"a power law needs positive numbers, {SMALLEST:g} to {LARGEST:g}"
            )
        if len(values) != len(y):
            raise Refusal(
                f"{name} has {len(values)} values and y {len(y)}; they must be of one length"
            )
    # an axis of a joint law has two parameters of its own and shares E
    own = 3 if d is None else 2
    for name, values in (("N", n), ("D", d)):
        if values is not None and (count := len(np.unique(values))) < own + SPARE:
            raise Refusal(
                f"there {'is 1 value' if count == 1 else f'are {count} values'} of {name}, and "
                f"{own} parameters need {own + SPARE}, "
                f"so that {SPARE} degrees of freedom judge them{_helping(name, values, own)}"
            )
    if d is None:
        return
    if (points := len(np.unique(n + 1j * d))) < len(NAMES) + SPARE:
        raise Refusal(
            f"there are {points} pairs of N and D, and the {len(NAMES)} parameters of the joint "
            f"form need {len(NAMES) + SPARE}"
        )
    if abs(np.corrcoef(np.log(n), np.log(d))[0, 1]) > COLLINEAR:
        raise Refusal(
            "D goes with N in all points: what each does cannot be told apart; "
            "vary one at a fixed other"
        )


def _check_runs(n: np.ndarray, runs: np.ndarray) -> None:
    of_run = dict(zip(runs, n, strict=True))
    mixed = [run for run, at in zip(runs, n, strict=True) if of_run[run] != at]
    if mixed:
        raise Refusal(f"run {mixed[0]} has several values of N; snapshots of a run have one")


def _helping(name: str, values: np.ndarray, own: int) -> str:
    """Which values would help: those beyond the ends, where they tell most of an exponent."""
    known = np.unique(values)
    if len(known) < 2:
        return ""
    step, more = (known[-1] / known[0]) ** (1 / (len(known) - 1)), own + SPARE - len(known)
    named = ", ".join(number(float(known[-1] * step**i)) for i in range(1, more + 1))
    return f": add {more}, as {name} = {named}, or below {number(float(known[0]))}"
