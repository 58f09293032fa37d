"""JSON that a failing disk, an editor or somebody else may have written, and texts of it on a
terminal or a page: what cannot be used is a ValueError in words, and nothing else is raised.

    parse_json('{"seed": 1e308}')          # {"seed": inf}: no number of a run is so large
    parse_json("[" * 200_000)              # ValueError
    printable("\\x1b[31mred")               # "\\\\x1b[31mred"
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

# No count, time, FLOPs or distance of a run is larger, and sums of its squares stay numbers.
LARGEST = 1e100
LARGEST_WHOLE = 2**63
DEEPEST = 50  # lists and objects inside each other
# What moves a terminal's cursor, changes its title or the order of letters, or has no UTF-8; a line
# feed and a tab are harmless.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with what a terminal or a page would obey, or could not show, written as an escape:
    \\x1b, \\ud800.
    """
    return _HARMFUL.sub(lambda found: repr(found[0])[1:-1], text)


def parse_json(text: str, as_written: bool = False) -> Any:
    """What JSON says, its texts `printable`; numbers beyond `LARGEST` are infinite, as 1e400 is.

    as_written: texts as they are, for paths that need not be UTF-8. Raises ValueError where it is
    no JSON, or one too deep to be worked with.
    """
    try:
        content = json.loads(text, parse_int=_whole, parse_float=_number)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check_depth(content)
    # texts without an escape are what stands in the file: looked through at once
    if as_written or ("\\" not in text and _HARMFUL.search(text) is None):
        return content
    return _shown(content)


def _whole(text: str) -> int | float:
    # by its digits: reading 10^400 costs time that grows with their square
    if len(text) < 20 and abs(value := int(text)) < LARGEST_WHOLE:
        return value
    return -math.inf if text.startswith("-") else math.inf


def _number(text: str) -> float:
    value = float(text)
    return value if abs(value) <= LARGEST else math.copysign(math.inf, value)


def _check_depth(content: object) -> None:
    level = [content]
    for _ in range(DEEPEST):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise ValueError(_too_deep())


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _too_deep() -> str:
    return f"is damaged (lists or objects inside each other, more than {DEEPEST} deep)"


def _shown(content: object) -> object:
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {printable(key): _shown(value) for key, value in content.items()}
    return [_shown(value) for value in content] if isinstance(content, list) else content
