"""What a statistic is computed from and what it gives: the arms and sizes that a claim means, and
the outcome with its error.

Which runs enter is decided by how many there are, never by what they say: a stray run at a larger
size or with a new encoder does not take the verdict from those that have their seeds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.findings.claims import ENCODER, Claim, match
from reports.study.cells import LOGARITHMIC, ArmSize, Comparable
from reports.study.contrasts import CONTROL, LEAST_SEEDS, Estimate, percent
from reports.study.strengths import MeasuredStrength

Properties = Mapping[str, Mapping[str, MeasuredStrength]]  # order, encoder
Sides = dict[str, tuple[list[str], list[str]]]  # size: left arms, right arms


class Untestable(ValueError):
    """What is missing for a claim, in words."""


@dataclass(frozen=True)
class Rung:
    """A neighbouring pair of levels: p after Holm's adjustment inside the claim."""

    name: str
    effect: float
    low: float
    high: float
    p_holm: float


@dataclass(frozen=True)
class Outcome:
    """A statistic and what it rests on, in `unit`.

    low, high, p: of the estimate, unless a statistic has an interval of its own; reference: what
    the interval has to leave out and p is about, zero or a claim's margin; steps: between the
    levels of a trend; detail: what its name leaves open (the nearest rival, the pair of sizes);
    notes: what was left out or is not told.
    """

    estimate: Estimate
    low: float
    high: float
    p: float
    unit: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    sizes: tuple[str, ...]
    detail: str = ""
    notes: tuple[str, ...] = ()
    steps: tuple[Rung, ...] = ()
    reference: float = 0.0

    @property
    def effect(self) -> float:
        return self.estimate.effect

    @property
    def distance(self) -> float:
        """Of the effect from the reference."""
        return self.effect - self.reference


def outcome(
    estimate: Estimate,
    unit: str,
    left: Sequence[str],
    right: Sequence[str],
    sizes: Sequence[str],
    detail: str = "",
    notes: Iterable[str] = (),
    steps: Sequence[Rung] = (),
) -> Outcome:
    """The outcome of one contrast."""
    low, high = estimate.interval()
    return Outcome(
        estimate, low, high, estimate.p, unit,
        tuple(left), tuple(right), tuple(sizes), detail, tuple(notes), tuple(steps),
    )  # fmt: skip


def unit_of(runs: Comparable) -> str:
    """What the effect of a difference is in."""
    family = runs.group.facts.family
    return f"log {family}" if family in LOGARITHMIC else "accuracy"


def in_its_unit(effect: float, unit: str) -> tuple[float, str]:
    """An effect as one reads it, of an accuracy in points and of a logarithm in percent, and which
    of the two.
    """
    return (100 * effect, "points") if unit == "accuracy" else (percent(effect), "%")


def either(arms: Sequence[str]) -> str:
    """Alternatives in words."""
    return " or ".join(arms)


def cells_of(arms: Sequence[str], size: str) -> list[ArmSize]:
    """The cells of arms at a size."""
    return [(arm, size) for arm in arms]


# Which arms and sizes -----------------------------------------------------------------------------


def arms_meant(claim: Claim, patterns: Sequence[str], runs: Comparable, size: str) -> list[str]:
    """Arms of a size that a claim means; those of published encoders alone where there are any, and
    those to whose encoder the metric is no kin.

    An arm with a recipe of its own, "vanilla [optimizer.lr=0.001]", differs in more than a claim is
    about; and an encoder that is wrong on purpose is meant where the pattern says so,
    "repa/averaged(*)", and not by "repa/*".
    """
    wrong = {arm for arm in runs.arms(size) if _is_wrong(claim, runs.encoders.get(arm, ""))}
    encoders = _encoders_of_all(claim, runs, size)
    found = [
        arm
        for template in patterns
        for pattern in _with_encoders(template, encoders)
        for arm in match(pattern, runs.arms(size))
        if not arm.endswith("]")
        and not (arm in wrong and not _is_wrong(claim, pattern.rpartition("/")[2]))
    ]
    published = [
        arm
        for arm in found
        if any(match(p, [runs.encoders.get(arm, "")]) for p in claim.domain.encoders if p != "*")
    ]
    if claim.statistic == "level_trend":  # a ladder is all of its encoders
        return list(dict.fromkeys(found))
    meant = list(dict.fromkeys(published or found))
    return [arm for arm in meant if (arm, size) not in runs.related] or meant


def _is_wrong(claim: Claim, encoder: str) -> bool:
    return any(match(one, [encoder]) for one in claim.wrong_encoders)


def _encoders_of_all(claim: Claim, runs: Comparable, size: str) -> list[str]:
    """What `{encoder}` stands for at a size: encoders, none wrong on purpose, that every pattern
    with it finds.
    """
    found: list[list[str]] = []
    for pattern in (*claim.left, *claim.right):
        if ENCODER in pattern:
            before, after = map(re.escape, pattern.split(ENCODER))
            names = [re.fullmatch(f"{before}(.+){after}", arm) for arm in runs.arms(size)]
            found.append([name[1] for name in names if name and not _is_wrong(claim, name[1])])
    return [name for name in found[0] if all(name in one for one in found)] if found else []


def _with_encoders(pattern: str, encoders: Sequence[str]) -> list[str]:
    if ENCODER not in pattern:
        return [pattern]
    return [pattern.replace(ENCODER, encoder) for encoder in encoders]


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
    return size, left, right, seed_notes(runs, given, cells_of([*left, *right], size))


# What the runs leave open -------------------------------------------------------------------------


def seed_notes(runs: Comparable, given: Iterable[ArmSize], used: Collection[ArmSize]) -> list[str]:
    """Notes on the cells that were left out for their number of seeds, and on the seeds that not
    all compared cells have.
    """
    counts = {cell: len(runs.final[cell]) for cell in given if cell not in used}
    few = [f"{arm} at {size} ({n})" for (arm, size), n in counts.items() if n < LEAST_SEEDS]
    notes = [f"left out, with fewer than {LEAST_SEEDS} seeds: {', '.join(few)}"] if few else []
    shared = set.intersection(*(set(runs.final[cell]) for cell in used))
    if shared and runs.paired(used):
        more = {
            f"{arm} at {size}": sorted(runs.final[arm, size].keys() - shared)
            for arm, size in used
            if runs.final[arm, size].keys() - shared
        }
        notes += [
            "seeds that not all compared arms have are left out: "
            + "; ".join(f"{', '.join(map(str, seeds))} of {name}" for name, seeds in more.items())
        ] * bool(more)
    return notes


def require_room(runs: Comparable, used: Collection[ArmSize]) -> None:
    """Raise Untestable where a compared cell is saturated."""
    full = [why for cell, why in runs.saturated.items() if cell in used]
    if full:
        raise Untestable("; ".join(full))


def lenders_text(outcome: Outcome) -> str:
    """Whose deviation the interval is of: "the compared arms and vanilla", "all 5 arms"."""
    lent = {arm for arm, _ in outcome.estimate.lenders}
    compared = {*outcome.left, *outcome.right}
    if not lent - compared:
        return "the compared arms"
    if lent - compared == {CONTROL}:
        return f"the compared arms and {CONTROL}"
    return f"all {len(lent)} arms of the size"
