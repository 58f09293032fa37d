"""What a statistic is computed from and what it gives: the arms and sizes that a claim means,
and the outcome.

Which runs enter is decided by how many there are, never by what they say: a stray run at a larger
size or with a new encoder does not take the verdict from those that have their seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.findings.claims import Claim, match
from reports.study.comparable import Cell, Table
from reports.study.contrasts import LEAST_SEEDS, Estimate
from reports.study.strengths import Strength

Properties = Mapping[str, Mapping[str, Strength]]  # order, encoder
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


def by_size(cells: Mapping[Cell, np.ndarray]) -> dict[Cell, str]:
    """Sizes as strata: each has its own deviation."""
    return {cell: cell[1] for cell in cells}


def cells_of(arms: Sequence[str], size: str) -> list[Cell]:
    """The cells of arms at a size."""
    return [(arm, size) for arm in arms]


def arms_of(claim: Claim, patterns: Sequence[str], table: Table, size: str) -> list[str]:
    """Arms of a size that a claim means; those of published encoders alone where there are any.

    An arm with a recipe of its own, "vanilla [optimizer.lr=0.001]", differs in more than a claim is
    about.
    """
    found = [
        arm
        for pattern in patterns
        for arm in match(pattern, table.arms(size))
        if not arm.endswith("]")
    ]
    published = [
        arm
        for arm in found
        if any(match(p, [table.encoders.get(arm, "")]) for p in claim.domain.encoders if p != "*")
    ]
    return list(
        dict.fromkeys(published if published and claim.statistic != "level_trend" else found)
    )


def with_seeds(arms: Sequence[str], table: Table, size: str, least: int = 1) -> list[str]:
    """Those of the arms that have three seeds where `least` have, else all."""
    enough = [arm for arm in arms if len(table.final[arm, size]) >= LEAST_SEEDS]
    return enough if len(enough) >= least else list(arms)


def sides_of(claim: Claim, table: Table) -> Sides:
    """Left and right arms of the sizes that have both, ascending."""
    both = {
        size: (arms_of(claim, claim.left, table, size), arms_of(claim, claim.right, table, size))
        for size in table.sizes
    }
    found = {size: sides for size, sides in both.items() if all(sides)}
    if not found:
        others = sorted({arm for arm, _ in table.final if arm.endswith("]")})
        raise Untestable(
            f"needs finished runs of {either(claim.left)} and of {either(claim.right)} of one size"
            + (
                f" and recipe; runs of another recipe are not compared ({', '.join(others)})"
                if others
                else ""
            )
        )
    return found


def have_seeds(cells: Iterable[Cell], table: Table) -> bool:
    """Whether each of the cells has three seeds."""
    return all(len(table.final[cell]) >= LEAST_SEEDS for cell in cells)


def seeded(sides: Sides, table: Table, least: int = 1) -> Sides:
    """The arms with three seeds at the sizes where both sides have some, if `least` sizes do.

    Else all sizes, where a side of which no arm has three is whole.
    """
    chosen = {
        size: (with_seeds(left, table, size), with_seeds(right, table, size))
        for size, (left, right) in sides.items()
    }
    enough = {
        size: both
        for size, both in chosen.items()
        if all(have_seeds(cells_of(arms, size), table) for arms in both)
    }
    return enough if len(enough) >= least else chosen


def largest(claim: Claim, table: Table) -> tuple[str, list[str], list[str], list[str]]:
    """(size, left arms, right arms, notes) of the largest size with three seeds an arm;
    without any, of the largest.
    """
    sides = sides_of(claim, table)
    size, (left, right) = list(seeded(sides, table).items())[-1]
    from_here = list(sides)[list(sides).index(size) :]
    given = [cell for at in from_here for arms in sides[at] for cell in cells_of(arms, at)]
    return size, left, right, few_seeds(table, given, cells_of([*left, *right], size))


def few_seeds(table: Table, given: Iterable[Cell], used: Collection[Cell]) -> list[str]:
    """A note on the cells that were left out for their number of seeds."""
    counts = {cell: len(table.final[cell]) for cell in given if cell not in used}
    few = [f"{arm} at {size} ({n})" for (arm, size), n in counts.items() if n < LEAST_SEEDS]
    return [f"left out, with fewer than {LEAST_SEEDS} seeds: {', '.join(few)}"] if few else []
