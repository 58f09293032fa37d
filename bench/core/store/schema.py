"""What the files of a run may hold, so that nothing computes with a value
that a damaged file made up.

check({"seed": "zero", ...}, RUN)     # ValueError: seed is 'zero', expected a whole number of at least 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of value: its name in an error, and whether a value is of it."""

    name: str
    holds: Callable[[Any], bool]

    def or_null(self) -> Kind:
        """This kind, or null, or no such key."""
        return Kind(f"{self.name} or null", lambda value: value is None or self.holds(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whole(least: int) -> Kind:
    """Whole numbers from `least`."""
    name = f"a whole number of at least {least}"
    return Kind(
        name,
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
    )


TEXT = Kind("a text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER = Kind("a finite number", _is_number)
PLAIN = Kind("a plain value", lambda value: not isinstance(value, dict | list))
LIST = Kind("a list", lambda value: isinstance(value, list))
OBJECT = Kind("a JSON object", lambda value: isinstance(value, dict))
NUMBERS = Kind(
    "finite numbers by name",
    lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
)

RUN = {
    **dict.fromkeys(("arm", "method", "size", "data"), TEXT),
    **dict.fromkeys(("depth", "width"), whole(1)),
    **dict.fromkeys(("seed", "images"), whole(0)),
    "batch": whole(1).or_null(),
    "encoder": TEXT.or_null(),
    **dict.fromkeys(("identity", "blocks"), OBJECT.or_null()),
    "argv": LIST.or_null(),
}
STATUS = dict.fromkeys(("state", "phase", "message"), TEXT.or_null()) | {
    "images": whole(0).or_null()
}
COST = {
    **dict.fromkeys(("parameters", "flops_per_image"), NUMBERS.or_null()),
    **dict.fromkeys(
        ("encoder_training_flops", "seconds_per_step", "peak_memory_bytes"), NUMBER.or_null()
    ),
    "not_counted": TEXT.or_null(),
}
MEASUREMENT = {
    "images": whole(0),
    **dict.fromkeys(("flops", "hours"), NUMBER.or_null()),
    "kind": TEXT.or_null(),
    "rows": LIST,
}
ROW = {
    **dict.fromkeys(("metric", "protocol_id"), TEXT),
    "higher_is_better": FLAG,
    **dict.fromkeys(
        ("value", "stderr", "real", "n"), PLAIN
    ),  # one that is no number is a row without a value
    "block": whole(1).or_null(),
    "t": NUMBER.or_null(),
    **dict.fromkeys(("related", "note"), TEXT.or_null()),
    **dict.fromkeys(("protocol", "details"), OBJECT.or_null()),
}


def check(content: Any, kinds: Mapping[str, Kind]) -> None:
    """Raise ValueError that names the first value not of its kind;
    keys without a kind may hold anything.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{content!r:.60} is not a JSON object")
    for key, kind in kinds.items():
        if not kind.holds(content.get(key)):
            raise ValueError(f"{key} is {content.get(key)!r:.60}, expected {kind.name}")
