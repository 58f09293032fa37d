"""Uncertainty of an accuracy measured on n images.

Wilson 1927: the interval of p for k successes in n draws that keeps its coverage near 0 and 1, where accuracies live.

    low, high = wilson(588, 600)
"""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson(successes: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval (low, high) within 0..1 for `successes` of `n`; 95 % by default."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is not a proportion; n must be positive")
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The ends are 0 and 1 exactly where nothing, or everything, succeeded; rounding would miss them.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def standard_error(p: float, n: int) -> float:
    """Standard error of a share p of n: a quarter of the Wilson interval's width, so that 0 and 1 are not certain."""
    low, high = wilson(round(p * n), n)
    return (high - low) / (2 * Z_95)
