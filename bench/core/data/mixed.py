"""Several data sets at once, for one backbone: pictures, videos and sounds in turn.

    python -m bench.run data=mixed method=selfflow
    python -m bench.run data=mixed data.parts=[digits,notes] data.share={digits: 1, notes: 3}

A step holds one part, drawn by its share, and its losses count times its weight (arXiv 2603.06507,
App. D). Training and measuring ask for the parts; here is what they are together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from bench.core.data.base import DataSet, described
from bench.core.model.conditions import Condition
from bench.core.model.tokens import TokenGrid


class Mixed:
    """parts: by name; share: of the steps, in proportion, None: equal; weights: of the losses,
    None: 1 each.

    Raises ValueError for a part without data, and for shares or weights of other parts, or not
    above 0.
    """

    def __init__(
        self,
        name: str,
        parts: Mapping[str, DataSet],
        share: Mapping[str, float] | None,
        weights: Mapping[str, float] | None,
    ):
        self.name, self.parts = name, dict(parts)
        equal = dict.fromkeys(parts, 1.0)
        given = _checked("share", equal if share is None else share, self.parts)
        self.share = {part: given[part] / sum(given.values()) for part in self.parts}
        self.weights = _checked("weights", equal if weights is None else weights, self.parts)
        for part, data in self.parts.items():
            if not data.n_train:
                raise ValueError(
                    f"data.parts: {part} has no training data: give it some, or leave it out"
                )

    @property
    def largest(self) -> DataSet:
        """The part of most tokens, by which a machine is judged."""
        return max(self.parts.values(), key=lambda part: part.grid.tokens)

    @property
    def grid(self) -> TokenGrid:
        return self.largest.grid

    @property
    def condition(self) -> Condition:
        return self.largest.condition

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the parts' content; shares and weights are settings."""
        of_parts = {name: part.fingerprint for name, part in self.parts.items()}
        return hashlib.sha256(repr(of_parts).encode()).hexdigest()[:16]


def _checked(
    key: str, given: Mapping[str, float], parts: Mapping[str, DataSet]
) -> dict[str, float]:
    """One number above 0 for each part, and none for others. Raises ValueError."""
    named = ", ".join(parts)
    if not isinstance(given, Mapping) or set(given) != set(parts):
        said = ", ".join(given) if isinstance(given, Mapping) else str(given)
        raise ValueError(
            f"data.{key} names {said or 'nothing'}, and the parts are {named}: give one number for "
            f"each of them, data.{key}={{{', '.join(f'{part}: 1' for part in parts)}}}"
        )
    for part, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ValueError(
                f"data.{key} of {part} is {value}: give a number above 0, or leave the part out of "
                "data.parts"
            )
    return dict(given)


def parts_of(data: DataSet | Mixed) -> dict[str, DataSet]:
    """The data set of each part; of one kind of data there is one, under ""."""
    return data.parts if isinstance(data, Mixed) else {"": data}


def sizes_of(data: DataSet | Mixed) -> dict[str, int]:
    """Examples of each split, {"train": 1197, "heldout": 600}; of parts as "digits/train"."""
    return {
        f"{part}/{split}" if part else split: size
        for part, one in parts_of(data).items()
        for split, size in (("train", one.n_train), ("heldout", one.n_heldout))
    }


def found_in(data: DataSet | Mixed) -> str:
    """What was found, a line a part."""
    if not isinstance(data, Mixed):
        return described(data)
    lines = [
        f"{name}, {data.share[name]:.0%} of the steps, losses times {data.weights[name]:g}: "
        f"{described(part)}"
        for name, part in data.parts.items()
    ]
    return "\n    ".join([f"{len(lines)} parts", *lines])
