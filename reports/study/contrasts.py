"""Linear contrasts of means over seeds: the numeric core of every verdict.

A *cell* holds the values of one arm at one size, one number a training run. A *stratum* is what
cells share when their deviations may be pooled (data, size, protocol, budget); each stratum has its
own variance. A contrast is a sum of weights times means; levels (encoders, sizes) are fixed and
seeds are the noise. With one stratum its interval is Student's; with several the degrees of freedom
are Satterthwaite's (Biometrics Bulletin 2, 1946).

    >>> estimate = contrast({"a": 1.0, "b": -1.0}, cells, strata)     # mean of a minus mean of b
    >>> estimate.interval(), estimate.df, estimate.p
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
CellKey = TypeVar("CellKey", bound=Hashable)  # of a cell: arm and size
LEAST_SEEDS, LEAST_DF = 3, 6  # of an arm, and of a deviation, below which nothing is decided


@dataclass(frozen=True)
class Estimate:
    """A contrast and its error.

    effect and stderr: in the unit of the cells (log distance, accuracy); df: of the interval;
    floor: deviation of one run, in the same unit (of one difference of two runs where the contrast
    is of differences), nan where no arm of a stratum tells it; pooled_df: degrees of freedom that
    the floor rests on; runs: the smallest number of runs in a cell of the contrast.
    """

    effect: float
    stderr: float
    df: float
    floor: float
    pooled_df: int
    runs: int

    def interval(self, alpha: float = 1 - CONFIDENCE) -> tuple[float, float]:
        """Two-sided Student interval; (-inf, inf) without degrees of freedom."""
        if self.df <= 0:
            return (-math.inf, math.inf)
        half = float(stdtrit(self.df, 1 - alpha / 2)) * self.stderr
        return (self.effect - half, self.effect + half)

    @property
    def p(self) -> float:
        """Two-sided p-value of no effect; 1 without degrees of freedom."""
        if self.df <= 0:
            return 1.0
        if self.stderr == 0:
            return float(self.effect == 0)
        return float(2 * stdtr(self.df, -abs(self.effect) / self.stderr))


def pooled_variance(cells: Sequence[np.ndarray]) -> tuple[float, int]:
    """Variance within cells, pooled over cells, and its degrees of freedom; (0, 0) where no cell
    has two runs.
    """
    df = sum(len(values) - 1 for values in cells if len(values) > 1)
    squares = sum(
        float(((values - values.mean()) ** 2).sum()) for values in cells if len(values) > 1
    )
    return (squares / df, df) if df else (0.0, 0)


def contrast(
    weights: Mapping[CellKey, float],
    cells: Mapping[CellKey, np.ndarray],
    strata: Mapping[CellKey, Hashable],
    runs_in_a_unit: int = 1,
    known_variance: float = 0.0,
) -> Estimate:
    """Estimate of sum(weights[key] * mean(cells[key])).

    cells may hold more keys than weights: all cells of a stratum lend their deviation.
    runs_in_a_unit: how many runs one level of the contrast is made of (1: a run, 2: a difference of
    two runs); the floor is the deviation of that unit. known_variance: of the effect, beside the
    seeds' (binomial error of a probe), taken as known exactly.
    """
    # the variance of each stratum, in order: sums are the same in every process
    pooled = {
        stratum: pooled_variance([cells[key] for key in cells if strata[key] == stratum])
        for stratum in dict.fromkeys(strata[key] for key in weights)
    }
    # the effect, and what each stratum lends to its variance
    effect, parts, magnitude = 0.0, dict.fromkeys(pooled, 0.0), dict.fromkeys(pooled, 0.0)
    for key, weight in weights.items():
        effect += weight * float(cells[key].mean())
        parts[strata[key]] += weight**2 / len(cells[key]) * pooled[strata[key]][0]
        magnitude[strata[key]] += abs(weight)
    seeds_variance = sum(parts.values())
    # degrees of freedom after Satterthwaite: V^2 / sum(V_g^2 / df_g); with one stratum and no known
    # variance this is the stratum's own
    doubt = sum(
        part**2 / pooled[stratum][1] for stratum, part in parts.items() if pooled[stratum][1]
    )
    total = seeds_variance + known_variance
    pooled_df = sum(df for _, df in pooled.values())
    df = total**2 / doubt if doubt > 0 else float(pooled_df)
    # the noise floor: the deviation of one unit, strata weighted as in the contrast
    share = sum(magnitude.values())
    per_run = sum(
        magnitude[stratum] / share * variance for stratum, (variance, _) in pooled.items()
    )
    floor = math.sqrt(runs_in_a_unit * per_run + known_variance / 2)
    if any(freedom == 0 for _, freedom in pooled.values()):
        df, floor = 0.0, math.nan
    runs = min(len(cells[key]) for key in weights)
    return Estimate(effect, math.sqrt(total), df, floor, pooled_df, runs)


def difference_weights(left: Sequence[CellKey], right: Sequence[CellKey]) -> dict[CellKey, float]:
    """Mean of the left cells minus mean of the right ones."""
    return {key: 1 / len(left) for key in left} | {key: -1 / len(right) for key in right}


def end_to_end_weights(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Weights whose contrast is the change of the fitted straight line from the lowest to the
    highest score.

    Their sum is 0; for two levels they are (-1, 1). Raises ValueError when all scores are equal.
    """
    x = np.asarray(scores, float)
    x = x - x.mean()
    if not (x**2).sum():
        raise ValueError(f"levels {list(scores)} cannot be ordered: they are all equal")
    return x * (x.max() - x.min()) / (x**2).sum()


def ranks(values: Sequence[float]) -> np.ndarray:
    """Positions of the values in ascending order, 0 to k - 1; equal ones share their mean."""
    from scipy.stats import rankdata

    return rankdata(values) - 1.0
