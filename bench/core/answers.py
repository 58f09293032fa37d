"""Right answers of a probe, picture by picture, packed into a result row: they pair two probes of the same pictures.

row.details["correct"] = pack(predicted == labels)     # 600 pictures: 150 characters
unpack(row.details["correct"], row.n)
"""

from __future__ import annotations

import numpy as np

MOST = 10_000  # pictures; of more the unpaired error is under half a point and the text would fill the result files


def pack(answers: np.ndarray) -> str:
    """Answers [n] (True: right) as hexadecimal bits, the first picture in the highest bit."""
    return np.packbits(np.asarray(answers, bool)).tobytes().hex()


def unpack(text: str, n: int) -> np.ndarray:
    """Answers [n] as 0 or 1. Raises ValueError when the text does not hold n of them."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    if len(bits) - 7 > n or n > len(bits):
        raise ValueError(f"{len(bits)} bits cannot be the answers to {n} pictures")
    return bits[:n]
