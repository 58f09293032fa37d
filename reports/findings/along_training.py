"""Statistics between the snapshots of a run: at equal FLOPs, and the images until equal quality.

    >>> value_at(flops, log_distance, 1e12)          # at equal FLOPs
    >>> first_reached(images, log_distance, target)  # log of the images needed, for a speed-up

Both interpolate linearly on the logarithm of what was spent, between snapshots and never beyond
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from reports.findings.claims import Claim
from reports.findings.outcomes import (
    Outcome,
    Properties,
    Untestable,
    cells_of,
    largest,
    outcome,
    size_strata,
)
from reports.study.cells import ArmSize, Comparable, Curve
from reports.study.contrasts import contrast, difference_weights


def equal_flops(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """The difference at the FLOPs that every compared run has spent, between snapshots.

    An arm that is not compared lends its deviation at those FLOPs, or where it ended if it spent
    less.
    """
    size, left, right, notes = largest(claim, runs)
    compared = cells_of([*left, *right], size)
    spent = [
        curve.flops[-1] if len(curve.flops) else math.nan
        for cell in compared
        for curve in runs.curves[cell]
    ]
    if not np.isfinite(spent).all():
        raise Untestable(f"the FLOPs of {left[0]} or {right[0]} were not recorded")

    def at_equal_flops(cell: ArmSize, curve: Curve) -> float:
        own = spent if cell in compared else [*spent, *curve.flops[-1:]]
        return value_at(curve.flops, curve.values, min(own))

    cells = _each_run(runs, size, at_equal_flops)
    _require(
        cells,
        compared,
        "spent more until its first snapshot (its encoder's training counts) than another in all",
    )
    estimate = contrast(
        difference_weights(cells_of(left, size), cells_of(right, size)), cells, size_strata(cells)
    )
    return outcome(estimate, "log distance", left, right, [size], notes=notes)


def speed_up(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Log images until the quality that every compared run reached (the worst final one): left
    minus right.

    An arm that is not compared lends its deviation of images to the worst final quality of its own
    runs.
    """
    size, left, right, notes = largest(claim, runs)
    compared = cells_of([*left, *right], size)
    common = max(float(runs.final[cell].max()) for cell in compared)
    targets = {
        cell: common if cell in compared else float(values.max())
        for cell, values in runs.final.items()
    }
    cells = _each_run(
        runs, size, lambda cell, curve: first_reached(curve.images, curve.values, targets[cell])
    )
    _require(cells, compared, "was that good at its first snapshot; earlier snapshots are needed")
    estimate = contrast(
        difference_weights(cells_of(left, size), cells_of(right, size)), cells, size_strata(cells)
    )
    return outcome(estimate, "log images", left, right, [size], notes=notes)


def _each_run(
    runs: Comparable, size: str, number: Callable[[ArmSize, Curve], float]
) -> dict[ArmSize, np.ndarray]:
    """A number of each run's curve; arms of which a run has none are left out."""
    here = {cell: curves for cell, curves in runs.curves.items() if cell[1] == size}
    found = {
        cell: np.array([number(cell, curve) for curve in curves]) for cell, curves in here.items()
    }
    return {cell: values for cell, values in found.items() if np.isfinite(values).all()}


def _require(cells: Mapping[ArmSize, np.ndarray], compared: Sequence[ArmSize], why: str) -> None:
    missing = [arm for arm, size in compared if (arm, size) not in cells]
    if missing:
        raise Untestable(f"a run of {', '.join(missing)} {why}")


def value_at(spent: np.ndarray, values: np.ndarray, at: float) -> float:
    """Value at `at` (same unit as spent, ascending and positive), nan outside the snapshots."""
    # a run's own last snapshot is inside, whatever the last digit of its FLOPs
    if not len(spent) or at < spent[0] * (1 - 1e-9) or at > spent[-1] * (1 + 1e-9):
        return math.nan
    return float(np.interp(math.log(at), np.log(spent), values))


def first_reached(spent: np.ndarray, values: np.ndarray, target: float) -> float:
    """log(spent) at which the value first came down to target.

    nan where the first snapshot is there already (it was reached before anyone looked) or where no
    snapshot is.
    """
    reached = np.flatnonzero(values <= target)
    if not len(reached) or reached[0] == 0:
        return math.nan
    here = int(reached[0])
    before, after = values[here - 1], values[here]
    start, end = math.log(spent[here - 1]), math.log(spent[here])
    return float(start + (end - start) * (before - target) / (before - after))
