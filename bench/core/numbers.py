"""Accuracies as result rows keep them: their uncertainty, and the right answers picture by picture.

    low, high = wilson(588, 600)                          # the interval of a share
    row.details["correct"] = pack(predicted == labels)    # 600 pictures: 150 characters
    unpack(row.details["correct"], row.n)

Wilson 1927: the interval of p for k successes in n draws that keeps its coverage near 0 and 1,
where accuracies live.
"""

from __future__ import annotations

import math

import numpy as np

Z_95 = 1.959963984540054


def wilson(successes: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval (low, high) within 0..1 for `successes` of `n`; 95 % by default."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is not a proportion; n must be positive")
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The ends are 0 and 1 exactly where nothing, or everything, succeeded; rounding would miss
    # them.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def standard_error(p: float, n: int) -> float:
    """Standard error of a share p of n: a quarter of the Wilson interval's width,
    so that 0 and 1 are not certain.
    """
    low, high = wilson(round(p * n), n)
    return (high - low) / (2 * Z_95)


# pictures; of more the unpaired error is under half a point and the text would fill the result
# files
MOST = 10_000


def pack(answers: np.ndarray) -> str:
    """Answers [n] (True: right) as hexadecimal bits, the first picture in the highest bit."""
    return np.packbits(np.asarray(answers, bool)).tobytes().hex()


def unpack(text: str, n: int) -> np.ndarray:
    """Answers [n] as 0 or 1. Raises ValueError when the text does not hold n of them."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    if len(bits) - 7 > n or n > len(bits):
        raise ValueError(f"{len(bits)} bits cannot be the answers to {n} pictures")
    return bits[:n]
