"""How much would it take: what effect a contrast's runs could have shown, and how many seeds would
show a given one.

    least_effect(estimate)                      # found four times in five by as many seeds
    seeds_needed(estimate, effect)              # seeds that find the effect four times in five
    detectable(seed_floor=0.02, seeds=5, df=8)  # of a study that is only planned

From the noncentral t distribution (Johnson, Kotz and Balakrishnan 1995, chapter 31): with n seeds
the error is deviation / sqrt(n), and every seed adds as many degrees of freedom as it did here.
"""

from __future__ import annotations

import math
from functools import lru_cache

from scipy.special import nctdtr, stdtrit

from reports.study.contrasts import CONFIDENCE, Estimate

POWER = 0.8
MOST_SEEDS = 1000  # beyond that nobody trains


def found_share(centre: float, df: float) -> float:
    """Share of studies whose two-sided t-test finds an effect of `centre` standard errors."""
    bound = float(stdtrit(df, (1 + CONFIDENCE) / 2))
    return float(1 - nctdtr(df, centre, bound) + nctdtr(df, centre, -bound))


@lru_cache(maxsize=1024)  # the studies of a page have few different degrees of freedom
def least_centre(df: float) -> float:
    """Standard errors of an effect that is found with `POWER`."""
    few, enough = 0.0, 100.0
    while enough - few > 1e-9:
        middle = (few + enough) / 2
        few, enough = (middle, enough) if found_share(middle, df) < POWER else (few, middle)
    return enough


def detectable(seed_floor: float, seeds: int, df: float, known_variance: float = 0.0) -> float:
    """The smallest effect that a contrast of so many seeds finds with `POWER`, nan without any.

    seed_floor: deviation of one seed's contrast.
    """
    if df <= 0 or not math.isfinite(seed_floor):
        return math.nan
    from_seeds = max(seed_floor**2 - known_variance, 0.0) / seeds
    return least_centre(df) * math.sqrt(from_seeds + known_variance)


def least_effect(estimate: Estimate) -> float:
    """The smallest effect that these runs would have shown with `POWER`, nan without an error."""
    if estimate.df <= 0:
        return math.nan
    return least_centre(estimate.df) * estimate.stderr


def seeds_needed(estimate: Estimate, effect: float) -> int | None:
    """Seeds with which an effect is found with `POWER`; None where not even `MOST_SEEDS` do."""
    if estimate.df <= 0 or estimate.seeds < 2 or not estimate.stderr:
        return None
    df_a_seed = estimate.df / (estimate.seeds - 1)

    from_seeds = max(estimate.seed_floor**2 - estimate.known_variance, 0.0)

    def short(seeds: int) -> bool:
        stderr = math.sqrt(from_seeds / seeds + estimate.known_variance)
        return found_share(abs(effect) / stderr, df_a_seed * (seeds - 1)) < POWER

    if short(MOST_SEEDS):
        return None
    few, enough = 2, MOST_SEEDS
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (middle, enough) if short(middle) else (few, middle)
    return enough if short(few) else few
