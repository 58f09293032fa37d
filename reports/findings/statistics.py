"""The statistics of claims: from comparable runs to an outcome with an interval.

    outcome = STATISTICS[claim.statistic](claim, runs, properties)

Distances and losses are compared on the log, so an effect of -0.05 reads "5 % lower"; speed-ups on
the log of images; probes as differences of accuracies. Every function raises `Untestable`, with
what is missing, where the runs do not suffice or an arm has no room left (it is saturated).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from reports.draw.axes import signed
from reports.findings.along_training import (
    early_values,
    equal_flops,
    over_training,
    require_snapshots,
    speed_up,
)
from reports.findings.claims import Claim, match
from reports.findings.ladder import level_trend
from reports.findings.outcomes import (
    Outcome,
    Properties,
    Untestable,
    arms_meant,
    cells_of,
    either,
    have_seeds,
    largest,
    outcome,
    require_room,
    seed_notes,
    sides_of,
    sides_with_seeds,
    unit_of,
    with_seeds,
)
from reports.study.cells import ArmSize, Comparable
from reports.study.contrasts import (
    CONFIDENCE,
    difference_weights,
    end_to_end_weights,
    percent,
)

LARGEST_STEP = 2.0  # of parameters, from a size to the next; the published one is 1.6


def difference(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Mean of the left arms minus mean of the right ones, at the largest size that has both with
    three seeds; after the share `at` of the images where the claim names one.
    """
    size, left, right, notes = largest(claim, runs)
    weights = difference_weights(cells_of(left, size), cells_of(right, size))
    unit = unit_of(runs)
    if claim.at < 1:
        early = early_values(runs, size, claim.at)
        require_snapshots(weights, early, claim.at)
        detail = f" after {claim.at:.3g} of the images"
        estimate = runs.contrast(weights, early)
        return _beyond(claim, outcome(estimate, unit, left, right, [size], detail, notes))
    require_room(runs, weights)
    known = _picture_variance(runs, weights) if runs.group.per_block else 0.0
    estimate = runs.contrast(weights, known_variance=known)
    return _beyond(claim, outcome(estimate, unit, left, right, [size], notes=notes))


def _beyond(claim: Claim, found: Outcome) -> Outcome:
    """The outcome against the claim's margin: "no better than" says that left is not better by more
    than it, the test of non-inferiority (Blackwelder, Controlled Clinical Trials 3, 1982).
    """
    if not claim.margin:
        return found
    reference = -claim.sign * claim.margin
    if found.unit.startswith("log"):
        reference = math.log1p(reference)
    p = found.estimate.scaled(1.0, found.effect - reference).p
    return replace(found, reference=reference, p=p)


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


# Over sizes ---------------------------------------------------------------------------------------


def next_size(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Left at one size minus right at the next larger one, of at most twice the parameters.

    Of the largest such pair with its seeds; the others are notes, as a mean over unlike steps is no
    step. "Next" is next in the study.
    """
    # the pairs that there are, those that are near, and of them those with their seeds
    given: list[tuple[list[ArmSize], list[ArmSize]]] = []
    for small, big in itertools.pairwise(runs.sizes):
        left = arms_meant(claim, claim.left, runs, small)
        right = arms_meant(claim, claim.right, runs, big)
        if left and right:
            given.append((_seeded(left, runs, small), _seeded(right, runs, big)))
    if not given:
        raise Untestable(
            f"needs {either(claim.left)} at one size and {either(claim.right)} at "
            "the next larger one"
        )
    near = [pair for pair in given if _step(runs, pair) <= LARGEST_STEP]
    if not near:
        steps = ", ".join(f"{_steps_text(pair)} is x {_step(runs, pair):.2g}" for pair in given)
        raise Untestable(
            f"needs neighbouring sizes of at most {LARGEST_STEP:g} times the parameters: {steps}"
        )
    seeded = [pair for pair in near if all(have_seeds(side, runs) for side in pair)]
    chosen = (seeded or near)[-1]
    weights = difference_weights(*chosen)
    require_room(runs, weights)

    # what it rests on, and what the other pairs are
    notes = seed_notes(runs, [cell for pair in given for side in pair for cell in side], weights)
    for pair in given:
        if pair is not chosen:
            one = outcome(runs.contrast(difference_weights(*pair)), unit_of(runs), (), (), ())
            apart = f"{signed(percent(one.effect))} %"
            notes.append(f"{_steps_text(pair)} (x {_step(runs, pair):.2g}): {apart}")
    left, right = ([arm for arm, _ in side] for side in chosen)
    sizes = [chosen[0][0][1], chosen[1][0][1]]
    estimate = runs.contrast(weights)
    return outcome(estimate, unit_of(runs), left, right, sizes, _steps_text(chosen), notes)


def _seeded(arms: Sequence[str], runs: Comparable, size: str) -> list[ArmSize]:
    return cells_of(with_seeds(arms, runs, size), size)


def _step(runs: Comparable, pair: tuple[list[ArmSize], list[ArmSize]]) -> float:
    """Ratio of the parameters of the two sizes of a pair."""
    small, big = (runs.parameters.get(side[0][1], math.nan) for side in pair)
    return big / small if small else math.inf


def _steps_text(pair: tuple[list[ArmSize], list[ArmSize]]) -> str:
    return f"{pair[0][0][1]} to {pair[1][0][1]}"


def gap_trend(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Change of (left minus right) from the smallest to the largest size, on a straight line over
    the logarithm of the parameters.
    """
    given = sides_of(claim, runs)
    if len(given) < claim.needs_sizes:
        raise Untestable(
            f"needs both arms at {claim.needs_sizes} sizes, there is {', '.join(given)}"
        )
    sides = sides_with_seeds(given, runs, claim.needs_sizes)
    scores = np.log([runs.parameters[size] for size in sides])
    weights: dict[ArmSize, float] = {}
    for (size, (left, right)), slope in zip(sides.items(), end_to_end_weights(scores), strict=True):
        weights |= difference_weights(cells_of(left, size), cells_of(right, size), slope)
    require_room(runs, weights)
    left, right = (
        list(dict.fromkeys(arm for side in sides.values() for arm in side[i])) for i in (0, 1)
    )
    every = [cell for at, both in given.items() for arms in both for cell in cells_of(arms, at)]
    notes = seed_notes(runs, every, weights)
    estimate = runs.contrast(weights)
    return outcome(estimate, unit_of(runs), left, right, list(sides), notes=notes)


# The worst of all ---------------------------------------------------------------------------------


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
    require_room(runs, all_of[size])
    notes = seed_notes(
        runs, [cell for at in full[full.index(size) :] for cell in all_of[at]], all_of[size]
    )
    left, right = sides[size]

    # each rival by itself, and the nearest one
    pairs = [difference_weights(cells_of(left, size), [(rival, size)]) for rival in right]
    each = [runs.contrast(weights, beside=all_of[size]) for weights in pairs]
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
    nearest = replace(nearest, seeds=min(e.seeds for e in each))
    found = outcome(nearest, unit_of(runs), left, right, [size], rival, notes)
    return replace(found, low=low, high=high, p=p)


STATISTICS: dict[str, Callable[[Claim, Comparable, Properties], Outcome]] = {
    "difference": difference,
    "over_training": over_training,
    "equal_flops": equal_flops,
    "speed_up": speed_up,
    "next_size": next_size,
    "gap_trend": gap_trend,
    "level_trend": level_trend,
    "worst": worst,
}
