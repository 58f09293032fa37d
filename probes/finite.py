"""Samples and features that are not finite: counted and reported, never averaged.

kept, dropped = finite_rows(features)
"""

from __future__ import annotations

import numpy as np


def finite_rows(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Mask [n] of the rows of values [n, ...] whose numbers are all finite,
    and how many rows are not.
    """
    if values.dtype.kind in "iub":
        return np.ones(len(values), dtype=bool), 0
    mask = np.asarray(np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    return mask, int((~mask).sum())


def dropped_note(dropped: int, n: int) -> str:
    """Sentence for a result row ("" when nothing was dropped)."""
    return f"{dropped} of {n} samples were not finite and are not in this number" if dropped else ""
