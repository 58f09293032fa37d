"""The statistics of claims: from comparable runs to an outcome with an interval.

    outcome = STATISTICS[claim.statistic](claim, runs, properties)

Distances are compared on the log, so an effect of -0.05 reads "5 % lower"; speed-ups on the log of
images; probes as differences of accuracies. Every function raises `Untestable`, with what is
missing, where the runs do not suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from reports.findings.along_training import equal_flops, speed_up
from reports.findings.claims import Claim, match
from reports.findings.outcomes import (
    Outcome,
    Properties,
    Untestable,
    arms_meant,
    cells_of,
    either,
    few_seeds,
    have_seeds,
    largest,
    outcome,
    sides_of,
    sides_with_seeds,
    size_strata,
    unit_of,
    with_seeds,
)
from reports.study.cells import ArmSize, Comparable
from reports.study.contrasts import (
    CONFIDENCE,
    LEAST_SEEDS,
    contrast,
    difference_weights,
    end_to_end_weights,
    ranks,
)

ORDER_NAMES = {
    "encoder_linear_probe": "linear probe",
    "encoder_parameters": "parameters",
    "encoder_structure": "spatial structure",
}


def difference(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Mean of the left arms minus mean of the right ones, at the largest size that has both with
    three seeds.
    """
    size, left, right, notes = largest(claim, runs)
    weights = difference_weights(cells_of(left, size), cells_of(right, size))
    known = 0.0 if claim.measure == "distance" else _picture_variance(runs, weights)
    estimate = contrast(weights, runs.final, size_strata(runs.final), known_variance=known)
    return outcome(estimate, unit_of(claim), left, right, [size], notes=notes)


def _picture_variance(runs: Comparable, weights: Mapping[ArmSize, float]) -> float:
    """Variance of a difference of accuracies because the pictures are a sample: paired where the
    answers were kept.
    """
    answers = [runs.correct[cell] for cell in weights if cell in runs.correct]
    if len(answers) == len(weights) and len({one.shape for one in answers}) == 1:
        each = np.zeros_like(answers[0])
        for weight, one in zip(weights.values(), answers, strict=True):
            each = each + weight * one
        return float(np.var(each, ddof=1) / len(each))
    return sum(weight**2 * runs.binomial[cell] for cell, weight in weights.items())


def next_size(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Left at one size minus right at the next larger, averaged over the neighbouring sizes that
    have both.
    """
    # the pairs that there are, and of them those with their seeds
    given = []
    for small, big in zip(runs.sizes, runs.sizes[1:], strict=False):
        left, right = (
            arms_meant(claim, claim.left, runs, small),
            arms_meant(claim, claim.right, runs, big),
        )
        if left and right:
            given.append((cells_of(left, small), cells_of(right, big)))
    if not given:
        raise Untestable(
            f"needs {either(claim.left)} at one size and {either(claim.right)} at "
            "the next larger one"
        )
    reduced = [
        tuple(
            cells_of(with_seeds([arm for arm, _ in side], runs, side[0][1]), side[0][1])
            for side in pair
        )
        for pair in given
    ]
    enough = [pair for pair in reduced if all(have_seeds(side, runs) for side in pair)]
    pairs = enough or reduced

    # the mean of their differences
    weights: dict[ArmSize, float] = {}
    for left, right in pairs:
        for cell, weight in difference_weights(left, right).items():
            weights[cell] = weights.get(cell, 0.0) + weight / len(pairs)
    estimate = contrast(weights, runs.final, size_strata(runs.final))

    # what it rests on, in words
    sizes = [
        size
        for size in runs.sizes
        if any(size in (left[0][1], right[0][1]) for left, right in pairs)
    ]
    notes = few_seeds(runs, [cell for pair in given for side in pair for cell in side], weights)
    notes += [f"{_at(left)} against {_at(right)}" for left, right in pairs]
    steps = ", ".join(f"{left[0][1]} to {right[0][1]}" for left, right in pairs)
    left, right = (_names([arm for arm, _ in pair[i]] for pair in pairs) for i in (0, 1))
    return outcome(estimate, "log distance", left, right, sizes, steps, notes)


def _at(side: Sequence[ArmSize]) -> str:
    """ "repa/s, repa/m at nano" """
    return f"{', '.join(arm for arm, _ in side)} at {side[0][1]}"


def _names(lists: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(arm for arms in lists for arm in arms))


def gap_trend(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Change of (left minus right) from the smallest to the largest size, on a straight line over
    the sizes' ranks.
    """
    given = sides_of(claim, runs)
    if len(given) < claim.needs_sizes:
        raise Untestable(
            f"needs both arms at {claim.needs_sizes} sizes, there is {', '.join(given)}"
        )
    sides = sides_with_seeds(given, runs, claim.needs_sizes)
    weights: dict[ArmSize, float] = {}
    for (size, (left, right)), slope in zip(
        sides.items(), end_to_end_weights(range(len(sides))), strict=True
    ):
        for cell, weight in difference_weights(cells_of(left, size), cells_of(right, size)).items():
            weights[cell] = slope * weight
    estimate = contrast(weights, runs.final, size_strata(runs.final), runs_in_a_unit=2)
    left, right = (_names(side[i] for side in sides.values()) for i in (0, 1))
    notes = few_seeds(
        runs,
        [(arm, size) for size, both in given.items() for arms in both for arm in arms],
        weights,
    )
    return outcome(estimate, "log distance", left, right, list(sides), notes=notes)


def level_trend(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Change from the first to the last level on a straight line over their ranks, at the largest
    size with enough.
    """
    # sizes with enough arms whose encoders have the property
    known = properties.get(claim.order, {})
    order, needed = claim.order.replace("_", " "), claim.needs_levels
    given = {
        size: [
            arm
            for arm in arms_meant(claim, claim.left, runs, size)
            if runs.encoders.get(arm) in known
        ]
        for size in runs.sizes
    }
    given = {size: arms for size, arms in given.items() if len(arms) >= needed}
    if not given:
        raise Untestable(
            f"needs {needed} arms {either(claim.left)} of one size with a known {order}"
        )
    # the largest of them where those arms have their seeds
    kept = {size: with_seeds(arms, runs, size, needed) for size, arms in given.items()}
    seeds = {size: min(len(runs.final[arm, size]) for arm in arms) for size, arms in kept.items()}
    size = ([size for size in kept if seeds[size] >= LEAST_SEEDS] or list(kept))[-1]
    arms = kept[size]

    # the line over the ranks of the levels
    levels = [known[runs.encoders[arm]].value for arm in arms]
    if len(set(levels)) < needed:
        raise Untestable(f"the encoders do not differ in their {order}")
    weights = dict(zip(cells_of(arms, size), end_to_end_weights(ranks(levels)), strict=True))
    estimate = contrast(weights, runs.final, size_strata(runs.final))

    # what was left out, and what these runs cannot tell apart
    ordered = [arms[i] for i in np.argsort(levels, kind="stable")]
    from_here = list(given)[list(given).index(size) :]
    notes = few_seeds(runs, [cell for at in from_here for cell in cells_of(given[at], at)], weights)
    encoders = [runs.encoders[arm] for arm in ordered]
    notes += _other_orders(claim.order, properties, encoders)
    notes += dict.fromkeys(known[encoder].note for encoder in encoders if known[encoder].note)
    return outcome(estimate, "log distance", ordered, (), [size], notes=notes)


def _other_orders(order: str, properties: Properties, encoders: Sequence[str]) -> list[str]:
    """A note on the properties that order the encoders the same way, or the other way round."""
    found = {
        name: ranks([properties[name][encoder].value for encoder in encoders])
        for name in ORDER_NAMES
        if all(encoder in properties.get(name, {}) for encoder in encoders)
    }
    own = found.pop(order)
    same = [ORDER_NAMES[name] for name, other in found.items() if np.array_equal(other, own)]
    same += [
        f"{ORDER_NAMES[name]} from high to low"
        for name, other in found.items()
        if np.array_equal(len(own) - 1 - other, own)
    ]
    if not same:
        return []
    return [
        f"the order by {ORDER_NAMES[order]} is also that by {' and by '.join(same)}; "
        "these runs cannot tell them apart"
    ]


def worst(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Left against the nearest of its k rivals: an intersection-union test, so that no best-of is
    chosen.

    All rivals that the claim names must be there: "the worst of all" cannot be shown without one of
    them. The 5 % of error are shared unevenly: 2.5 %/k for each rival that could speak against the
    claim by chance, the rest for the end towards zero. Chance errs most where one rival equals left
    and the others are far: 5 % in all.
    """
    # the largest size with all rivals, and with their seeds where one has them
    sides = sides_of(claim, runs)
    absent = {
        size: [name for name in claim.right if not match(name, right)]
        for size, (_, right) in sides.items()
    }
    full = [size for size in sides if not absent[size]]
    if not full:
        size = list(sides)[-1]
        raise Untestable(
            f"needs every rival that the claim names; without runs at {size}: "
            f"{', '.join(absent[size])}"
        )
    all_of = {size: cells_of([*sides[size][0], *sides[size][1]], size) for size in full}
    enough = [size for size in full if have_seeds(all_of[size], runs)]
    size = (enough or full)[-1]
    notes = few_seeds(
        runs, [cell for at in full[full.index(size) :] for cell in all_of[at]], all_of[size]
    )
    left, right = sides[size]

    # each rival by itself, and the nearest one
    strata = size_strata(runs.final)
    pairs = [difference_weights(cells_of(left, size), [(rival, size)]) for rival in right]
    each = [contrast(weights, runs.final, strata) for weights in pairs]
    alpha = 1 - CONFIDENCE
    against = alpha / 2 / len(each)
    support = alpha - against
    rival, nearest = min(
        zip(right, each, strict=True), key=lambda pair: claim.sign * pair[1].effect
    )

    # one interval from all, each end at its share of the error; each one-sided p over its share of
    # the error, so that p < 5 % exactly where the interval excludes zero
    low = min(min(claim.sign * end for end in e.interval(2 * support)) for e in each)
    high = min(max(claim.sign * end for end in e.interval(2 * against)) for e in each)
    one_sided = [e.p / 2 if claim.sign * e.effect > 0 else 1 - e.p / 2 for e in each]
    p = min(1.0, alpha * max(one_sided) / support, alpha * (1 - max(one_sided)) / against)
    low, high = sorted((claim.sign * low, claim.sign * high))
    seeds = min(e.runs for e in each)
    return Outcome(
        nearest.effect, low, high, p, nearest.df, nearest.floor, nearest.pooled_df, seeds,
        unit_of(claim), tuple(left), tuple(right), (size,), rival, tuple(notes),
    )  # fmt: skip


STATISTICS: dict[str, Callable[[Claim, Comparable, Properties], Outcome]] = {
    "difference": difference,
    "equal_flops": equal_flops,
    "speed_up": speed_up,
    "next_size": next_size,
    "gap_trend": gap_trend,
    "level_trend": level_trend,
    "worst": worst,
}
