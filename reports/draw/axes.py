"""Axes of the figures: limits, ticks, tick labels and the frame that every chart is drawn into.

Figures are SVG written as text: a few kilobytes each, the same bytes every time, one group for each
arm that the page's legend can switch, and class names through which the page recolours ink and grid
in the dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeGuard, overload

from reports.draw.theme import GRID, INK, MUTED

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
CHARACTER = 0.6  # mean width of a character of that font, in units of the font size
NOTE = 10
TITLE = 12.5  # font size of a title; half a point is for its weight


def svg_text(
    x: float,
    y: float,
    content: str,
    anchor: str = "middle",
    size: float = 11,
    kind: str = "ink",
    extra: str = "",
) -> str:
    """One SVG text element; kind: "ink" or "muted", or these and other classes."""
    colour = INK if kind.startswith("ink") else MUTED
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}"'
    return f'<text {place} class="{kind}" fill="{colour}" {extra}>{escape(content)}</text>'


def shortened(content: str, width: float, size: float) -> str:
    """The text, cut with an ellipsis where it would be wider than `width`."""
    most = max(1, int(width / (CHARACTER * size)))
    return content if len(content) <= most else content[: most - 1] + "…"


def svg(width: float, height: float, label: str, body: Sequence[str]) -> str:
    """The whole picture; label is read out by screen readers."""
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    names = f'role="img" aria-label="{escape(label)}" font-family="{FONT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {names}>'
    return head + "".join(body) + "</svg>"


def _lines(title: str, most: int) -> list[str]:
    """The title in lines of `most` characters, ended after a space, comma, slash or bracket where
    there is one.
    """
    lines = [""]
    for piece in re.findall(rf".{{1,{most - 1}}}?(?:[ ,/(]|$)|.{{{most}}}", title):
        if len(lines[-1]) + len(piece.rstrip()) > most:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def titled_svg(
    width: float, height: float, title: str, left: float, body: Sequence[str], note: str = ""
) -> str:
    """The whole picture of a panel under title and note, which start at `left`; more than a line of
    either moves the body down.
    """
    title, note = (" ".join(words.split()) for words in (title, note))  # a name may hold newlines
    lines = _lines(title, int((width - left) / (CHARACTER * TITLE)))
    notes = _lines(note, int((width - left) / (CHARACTER * NOTE)))
    bold = 'font-weight="bold"'
    drawn = [
        svg_text(left, 15 + 14 * index, line, "start", 12, "ink", bold)
        for index, line in enumerate(lines)
    ]
    below = 15 + 14 * len(lines)
    drawn += [
        svg_text(left, below + 12 * index, line, "start", NOTE, "muted")
        for index, line in enumerate(notes)
        if note
    ]
    if more := 14 * (len(lines) - 1) + 12 * (len(notes) - 1):
        body = [f'<g transform="translate(0 {more})">', *body, "</g>"]
    return svg(width, height + more, title, [*drawn, *body])


PREFIXES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


@overload
def rounded(value: float) -> float: ...
@overload
def rounded(value: None) -> None: ...
def rounded(value: float | None) -> float | None:
    """To six significant digits: the last bits of a sum or a fit differ between processors."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def number(value: float | None, digits: int = 3) -> str:
    """A number for a reader: significant digits, thousands as k, M, G, T, P, E, tiny ones as powers
    of ten.
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e4 <= size < 1e21:
        letter, unit = next((letter, unit) for letter, unit in PREFIXES if size >= unit)
        return (
            f"{value / unit:.{digits}g}{letter}"
            if size / unit < 999.5
            else f"{value / unit:.0f}{letter}"
        )
    if 1e-4 <= size < 1e4:
        decimals = max(0, digits - 1 - math.floor(math.log10(size)))
        return f"{value:.{decimals}f}"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def signed(value: float, digits: int = 1, sign: str = "+") -> str:
    """A change with its sign: "+8.4", "-0.37", "+2.3M". What would be rounded to zero has up to two
    more digits, "-0.03", as an interval that ends there leaves zero out; the rest is "0".

    sign: "" for a size, which has none.
    """
    if abs(value) >= 1e4 or not math.isfinite(value):
        return f"{'-' if value < 0 else sign}{number(abs(value))}"
    texts = (f"{value:{sign}.{more}f}" for more in range(digits, digits + 3))
    return next((text for text in texts if float(text)), "0")


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def tick_label(value: float, step: float | None = None) -> str:
    """Ticks are round numbers: as many decimals as the step needs, powers of ten beyond 10^10 and
    below 10^-3.
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e10 or size < 1e-3:
        exponent = math.floor(math.log10(size) + 1e-9)
        mantissa = value / 10.0**exponent
        power = "10" + str(exponent).translate(SUPERSCRIPTS)
        return power if abs(mantissa - 1) < 1e-6 else f"{mantissa:.4g}·{power}"
    for letter, unit in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if size >= unit * (10 if unit == 1e3 else 1):
            return f"{value / unit:.4g}{letter}"
    decimals = 0 if step is None else max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{decimals}f}" if step is not None else f"{value:.4g}"


def linear_ticks(low: float, high: float, most: int = 6) -> tuple[list[float], float]:
    """Round numbers between low and high, at most `most`, and their step."""
    span = (high - low) or abs(low) or 1.0
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)], step


MOST_DRAWN = 1e130  # that is drawn: an axis has a margin, and a margin has a logarithm
SHORT = 8.0  # a logarithmic axis over a smaller factor is labelled like a linear one


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Powers of ten, or 1-2-5 where the range is short, or plain round numbers where it is shorter
    still.
    """
    if high / low < SHORT:
        return [tick for tick in linear_ticks(low, high, most)[0] if tick > 0]
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def _drawable(value: float, log: bool) -> bool:
    return abs(value) <= MOST_DRAWN and (value >= 1 / MOST_DRAWN or not log)


@dataclass(frozen=True)
class Scale:
    """Data to a position between start and end; `log`: a logarithmic axis (positive data only)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def around(
        cls,
        values: Sequence[float],
        start: float,
        end: float,
        log: bool = False,
        margin: float = 0.06,
        most: float = math.inf,
    ) -> Scale:
        """A scale that holds all finite values with a margin, which ends at `most`; a single value
        gets a range.
        """
        finite = [value for value in values if _drawable(value, log)] or [1.0]
        low, high = (
            (math.log10(min(finite)), math.log10(max(finite)))
            if log
            else (min(finite), max(finite))
        )
        pad = (high - low) * margin or (0.1 if log else abs(high) * 0.1 or 1.0)
        low, high = low - pad, max(high, min(high + pad, most))
        return cls(10.0**low, 10.0**high, start, end, True) if log else cls(low, high, start, end)

    def __call__(self, value: float) -> float:
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def holds(self, value: float | None) -> TypeGuard[float]:
        """Whether the value can be drawn."""
        return value is not None and _drawable(value, self.log)

    def ticks(self, most: int = 7) -> list[tuple[float, str]]:
        """Positions in data and their labels."""
        if self.log and self.high / self.low >= SHORT:
            return [(tick, tick_label(tick)) for tick in log_ticks(self.low, self.high, most)]
        ticks, step = linear_ticks(self.low, self.high, most)
        return [(tick, tick_label(tick, step)) for tick in ticks if tick > 0 or not self.log]


@dataclass(frozen=True)
class Frame:
    """The plotting area of a chart: its two scales and what is drawn around them."""

    x: Scale
    y: Scale

    def draw(
        self, x_label: str, y_label: str, x_ticks: Sequence[tuple[float, str]] = ()
    ) -> list[str]:
        """Grid lines, tick labels, axis labels with units; x_ticks replace the chosen ones."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        grid, axis = (
            f'class="{name}" stroke="{colour}" stroke-width="1"/>'
            for name, colour in (("grid", GRID), ("axis", MUTED))
        )
        parts = []
        # ticks of y with their grid lines, ticks of x, and the line under them
        for tick, label in self.y.ticks():
            y = self.y(tick)
            parts.append(f'<path d="M{left:.1f} {y:.1f}H{right:.1f}" {grid}')
            parts.append(svg_text(left - 6, y + 3.6, label, "end", 10, "muted"))
        for tick, label in x_ticks or self.x.ticks():
            x = self.x(tick)
            parts.append(f'<path d="M{x:.1f} {bottom:.1f}v4" {axis}')
            parts.append(svg_text(x, bottom + 16, label, "middle", 10, "muted"))
        parts.append(f'<path d="M{left:.1f} {bottom:.1f}H{right:.1f}" {axis}')
        # labels
        parts.append(svg_text((left + right) / 2, bottom + 33, x_label, "middle", 11))
        middle = (top + bottom) / 2
        turned = f'transform="rotate(-90 13 {middle:.1f})"'
        # along the axis and a little of what is over and under it
        size = max(8.0, min(11.0, (bottom - top + 60) / (CHARACTER * max(1, len(y_label)))))
        parts.append(svg_text(13, middle, y_label, "middle", rounded(size), "ink", turned))
        return parts
