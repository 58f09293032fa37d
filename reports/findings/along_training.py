"""Statistics between the snapshots of a run: at equal FLOPs, and the images until equal quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from reports.findings.claims import Claim
from reports.findings.curves import first_reached, value_at
from reports.findings.outcomes import (
    Outcome,
    Properties,
    Untestable,
    by_size,
    cells_of,
    largest,
    outcome,
)
from reports.study.comparable import Cell, Curve, Table
from reports.study.contrasts import contrast, difference_weights


def equal_flops(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """The difference at the FLOPs that every compared run has spent, between snapshots.

    An arm that is not compared lends its deviation at those FLOPs, or where it ended if it spent
    less.
    """
    size, left, right, notes = largest(claim, table)
    compared = cells_of([*left, *right], size)
    spent = [
        curve.flops[-1] if len(curve.flops) else math.nan
        for cell in compared
        for curve in table.curves[cell]
    ]
    if not np.isfinite(spent).all():
        raise Untestable(f"the FLOPs of {left[0]} or {right[0]} were not recorded")

    def at_equal_flops(cell: Cell, curve: Curve) -> float:
        own = spent if cell in compared else [*spent, *curve.flops[-1:]]
        return value_at(curve.flops, curve.values, min(own))

    cells = _each_run(table, size, at_equal_flops)
    _require(
        cells,
        compared,
        "spent more until its first snapshot (its encoder's training counts) than another in all",
    )
    estimate = contrast(
        difference_weights(cells_of(left, size), cells_of(right, size)), cells, by_size(cells)
    )
    return outcome(estimate, "log distance", left, right, [size], notes=notes)


def speed_up(claim: Claim, table: Table, properties: Properties) -> Outcome:
    """Log images until the quality that every compared run reached (the worst final one):
    left minus right.

    An arm that is not compared lends its deviation of images to the worst final quality of its own
    runs.
    """
    size, left, right, notes = largest(claim, table)
    compared = cells_of([*left, *right], size)
    common = max(float(table.final[cell].max()) for cell in compared)
    targets = {
        cell: common if cell in compared else float(values.max())
        for cell, values in table.final.items()
    }
    cells = _each_run(
        table, size, lambda cell, curve: first_reached(curve.images, curve.values, targets[cell])
    )
    _require(cells, compared, "was that good at its first snapshot; earlier snapshots are needed")
    estimate = contrast(
        difference_weights(cells_of(left, size), cells_of(right, size)), cells, by_size(cells)
    )
    return outcome(estimate, "log images", left, right, [size], notes=notes)


def _each_run(
    table: Table, size: str, number: Callable[[Cell, Curve], float]
) -> dict[Cell, np.ndarray]:
    """A number of each run's curve; arms of which a run has none are left out."""
    here = {cell: curves for cell, curves in table.curves.items() if cell[1] == size}
    found = {
        cell: np.array([number(cell, curve) for curve in curves]) for cell, curves in here.items()
    }
    return {cell: values for cell, values in found.items() if np.isfinite(values).all()}


def _require(cells: Mapping[Cell, np.ndarray], compared: Sequence[Cell], why: str) -> None:
    missing = [arm for arm, size in compared if (arm, size) not in cells]
    if missing:
        raise Untestable(f"a run of {', '.join(missing)} {why}")
