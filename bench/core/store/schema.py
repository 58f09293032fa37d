"""What the files of a run may hold, so that nothing computes with a value
that a damaged file made up.

    read_checked(folder / "run.json", DESCRIPTION_VALUES)
    # ValueError: seed is 'zero', expected a whole number of at least 0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.core.store.files import Json
from bench.core.store.untrusted import LARGEST, parse_json

SCHEMA_VERSION = 1  # of run.json, status.json, cost.json and the result files


class NewerSchema(ValueError):
    """A file of a later version of this program, which says what this one cannot know."""


@dataclass(frozen=True)
class ValueKind:
    """A kind of value: its name in an error, and whether a value is of it."""

    name: str
    holds: Callable[[object], bool]

    def or_null(self) -> ValueKind:
        """This kind, or null, or no such key."""
        return ValueKind(f"{self.name} or null", lambda value: value is None or self.holds(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(least: int) -> ValueKind:
    return ValueKind(
        f"a whole number of at least {least}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
    )


_TEXT = ValueKind("a text", lambda value: isinstance(value, str))
_FLAG = ValueKind("true or false", lambda value: isinstance(value, bool))
_NUMBER = ValueKind("a finite number", _is_number)
_PLAIN = ValueKind(
    f"a plain value, not above {LARGEST:g}",
    lambda value: not isinstance(value, dict | list) and value not in (math.inf, -math.inf),
)
_LIST = ValueKind("a list", lambda value: isinstance(value, list))
_OBJECT = ValueKind("a JSON object", lambda value: isinstance(value, dict))
_NUMBERS = ValueKind(
    "finite numbers by name",
    lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
)

Values = Mapping[str, ValueKind]
DESCRIPTION_VALUES: Values = {
    **dict.fromkeys(("arm", "method", "size", "data"), _TEXT),
    **dict.fromkeys(("depth", "width"), _whole(1)),
    **dict.fromkeys(("seed", "images"), _whole(0)),
    "batch": _whole(1).or_null(),
    **dict.fromkeys(("encoder", "hash", "head", "id"), _TEXT.or_null()),
    **dict.fromkeys(("identity", "blocks", "aligned", "fingerprints", "init"), _OBJECT.or_null()),
    "data_sizes": _NUMBERS.or_null(),
    "argv": _LIST.or_null(),
}
CONFIGURATION_VALUES: Values = {"images": _whole(1).or_null()}
STATUS_VALUES: Values = {
    **dict.fromkeys(("state", "phase", "message", "host"), _TEXT.or_null()),
    **dict.fromkeys(("images", "images_total", "pid"), _whole(0).or_null()),
    **dict.fromkeys(("loss", "images_per_second", "seconds_left", "heartbeat"), _NUMBER.or_null()),
}
COST_VALUES: Values = {
    **dict.fromkeys(("parameters", "flops_per_image", "flops_per_image_after"), _NUMBERS.or_null()),
    **dict.fromkeys(
        ("forward_flops", "encoder_training_flops", "seconds_per_step", "peak_memory_bytes"),
        _NUMBER.or_null(),
    ),
    "ends": _whole(1).or_null(),
    "not_counted": _TEXT.or_null(),
}
MEASUREMENT_VALUES: Values = {
    "images": _whole(0),
    **dict.fromkeys(("flops", "hours"), _NUMBER.or_null()),
    "kind": _TEXT.or_null(),
    "rows": _LIST,
}
ROW_VALUES: Values = {
    **dict.fromkeys(("metric", "protocol_id"), _TEXT),
    "higher_is_better": _FLAG,
    # one that is no number is a row without a value
    **dict.fromkeys(("value", "stderr", "real", "n"), _PLAIN),
    "block": _whole(1).or_null(),
    "t": _NUMBER.or_null(),
    **dict.fromkeys(("related", "note", "part"), _TEXT.or_null()),
    **dict.fromkeys(("protocol", "details", "request"), _OBJECT.or_null()),
}


def check_content(content: object, values: Values) -> None:
    """Raise ValueError that names the first value not of its kind;
    keys without a kind may hold anything.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{content!r:.60} is not a JSON object")
    for key, kind in values.items():
        if not kind.holds(content.get(key)):
            raise ValueError(f"{key} is {content.get(key)!r:.60}, expected {kind.name}")


def read_checked(
    path: Path, values: Values, unmarked: int | None = None, as_written: bool = False
) -> Json:
    """A JSON object of this schema; unmarked: the version of a file that names none; as_written: as
    for `parse_json`.

    Raises OSError, NewerSchema or another ValueError.
    """
    content = parse_json(path.read_text(encoding="utf-8"), as_written)
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object")
    if (version := content.get("schema_version", unmarked)) != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        message = f"has schema version {version}, this program reads {SCHEMA_VERSION}"
        raise (NewerSchema if newer else ValueError)(message)
    check_content(content, values)
    return content
