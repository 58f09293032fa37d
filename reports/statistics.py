"""The statistics of claims: from comparable runs to an outcome with an interval.

    outcome = STATISTICS[claim.statistic](claim, table, properties)

Distances are compared on the log, so an effect of -0.05 reads "5 % lower"; speed-ups on the log of images; probes as
differences of accuracies. Every function raises `Untestable`, with what is missing, where the runs do not suffice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports.claims import Claim, match
from reports.comparable import Cell, Curve, Table
from reports.contrasts import CONFIDENCE, Estimate, contrast, difference_weights, end_to_end_weights, ranks
from reports.curves import first_reached, value_at

Properties = Mapping[str, Mapping[str, float]]


class Untestable(ValueError):
    """What is missing for a claim, in words."""


@dataclass(frozen=True)
class Outcome:
    """A statistic and what it rests on; effect, interval and floor are in `unit`."""

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


def _outcome(estimate: Estimate, unit: str, left: Sequence[str], right: Sequence[str], sizes: Sequence[str]) -> Outcome:
    low, high = estimate.interval()
    e = estimate
    return Outcome(
        e.effect, low, high, e.p, e.df, e.floor, e.pooled_df, e.runs, unit, tuple(left), tuple(right), tuple(sizes)
    )


def _arms(claim: Claim, patterns: Sequence[str], table: Table, size: str) -> list[str]:
    """Arms of a size that a claim means; those of published encoders alone where there are any.

    An arm with a recipe of its own, "vanilla [optimizer.lr=0.001]", differs in more than a claim is about.
    """
    found = [arm for pattern in patterns for arm in match(pattern, table.arms(size)) if not arm.endswith("]")]
    published = [
        arm for arm in found if any(match(p, [table.encoders.get(arm, "")]) for p in claim.domain.encoders if p != "*")
    ]
    return list(dict.fromkeys(published if published and claim.statistic != "level_trend" else found))


def _sides(claim: Claim, table: Table) -> dict[str, tuple[list[str], list[str]]]:
    """{size: (left arms, right arms)} of the sizes that have both, ascending."""
    both = {
        size: (_arms(claim, claim.left, table, size), _arms(claim, claim.right, table, size)) for size in table.sizes
    }
    found = {size: sides for size, sides in both.items() if all(sides)}
    if not found:
        others = sorted({arm for arm, _ in table.final if arm.endswith("]")})
        raise Untestable(
            f"needs finished runs of {_either(claim.left)} and of {_either(claim.right)} of one size"
            + (f" and recipe; runs of another recipe are not compared ({', '.join(others)})" if others else "")
        )
    return found


def _either(arms: Sequence[str]) -> str:
    return " or ".join(arms)


def _by_size(cells: Mapping[Cell, np.ndarray]) -> dict[Cell, str]:
    return {cell: cell[1] for cell in cells}


def _cells(arms: Sequence[str], size: str) -> list[Cell]:
    return [(arm, size) for arm in arms]


def _unit(claim: Claim) -> str:
    return "log distance" if claim.measure == "distance" else "accuracy"


def difference(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """Mean of the left arms minus mean of the right ones, at the largest size that has both."""
    size, (left, right) = list(_sides(claim, table).items())[-1]
    weights = difference_weights(_cells(left, size), _cells(right, size))
    known = 0.0 if claim.measure == "distance" else _picture_variance(table, weights)
    estimate = contrast(weights, table.final, _by_size(table.final), known_variance=known)
    return _outcome(estimate, _unit(claim), left, right, [size])


def _picture_variance(table: Table, weights: Mapping[Cell, float]) -> float:
    """Variance of a difference of accuracies because the pictures are a sample: paired where answers were kept."""
    answers = [table.correct.get(cell) for cell in weights]
    if all(one is not None and one.shape == answers[0].shape for one in answers):  # type: ignore[union-attr]
        each = sum(weight * one for weight, one in zip(weights.values(), answers, strict=True))  # type: ignore[operator]
        return float(np.var(each, ddof=1) / len(each))  # type: ignore[arg-type]
    return sum(weight**2 * table.binomial[cell] for cell, weight in weights.items())


def equal_flops(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """The difference at the FLOPs that every compared run has spent, between snapshots.

    An arm that is not compared lends its deviation at those FLOPs, or where it ended if it spent less.
    """
    size, (left, right) = list(_sides(claim, table).items())[-1]
    compared = _cells([*left, *right], size)
    spent = [curve.flops[-1] if len(curve.flops) else math.nan for cell in compared for curve in table.curves[cell]]
    if not np.isfinite(spent).all():
        raise Untestable(f"the FLOPs of {left[0]} or {right[0]} were not recorded")

    def at_equal_flops(cell: Cell, curve: Curve) -> float:
        own = spent if cell in compared else [*spent, *curve.flops[-1:]]
        return value_at(curve.flops, curve.values, min(own))

    cells = _each_run(table, size, at_equal_flops)
    _require(cells, compared, "spent more until its first snapshot (its encoder's training counts) than another in all")
    estimate = contrast(difference_weights(_cells(left, size), _cells(right, size)), cells, _by_size(cells))
    return _outcome(estimate, "log distance", left, right, [size])


def speed_up(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """Log images until the quality that every compared run reached (the worst final one): left minus right.

    An arm that is not compared lends its deviation of images to the worst final quality of its own runs.
    """
    size, (left, right) = list(_sides(claim, table).items())[-1]
    compared = _cells([*left, *right], size)
    common = max(float(table.final[cell].max()) for cell in compared)
    targets = {cell: common if cell in compared else float(values.max()) for cell, values in table.final.items()}
    cells = _each_run(table, size, lambda cell, curve: first_reached(curve.images, curve.values, targets[cell]))
    _require(cells, compared, "was that good at its first snapshot; earlier snapshots are needed")
    estimate = contrast(difference_weights(_cells(left, size), _cells(right, size)), cells, _by_size(cells))
    return _outcome(estimate, "log images", left, right, [size])


def _each_run(table: Table, size: str, number: Callable[[Cell, Curve], float]) -> dict[Cell, np.ndarray]:
    """A number of each run's curve; arms of which a run has none are left out."""
    here = {cell: curves for cell, curves in table.curves.items() if cell[1] == size}
    found = {cell: np.array([number(cell, curve) for curve in curves]) for cell, curves in here.items()}
    return {cell: values for cell, values in found.items() if np.isfinite(values).all()}


def _require(cells: Mapping[Cell, np.ndarray], compared: Sequence[Cell], why: str) -> None:
    missing = [arm for arm, size in compared if (arm, size) not in cells]
    if missing:
        raise Untestable(f"a run of {', '.join(missing)} {why}")


def next_size(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """Left at one size minus right at the next larger, averaged over the neighbouring sizes that have both."""
    pairs = []
    for small, large in zip(table.sizes, table.sizes[1:], strict=False):
        left, right = _arms(claim, claim.left, table, small), _arms(claim, claim.right, table, large)
        if left and right:
            pairs.append((small, left, large, right))
    if not pairs:
        raise Untestable(f"needs {_either(claim.left)} at one size and {_either(claim.right)} at the next larger one")
    weights: dict[Cell, float] = {}
    for small, left, large, right in pairs:
        for cell, weight in difference_weights(_cells(left, small), _cells(right, large)).items():
            weights[cell] = weights.get(cell, 0.0) + weight / len(pairs)
    estimate = contrast(weights, table.final, _by_size(table.final))
    sizes = [size for size in table.sizes if any(size in (pair[0], pair[2]) for pair in pairs)]
    return _outcome(
        estimate, "log distance", _names(pair[1] for pair in pairs), _names(pair[3] for pair in pairs), sizes
    )


def _names(lists: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(arm for arms in lists for arm in arms))


def gap_trend(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """Change of (left minus right) from the smallest to the largest size, on a straight line over the sizes' ranks."""
    sides = _sides(claim, table)
    if len(sides) < claim.needs_sizes:
        raise Untestable(f"needs both arms at {claim.needs_sizes} sizes, there is {', '.join(sides)}")
    weights: dict[Cell, float] = {}
    for (size, (left, right)), slope in zip(sides.items(), end_to_end_weights(range(len(sides))), strict=True):
        for cell, weight in difference_weights(_cells(left, size), _cells(right, size)).items():
            weights[cell] = slope * weight
    estimate = contrast(weights, table.final, _by_size(table.final), runs_in_a_unit=2)
    left, right = (_names(side[i] for side in sides.values()) for i in (0, 1))
    return _outcome(estimate, "log distance", left, right, list(sides))


def level_trend(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """Change from the first to the last level on a straight line over their ranks, at the largest size with enough."""
    known = properties.get(claim.order, {})
    order = claim.order.replace("_", " ")
    for size in reversed(table.sizes):
        arms = [arm for arm in _arms(claim, claim.left, table, size) if table.encoders.get(arm) in known]
        if len(arms) < claim.needs_levels:
            continue
        levels = [known[table.encoders[arm]] for arm in arms]
        if len(set(levels)) < claim.needs_levels:
            raise Untestable(f"the encoders do not differ in their {order}")
        weights = dict(zip(_cells(arms, size), end_to_end_weights(ranks(levels)), strict=True))
        estimate = contrast(weights, table.final, _by_size(table.final))
        ordered = [arms[i] for i in np.argsort(levels, kind="stable")]
        return _outcome(estimate, "log distance", ordered, (), [size])
    raise Untestable(f"needs {claim.needs_levels} arms {_either(claim.left)} of one size with a known {order}")


def worst(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """Left against the nearest of its k rivals: an intersection-union test, so that no best-of is chosen.

    The 5 % of error are shared unevenly: 2.5 %/k for each rival that could speak against the claim by chance, the rest
    for the end towards zero. Chance errs most where one rival equals left and the others are far: 5 % in all.
    """
    size, (left, right) = list(_sides(claim, table).items())[-1]
    if len(right) < 2:
        raise Untestable(f"needs runs of {left[0]} and of at least two of {', '.join(claim.right)}")
    strata = _by_size(table.final)
    pairs = [difference_weights(_cells(left, size), [(rival, size)]) for rival in right]
    each = [contrast(weights, table.final, strata) for weights in pairs]
    alpha = 1 - CONFIDENCE
    against = alpha / 2 / len(each)
    support = alpha - against
    nearest = min(each, key=lambda estimate: claim.sign * estimate.effect)
    low = min(min(claim.sign * end for end in e.interval(2 * support)) for e in each)
    high = min(max(claim.sign * end for end in e.interval(2 * against)) for e in each)
    # each one-sided p over its share of the error, so that p < 5 % exactly where the interval excludes zero
    one_sided = [e.p / 2 if claim.sign * e.effect > 0 else 1 - e.p / 2 for e in each]
    p = min(1.0, alpha * max(one_sided) / support, alpha * (1 - max(one_sided)) / against)
    low, high = sorted((claim.sign * low, claim.sign * high))
    runs = min(e.runs for e in each)
    return Outcome(
        nearest.effect, low, high, p, nearest.df, nearest.floor, nearest.pooled_df, runs,
        _unit(claim), tuple(left), tuple(right), (size,),
    )  # fmt: skip


STATISTICS: dict[str, Callable[[Claim, Table, Properties], Outcome]] = {
    "difference": difference,
    "equal_flops": equal_flops,
    "speed_up": speed_up,
    "next_size": next_size,
    "gap_trend": gap_trend,
    "level_trend": level_trend,
    "worst": worst,
}
