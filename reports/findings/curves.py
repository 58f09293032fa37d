"""One run's quality along training: its value at a given compute,
and when it first reached a given quality.

    >>> value_at(flops, log_distance, 1e12)          # at equal FLOPs
    >>> first_reached(images, log_distance, target)  # log of the images needed, for a speed-up to equal quality

Both interpolate linearly on the logarithm of what was spent, between snapshots and never beyond
them.
"""

from __future__ import annotations

import math

import numpy as np


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
