"""Statistics between the snapshots of a run: early in it, at equal FLOPs, and the images until
equal quality.

    >>> value_at(flops, log_distance, 1e12)          # at equal FLOPs
    >>> first_reached(images, log_distance, target)  # log of the images needed, for a speed-up

Both interpolate linearly on the logarithm of what was spent, between snapshots and never beyond
them. A snapshot is a shorter run only while the learning rate is constant: on a cosine it is read
before the rate has come down, which flattered the arm that spends more on an image by 6 to 9 %.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from reports.findings.claims import Claim
from reports.findings.outcomes import (
    Outcome,
    Properties,
    Untestable,
    cells_of,
    largest,
    outcome,
    require_room,
    unit_of,
)
from reports.study.cells import ArmSize, Comparable
from reports.study.contrasts import difference_weights, shared_seeds

CONSTANT = "constant"  # of the learning rate
WITHIN_FLOPS = 0.02  # share by which the FLOPs of arms may differ that a study matched
ByCell = dict[ArmSize, dict[int, float]]


def early_values(runs: Comparable, size: str, at: float) -> ByCell:
    """Each seed's value after the share `at` of its images, of the arms of a size that have it."""
    images = at * runs.group.images_total
    read = {cell: values_after(runs, cell, images) for cell in runs.curves if cell[1] == size}
    return {cell: values for cell, values in read.items() if _finite(values)}


def over_training(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Change of (left minus right) from the share `at` of the images to the end of training.

    Both are read after as many images of one schedule, so that no arm is further in it.
    """
    size, left, right, notes = largest(claim, runs)
    weights = difference_weights(cells_of(left, size), cells_of(right, size))
    require_room(runs, weights)
    early = early_values(runs, size, claim.at)
    require_snapshots(weights, early, claim.at)
    change = {
        cell: {seed: runs.final[cell][seed] - value for seed, value in values.items()}
        for cell, values in early.items()
    }
    estimate = runs.contrast(weights, change)
    return outcome(estimate, unit_of(runs), left, right, [size], f"{claim.at:.3g}", notes)


def require_snapshots(used: Collection[ArmSize], early: ByCell, at: float) -> None:
    """Raise Untestable where a compared arm was not looked at so early."""
    missing = [arm for arm, size in used if (arm, size) not in early]
    if missing:
        raise Untestable(
            f"{', '.join(missing)} has no snapshot after {at:.3g} of the images or before; "
            "a larger `snapshots` takes more"
        )


def equal_flops(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """The difference of left and right at equal training FLOPs.

    Of the final values where the runs ended at equal FLOPs (a study with `match: flops`); else
    along the runs, at the FLOPs that every compared run has spent, if the rate is constant.
    """
    size, left, right, notes = largest(claim, runs)
    compared = cells_of([*left, *right], size)
    require_room(runs, compared)
    ends = [curve.flops[-1:] for cell in compared for curve in runs.curves[cell].values()]
    spent = [float(end[0]) for end in ends if len(end)]
    if len(spent) < len(ends) or not np.isfinite(spent).all():
        raise Untestable(f"the FLOPs of {left[0]} or {right[0]} were not recorded")
    weights = difference_weights(cells_of(left, size), cells_of(right, size))
    if max(spent) <= (1 + WITHIN_FLOPS) * min(spent):
        return outcome(
            runs.contrast(weights), unit_of(runs), left, right, [size], "at their ends", notes
        )
    _require_constant(runs, compared)

    # an arm that is not compared lends its deviation at those FLOPs, or where it ended before
    at_equal: ByCell = {}
    for cell, curves in runs.curves.items():
        if cell[1] != size:
            continue
        at_equal[cell] = {
            seed: value_at(curve.flops, curve.values, min(*spent, curve.flops[-1]))
            for seed, curve in curves.items()
            if len(curve.flops)
        }
    missing = [arm for arm, _ in compared if not _finite(at_equal[arm, size])]
    if missing:
        raise Untestable(
            f"a run of {', '.join(missing)} spent more until its first snapshot (its encoder's "
            "training counts) than another in all"
        )
    known = {cell: values for cell, values in at_equal.items() if _finite(values)}
    estimate = runs.contrast(weights, known)
    return outcome(estimate, unit_of(runs), left, right, [size], "along the runs", notes)


def _require_constant(runs: Comparable, compared: Sequence[ArmSize]) -> None:
    if any(runs.schedules.get(cell, set()) != {CONSTANT} for cell in compared):
        raise Untestable(
            "read mid-schedule: the runs did not end at equal FLOPs, and a snapshot is no shorter "
            "run while the learning rate is falling; a study with `match: flops`, or with "
            "optimizer.schedule=constant, can tell"
        )


def _finite(values: dict[int, float]) -> bool:
    return bool(values) and bool(np.isfinite(list(values.values())).all())


def speed_up(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Log images until the quality that the slower side reached at best: left minus right.

    Quality is the mean over a side's runs, so that no unlucky run sets the target. The error is the
    seeds', by the delta method: a change dy of the faster side's mean at its crossing, or of the
    slower one's best, moves the crossing by dy over the slope of the curve there.
    """
    size, left, right, notes = largest(claim, runs)
    sides = [cells_of(arms, size) for arms in (left, right)]
    require_room(runs, [*sides[0], *sides[1]])
    images, curves = _mean_curves(runs, sides)

    # the slower side's best is the target
    slow = int(np.argmax([curve.min() for curve in curves]))
    fast, best = 1 - slow, int(np.argmin(curves[slow]))
    target, end = float(curves[slow][best]), math.log(images[best])
    reached = first_reached(images, curves[fast], target)
    if not math.isfinite(reached):
        raise Untestable(
            f"{either_side(left, right, fast)} was that good at its first snapshot; "
            "earlier snapshots are needed"
        )

    # what each run was there, and the slope that turns it into images
    after = int(np.searchsorted(np.log(images), reached - 1e-12))
    rise = curves[fast][after] - curves[fast][after - 1]
    slope = rise / math.log(images[after] / images[after - 1])
    cells: ByCell = {cell: dict(of) for cell, of in runs.final.items() if cell[1] == size}
    for cell in sides[fast]:
        cells[cell] = values_after(runs, cell, math.exp(reached))
    for cell in sides[slow]:
        cells[cell] = values_after(runs, cell, float(images[best]))
    estimate = runs.contrast(difference_weights(sides[0], sides[1]), cells)
    effect = (reached - end) * (1 if fast == 0 else -1)
    if any(runs.schedules.get(cell, set()) != {CONSTANT} for side in sides for cell in side):
        notes = [
            *notes,
            "the faster arm is read mid-schedule, before its rate has come down: the ratio is "
            "understated",
        ]
    return outcome(
        estimate.scaled(abs(1 / slope), effect), "log images", left, right, [size], notes=notes
    )


def either_side(left: Sequence[str], right: Sequence[str], which: int) -> str:
    """The arms of the left side (0) or the right one (1)."""
    return ", ".join((left, right)[which])


def _mean_curves(
    runs: Comparable, sides: Sequence[Sequence[ArmSize]]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Images of the snapshots that all runs of the sides have, and each side's mean curve there."""
    cells = [cell for side in sides for cell in side]
    seeds = shared_seeds([runs.curves[cell] for cell in cells]) if runs.paired(cells) else []
    chosen = [
        [runs.curves[cell][seed] for cell in side for seed in seeds or runs.curves[cell]]
        for side in sides
    ]
    every = [set(curve.images.tolist()) for side in chosen for curve in side]
    images = np.array(sorted(set.intersection(*every)))
    if len(images) < 2:
        raise Untestable("the compared runs have fewer than two snapshots at equal images")
    means = [
        np.mean([curve.values[np.isin(curve.images, images)] for curve in side], axis=0)
        for side in chosen
    ]
    return images, means


def values_after(runs: Comparable, cell: ArmSize, at: float) -> dict[int, float]:
    """Value of each seed's run after so many images."""
    return {
        seed: value_at(curve.images, curve.values, at) for seed, curve in runs.curves[cell].items()
    }


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
