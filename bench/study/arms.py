"""What a study file asks for, once it was found sound: arms with axes taken apart, words by size.

>>> expand({"repa": ("method=repa",)}, {"encoder": ["local_s", "local_m"]})
{"repa, encoder=local_s": ("method=repa", "encoder=local_s"), "repa, encoder=local_m": ...}
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from bench.config.words import split_word
from bench.core.store.files import Json

Arms = dict[str, tuple[str, ...]]
Sizes = list[str] | dict[str, list[str]]  # names, or {name: words}


def arms_of(content: Json, here: Json) -> Arms:
    """{arm: its words} on a data set, `here` its part of the content of a file."""
    arms = content.get("arms", {}) | here.get("arms", {})
    axes = content.get("axes", {}) | here.get("axes", {})
    return expand({arm: tuple(words) for arm, words in arms.items()}, axes)


def expand(arms: Arms, axes: Mapping[str, Sequence[object]]) -> Arms:
    """Every arm with every combination of the axes' values: "repa, encoder=local_s";
    an axis wins over the arm.
    """
    arms = arms or {"": ()}
    words = [[f"{key}={text(value)}" for value in values] for key, values in axes.items()]
    return {
        ", ".join(filter(None, [arm, *combination])): (*own, *combination)
        for arm, own in arms.items()
        for combination in itertools.product(*words)
    }


def matches_of(content: Json, here: Json) -> tuple[str, ...]:
    """Of "images" and "flops", what the arms are given alike on a data set."""
    said = here.get("match", content.get("match", "images"))
    return (said,) if isinstance(said, str) else tuple(said)


def words_of_sizes(sizes: Sizes) -> dict[str, list[str]]:
    """{size: its words} of `sizes`, {} where it is a list of names."""
    return sizes if isinstance(sizes, dict) else {}


def keys_of(words: Iterable[str]) -> list[str]:
    """The keys of KEY=VALUE words, in their order."""
    return [split_word(word)[0] for word in words]


def text(value: object) -> str:
    """A value of YAML as a word of the command line has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
