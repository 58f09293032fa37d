"""What a statistic is computed from and what it gives: the arms and sizes that a claim means, and
the outcome, in numbers and in words.

Which runs enter is decided by how many there are, never by what they say: a stray run at a larger
size or with a new encoder does not take the verdict from those that have their seeds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.findings.claims import Claim, match
from reports.study.cells import ArmSize, Comparable
from reports.study.contrasts import LEAST_SEEDS, Estimate
from reports.study.strengths import MeasuredStrength

Properties = Mapping[str, Mapping[str, MeasuredStrength]]  # order, encoder
Sides = dict[str, tuple[list[str], list[str]]]  # size: left arms, right arms


class Untestable(ValueError):
    """What is missing for a claim, in words."""


@dataclass(frozen=True)
class Outcome:
    """A statistic and what it rests on; effect, interval and floor are in `unit`.

    detail: what its name leaves open (the nearest rival, the pairs of sizes); notes: what was left
    out or is not told.
    """

    effect: float
    low: float
    high: float
    p: float
    df: float
    floor: float
    pooled_df: int
    runs: int
    unit: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    sizes: tuple[str, ...]
    detail: str = ""
    notes: tuple[str, ...] = ()


def outcome(
    estimate: Estimate,
    unit: str,
    left: Sequence[str],
    right: Sequence[str],
    sizes: Sequence[str],
    detail: str = "",
    notes: Sequence[str] = (),
) -> Outcome:
    """The outcome of one contrast."""
    low, high = estimate.interval()
    e = estimate
    return Outcome(
        e.effect, low, high, e.p, e.df, e.floor, e.pooled_df, e.runs, unit,
        tuple(left), tuple(right), tuple(sizes), detail, tuple(notes),
    )  # fmt: skip


def unit_of(claim: Claim) -> str:
    """What the effect of a difference is in."""
    return "log distance" if claim.measure == "distance" else "accuracy"


def either(arms: Sequence[str]) -> str:
    """Alternatives in words."""
    return " or ".join(arms)


def size_strata(cells: Mapping[ArmSize, np.ndarray]) -> dict[ArmSize, str]:
    """Sizes as strata: each has its own deviation."""
    return {cell: cell[1] for cell in cells}


def cells_of(arms: Sequence[str], size: str) -> list[ArmSize]:
    """The cells of arms at a size."""
    return [(arm, size) for arm in arms]


def arms_meant(claim: Claim, patterns: Sequence[str], runs: Comparable, size: str) -> list[str]:
    """Arms of a size that a claim means; those of published encoders alone where there are any.

    An arm with a recipe of its own, "vanilla [optimizer.lr=0.001]", differs in more than a claim is
    about.
    """
    found = [
        arm
        for pattern in patterns
        for arm in match(pattern, runs.arms(size))
        if not arm.endswith("]")
    ]
    published = [
        arm
        for arm in found
        if any(match(p, [runs.encoders.get(arm, "")]) for p in claim.domain.encoders if p != "*")
    ]
    return list(
        dict.fromkeys(published if published and claim.statistic != "level_trend" else found)
    )


def with_seeds(arms: Sequence[str], runs: Comparable, size: str, least: int = 1) -> list[str]:
    """Those of the arms that have three seeds where `least` have, else all."""
    enough = [arm for arm in arms if len(runs.final[arm, size]) >= LEAST_SEEDS]
    return enough if len(enough) >= least else list(arms)


def sides_of(claim: Claim, runs: Comparable) -> Sides:
    """Left and right arms of the sizes that have both, ascending."""
    both = {
        size: (
            arms_meant(claim, claim.left, runs, size),
            arms_meant(claim, claim.right, runs, size),
        )
        for size in runs.sizes
    }
    found = {size: sides for size, sides in both.items() if all(sides)}
    if not found:
        others = sorted({arm for arm, _ in runs.final if arm.endswith("]")})
        raise Untestable(
            f"needs finished runs of {either(claim.left)} and of {either(claim.right)} of one size"
            + (
                f" and recipe; runs of another recipe are not compared ({', '.join(others)})"
                if others
                else ""
            )
        )
    return found


def have_seeds(cells: Iterable[ArmSize], runs: Comparable) -> bool:
    """Whether each of the cells has three seeds."""
    return all(len(runs.final[cell]) >= LEAST_SEEDS for cell in cells)


def sides_with_seeds(sides: Sides, runs: Comparable, least: int = 1) -> Sides:
    """The arms with three seeds at the sizes where both sides have some, if `least` sizes do.

    Else all sizes, where a side of which no arm has three is whole.
    """
    chosen = {
        size: (with_seeds(left, runs, size), with_seeds(right, runs, size))
        for size, (left, right) in sides.items()
    }
    enough = {
        size: both
        for size, both in chosen.items()
        if all(have_seeds(cells_of(arms, size), runs) for arms in both)
    }
    return enough if len(enough) >= least else chosen


def largest(claim: Claim, runs: Comparable) -> tuple[str, list[str], list[str], list[str]]:
    """(size, left arms, right arms, notes) of the largest size with three seeds an arm; without
    any, of the largest.
    """
    sides = sides_of(claim, runs)
    size, (left, right) = list(sides_with_seeds(sides, runs).items())[-1]
    from_here = list(sides)[list(sides).index(size) :]
    given = [cell for at in from_here for arms in sides[at] for cell in cells_of(arms, at)]
    return size, left, right, few_seeds(runs, given, cells_of([*left, *right], size))


def few_seeds(runs: Comparable, given: Iterable[ArmSize], used: Collection[ArmSize]) -> list[str]:
    """A note on the cells that were left out for their number of seeds."""
    counts = {cell: len(runs.final[cell]) for cell in given if cell not in used}
    few = [f"{arm} at {size} ({n})" for (arm, size), n in counts.items() if n < LEAST_SEEDS]
    return [f"left out, with fewer than {LEAST_SEEDS} seeds: {', '.join(few)}"] if few else []


# In words -----------------------------------------------------------------------------------------


_WHAT = {
    "difference": "{left} against {right}, {size}",
    "equal_flops": "{left} against {right} at equal FLOPs, {size}",
    "speed_up": (
        "images that {left} needs against {right} to the worst final quality of their runs, {size}"
    ),
    "next_size": "{left} against {right} one size larger, mean of {detail}",
    "gap_trend": "change of {left} against {right} from {first} to {size}",
    "level_trend": "change along {levels}, {size}",
    "worst": "{left} against {detail}, the nearest of {rivals} rivals, {size}",
}


def outcome_text(claim: Claim, runs: Comparable, outcome: Outcome, why: str) -> str:
    """What was compared, where, what came out, what it rests on, and why the verdict is what it is.

    fd_pixels, selfflow against repa/local_m, tiny, digits: -5.7 % (-12.4 % to +1.5 %), floor 5.3 %,
    5 seeds, 24 df: the interval contains zero.
    """
    what = _WHAT[claim.statistic].format(
        left=", ".join(outcome.left),
        right=", ".join(outcome.right),
        size=outcome.sizes[-1],
        first=outcome.sizes[0],
        levels=" → ".join(outcome.left),
        rivals=len(outcome.right),
        detail=outcome.detail,
    )
    floor = _size_text(outcome.floor, outcome.unit, signed=False)
    return (
        f"{runs.group.metric}, {what}, {runs.group.data}: {_effect_text(outcome)}, floor {floor}, "
        f"{outcome.runs} seed{'s' * (outcome.runs != 1)}, {_df_text(outcome.df)} df: {why}."
    )


def _effect_text(outcome: Outcome) -> str:
    """ "-7.3 % (-12.0 % to -2.1 %)" """
    effect, low, high = (
        _size_text(value, outcome.unit, signed=True)
        for value in (outcome.effect, outcome.low, outcome.high)
    )
    between = (
        f"{low} to {high}"
        if math.isfinite(outcome.low) or math.isfinite(outcome.high)
        else "interval unknown"
    )
    return f"{effect} ({between})"


def _size_text(value: float, unit: str, signed: bool) -> str:
    """A size in its unit: "2.1 %" of a distance, "1.20 times" of images, "0.8 points" of an
    accuracy; with its direction "-2.1 %", "x 0.83", "-0.8 points".
    """
    if not math.isfinite(value):
        return "unbounded" if signed else "unknown"
    if unit == "log images":
        return f"x {math.exp(value):.2f}" if signed else f"{math.exp(abs(value)):.2f} times"
    sign, size = ("+", value) if signed else ("", abs(value))
    if unit == "accuracy":
        return f"{100 * size:{sign}.1f} points"
    return f"{100 * math.expm1(size):{sign}.1f} %"


def _df_text(df: float) -> str:
    """Degrees of freedom, which are no whole number where sizes have deviations of their own."""
    return f"{df:.3g}" if df < 1000 else "over 1,000"
