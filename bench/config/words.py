"""KEY=VALUE words, in which every command and every override of a run is written: taken apart,
counted.

    >>> values_of(["method=selfflow", "images=64Ki"])
    {"method": "selfflow", "images": "64Ki"}
    >>> parse_count("images", "400Ksteps", batch=64)
    25600000
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from bench.config.schema import nearest

LARGEST_COUNT = 2**53  # every whole number below is a float64
_COUNT = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)(Ki|Mi|Gi|K|M|G|k)?(steps)?")
_FACTOR = {
    "": 1,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
}


def split_word(word: str, known: Iterable[str] = ()) -> tuple[str, str]:
    """(key, value) of a word; known: keys that a mistyped one may have meant.

    Raises ValueError for a word that is not KEY=VALUE.
    """
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise ValueError(f"'{word}' is not KEY=VALUE{nearest(word, known)} (see --help)")
    return key, value


def values_of(words: Iterable[str]) -> dict[str, str]:
    """{key: value} of words, the last of a key winning. Raises ValueError as `split_word` does."""
    return dict(split_word(word) for word in words)


def last_of_each(words: Iterable[str]) -> list[str]:
    """The words with every key once, its last value: what a command accepts."""
    return [f"{key}={value}" for key, value in values_of(words).items()]


class ImageCount(NamedTuple):
    """So many images, or so many training steps, whose batch is not known yet; text: as written."""

    number: float
    of_steps: bool
    text: str

    def images(self, key: str, batch: int) -> int:
        """The images that it makes. Raises ValueError unless that is a whole number."""
        count = self.number * (batch if self.of_steps else 1)
        if count != int(count) or not 1 <= count < LARGEST_COUNT:
            raise ValueError(
                f"{key}={self.text} makes {count:g}: a count is a whole number from 1 to 2^53"
            )
        return int(count)


def image_count(key: str, text: str) -> ImageCount:
    """`65536`, `64Ki`, `1e6` or `400Ksteps`. Raises ValueError for anything else."""
    match = _COUNT.fullmatch(text)
    try:
        number = float(match[1]) * _FACTOR[match[2] or ""] if match else math.inf
    except ValueError:  # two decimal points
        number = math.inf
    if match is None or not math.isfinite(number):
        raise ValueError(
            f"{key}={text} is not a count: write it like 65536, 64Ki, 1e6 or 400Ksteps"
        )
    return ImageCount(number, match[3] is not None, text)


def parse_count(key: str, text: str, batch: int) -> int:
    """Images from `65536`, `64Ki`, `1e6` or `400Ksteps` (times the batch).

    Raises ValueError for anything else.
    """
    return image_count(key, text).images(key, batch)
