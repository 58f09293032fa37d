"""What a key of a command takes: a kind with its help line, its default and what it refuses.

    size = Whole("side of the cropped pictures", default=256, least=8)
    size.read("size", "64")        # 64
    size.read("size", "many")      # ValueError: size=many is not a whole number of at least 8

`bench.cli` reads a command line with them and prints its help page from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.config.schema import nearest
from bench.config.words import ImageCount, image_count
from bench.core.ranges import check_range

_SHORT = 48  # characters that choices may take behind the key; more are named in its line


@dataclass(frozen=True, kw_only=True)
class Key:
    """A kind of value. help: what the key says; default: the value where it is left out, with None
    `help` says what happens then; shape: how a value is written on the help page.
    """

    help: str = field(kw_only=False)
    default: object = None
    required: bool = False
    shape: str = "NAME"

    def read(self, key: str, text: str) -> object:
        """The value that is written. Raises ValueError that names key and value."""
        return text

    def has(self, text: str) -> bool:
        """Whether it is one of the names that the key chooses among."""
        return False

    def values(self) -> str:
        """How a value is written: DIR, N, true|false; of names all."""
        return self.shape

    def written(self) -> str:
        """The same, short."""
        return self.values() if len(self.values()) <= _SHORT else self.shape

    def line(self) -> str:
        """The key's line on the help page, with the default."""
        if self.required:
            return f"{self.help} (required)"
        default = _text_of(self.default)
        return f"{self.help} (default: {default})" if default else self.help


def _text_of(value: object) -> str:
    """A value as one would write it; nothing for None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


class Text(Key):
    """Any text."""


@dataclass(frozen=True, kw_only=True)
class Choice(Key):
    """One of several names. among: they, or what lists them once they are asked for; unlisted: a
    further one, which no user types.
    """

    among: Sequence[str] | Callable[[], Sequence[str]]
    unlisted: str = ""

    def choices(self) -> Sequence[str]:
        return self.among() if callable(self.among) else self.among

    def has(self, text: str) -> bool:
        return text in self.choices()

    def read(self, key: str, text: str) -> str:
        return text if text and text == self.unlisted else _one_of(key, text, self.choices())

    def values(self) -> str:
        return "|".join(self.choices())

    def line(self) -> str:
        named = self.written() == self.values()
        return super().line() + ("" if named else f": {', '.join(self.choices())}")


def _one_of(key: str, text: str, choices: Sequence[str]) -> str:
    """The text, if it is one of the choices. Raises ValueError with the nearest and all of them."""
    if text not in choices:
        raise ValueError(
            f"{key}={text} is unknown{nearest(text, choices)} (choices: {', '.join(choices)})"
        )
    return text


@dataclass(frozen=True, kw_only=True)
class Flag(Key):
    """true or false; `--key` and `--no-key` say the same."""

    default: object = False

    def read(self, key: str, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError(f"{key}={text} is neither true nor false")
        return text == "true"

    def values(self) -> str:
        return "true|false"


@dataclass(frozen=True, kw_only=True)
class Whole(Key):
    """A whole number of at least `least`, and a multiple of `multiple_of`."""

    least: int = 0
    multiple_of: int = 1
    shape: str = "N"

    def read(self, key: str, text: str) -> int:
        if not text.isdecimal() or int(text) < self.least:
            raise ValueError(f"{key}={text} is not a whole number of at least {self.least}")
        if int(text) % self.multiple_of:
            raise ValueError(f"{key}={text} must be a multiple of {self.multiple_of}")
        return int(text)


@dataclass(frozen=True, kw_only=True)
class Number(Key):
    """A number within an interval as one writes it: "[0, 1)" takes 0 in and leaves 1 out."""

    within: str = "(-inf, inf)"
    shape: str = "X"

    def read(self, key: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            like = "0.998" if self.default is None else self.default
            raise ValueError(f"{key}={text} is not a number: write it like {like}") from None
        check_range(key, value, self.within)
        return value


@dataclass(frozen=True, kw_only=True)
class Grid(Key):
    """At least two numbers above 0: with commas between them, or LOW..HIGH, a factor of 2 apart."""

    default: object = ()
    shape: str = "X,X,...|LOW..HIGH"

    def read(self, key: str, text: str) -> tuple[float, ...]:
        number = Number("", within="(0, inf)", default="1e-3")
        low, dots, high = text.partition("..")
        if not dots:
            values = [number.read(key, part) for part in text.split(",")]
        else:
            start, end = number.read(key, low), number.read(key, high)
            steps = math.floor(math.log2(end / start) + 1e-9)
            values = [start * 2**step for step in range(steps + 1)]
        if len(set(values)) < 2:
            raise ValueError(
                f"{key}={text} makes fewer than two: write at least two, as {key}=1e-3,2e-3, or "
                f"from the lowest to the highest, {key}=1e-3..8e-3"
            )
        return tuple(sorted(set(values)))


@dataclass(frozen=True, kw_only=True)
class Count(Key):
    """How many, as 65536, 64Ki or 1e6."""

    shape: str = "N"

    def read(self, key: str, text: str) -> int:
        count = image_count(key, text)
        if count.of_steps:
            raise ValueError(f"{key}={text}: this counts no steps: write it like 65536, 64Ki, 1e6")
        return count.images(key, batch=1)


@dataclass(frozen=True, kw_only=True)
class ImagesSeen(Key):
    """How many training images, as 64Ki, or as 400Ksteps of a run whose batch its folder says."""

    shape: str = "N"

    def read(self, key: str, text: str) -> ImageCount:
        return image_count(key, text)


@dataclass(frozen=True, kw_only=True)
class Folder(Key):
    """A path of a folder; ~ is the home folder."""

    shape: str = "DIR"

    def read(self, key: str, text: str) -> Path:
        return Path(text).expanduser()


@dataclass(frozen=True, kw_only=True)
class File(Folder):
    """A path of a file; ~ is the home folder."""

    shape: str = "FILE"


@dataclass(frozen=True, kw_only=True)
class Several(Key):
    """Values of one kind, with commas between them, each once."""

    of: Key

    def read(self, key: str, text: str) -> tuple[object, ...]:
        values = tuple(self.of.read(key, part) for part in text.split(","))
        for value, part in zip(values, text.split(","), strict=True):
            if values.count(value) > 1:
                raise ValueError(f"{key}={text} has {part} twice: once is enough")
        return values

    def values(self) -> str:
        return f"{self.of.written()},..."

    def written(self) -> str:
        return self.values()
