"""Horizontal bars in parts (cost of an arm) and dots with intervals (effect of an arm), one line an
arm, or an arm and a data set.

    svg = bar_chart(panel, styles)         # a BarPanel of reports.draw.panels
    svg = forest_chart(panel, styles)      # a ForestPanel; of 700 and more wide in columns
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reports.draw.axes import (
    CHARACTER,
    Frame,
    Scale,
    number,
    shortened,
    signed,
    svg_text,
    titled_svg,
)
from reports.draw.markers import draw_marker
from reports.draw.panels import BarPanel, Effect, ForestPanel
from reports.draw.theme import GRID, MUTED, PAPER, ArmStyle

WIDTH, RIGHT, TOP, LINE = 440, 18, 30, 24
WIDE, IN_COLUMNS = 960, 700  # of a forest over the whole page; from where it has columns
STACKED = 36  # high is an arm in a narrow forest, its name over its interval
NAME = 10.5  # letters of a name
LEAST_SIZE = 9.0  # of letters where a name is too long for its room
PART_FILLS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def bar_chart(panel: BarPanel, styles: Mapping[str, ArmStyle], most: float = math.inf) -> str:
    """Stacked bars, at most so wide, a colour a part, the total written at the end; names stand
    beside their bars, or over them where half of the picture has no room for one.
    """
    width, names = min(WIDTH, most), [styles[bar.arm].name for bar in panel.bars]
    left = max(70.0, 14 + _wide(names, NAME))
    over = left > width * 0.5
    left, line = (14.0, LINE + 12.0) if over else (left, float(LINE))
    bottom = TOP + 22 + line * len(panel.bars)
    longest = max((sum(bar.values) for bar in panel.bars), default=0.0) or 1.0
    frame = Frame(
        Scale(0.0, longest * 1.22, left, width - RIGHT), Scale(0.0, 1.0, bottom, TOP + 22)
    )
    body = _frame(frame, panel.x.label, left, width)
    # the key of the parts, in a row over the bars
    widths = [26 + len(part) * 10 * CHARACTER for part in panel.parts]
    x = min(left, width - RIGHT - sum(widths))
    for part, room, colour in zip(panel.parts, widths, PART_FILLS, strict=False):
        body.append(f'<rect x="{x:.1f}" y="{TOP - 3}" width="10" height="10" fill="{colour}"/>')
        body.append(svg_text(x + 14, TOP + 6, part, "start", 10, "muted"))
        x += room
    # the bars
    for index, (bar, name) in enumerate(zip(panel.bars, names, strict=True)):
        y, start, drawn = TOP + 22 + line * (index + 1) - LINE + 4, 0.0, []
        for value, part, colour in zip(bar.values, panel.parts, PART_FILLS, strict=False):
            long = frame.x(start + value) - frame.x(start)
            box = f'x="{frame.x(start):.1f}" y="{y:g}" width="{long:.1f}" height="{LINE - 8}"'
            tip = f"{styles[bar.arm].name}, {part}: {number(value, 4)}"
            drawn.append(f'<rect {box} fill="{colour}"><title>{escape(tip)}</title></rect>')
            start += value
        name = shortened(name, (width if over else left) - 8, NAME)
        place = (14.0, y - 4, name, "start") if over else (left - 6, y + 12, name, "end")
        drawn.append(svg_text(*place, NAME, "ink"))
        drawn.append(svg_text(frame.x(start) + 5, y + 12, number(start), "start", 10, "muted"))
        body.append(f'<g data-arm="{styles[bar.arm].key}">{"".join(drawn)}</g>')
    return titled_svg(width, bottom + 42, panel.title, 14, body)


def forest_chart(panel: ForestPanel, styles: Mapping[str, ArmStyle], width: float = WIDTH) -> str:
    """Differences with intervals around a zero line; the grey band is the noise floor. Each arm has
    its value in words: in columns, or over its interval where the picture is narrow.
    """
    columns, size = width >= IN_COLUMNS, 12.0 if width >= IN_COLUMNS else NAME
    texts = [_words(one, panel.unit) for one in panel.effects]
    # where the plot is: between the columns, or across the whole picture
    left, right, line = 14.0, width - RIGHT, float(STACKED)
    names = _names(panel.effects, styles)
    seeds = ["" if one.n is None else f"{one.n}" for one in panel.effects]
    if not columns:
        texts = [f"{text}, n={n}" if n else text for text, n in zip(texts, seeds, strict=True)]
    over = not columns and _wide(names, size) + _wide(texts, size) > width - 14 - RIGHT - 8
    above = 12.0 * over  # a name over the words of its arm
    line += above
    if columns:
        left = min(width * 0.4, max(120.0, 22 + _wide(names, size)))
        right = width - 60 - _wide(texts, size)
        line = 30.0
    top = TOP + (24 if panel.reference[0] or columns else 6)
    bottom = top + line * len(panel.effects)
    ends = [
        value
        for one in panel.effects
        for value in (one.value, one.low, one.high)
        if value is not None
    ]
    floor = panel.floor or 0.0
    frame = Frame(
        Scale.around([*ends, 0.0, -floor, floor], left, right, margin=0.06),
        Scale(0.0, 1.0, bottom, top),
    )
    body = _frame(frame, panel.x.label, left, width)
    # the noise floor, and zero with the name of what is there
    if floor and frame.x.holds(floor):
        wide = frame.x(floor) - frame.x(-floor)
        band = f'x="{frame.x(-floor):.1f}" y="{top}" width="{wide:.1f}" height="{bottom - top}"'
        tip = f"<title>one run scatters by ± {number(floor)} {panel.unit}</title>"
        body.append(f'<rect {band} class="band" fill="{MUTED}" opacity="0.16">{tip}</rect>')
    look = f'class="axis" stroke="{MUTED}" stroke-width="1.4"'
    body.append(f'<path d="M{frame.x(0):.1f} {top}V{bottom}" {look}/>')
    arm, said = panel.reference
    if arm:
        label = " ".join(filter(None, (styles[arm].name if arm in styles else arm, said)))
        half = len(label) * 10 * CHARACTER / 2
        at = min(max(frame.x(0), 14 + half), width - RIGHT - half)
        body.append(svg_text(at, top - 6, label, "middle", 10, "muted"))
    if columns:
        body.append(svg_text(width - 48, top - 6, "change, 95 % interval", "end", 10, "muted"))
        body.append(svg_text(width - RIGHT, top - 6, "n", "end", 10, "muted"))
    room = left - 22 if columns else width - 28
    letters = _letters(names, room, size)
    # the arms; words over the plot stand on a strip of their own
    for index, (one, full) in enumerate(zip(panel.effects, names, strict=True)):
        style, text, n = styles[one.arm], texts[index], seeds[index]
        y = top + line * (index + 0.5) if columns else top + line * (index + 1) - 10
        foot = y + 4 if columns else y - 11
        name = shortened(full, room, letters)
        drawn = [svg_text(14, foot - above, name, "start", letters, "ink")]
        end = width - (48 if columns else RIGHT)
        drawn.append(svg_text(end, foot, text, "end", size, "ink"))
        if columns:
            drawn.append(svg_text(width - RIGHT, foot, n, "end", size, "muted"))
        drawn += _interval(frame, one.low, one.high, y, style)
        tip = f"{full}: {one.note}"
        drawn.append(draw_marker(style, frame.x(one.value), y, tip, 5.0, related=one.related))
        if not columns:
            strip = f'y="{foot - 11 - above:.1f}" width="{width:.1f}" height="{15 + above:g}"'
            body.append(f'<rect x="0" {strip} class="paper" fill="{PAPER}"/>')
        body.append(f'<g data-arm="{style.key}">{"".join(drawn)}</g>')
    return titled_svg(width, bottom + 42, panel.title, 14, body, panel.note)


def _names(effects: Sequence[Effect], styles: Mapping[str, ArmStyle]) -> list[str]:
    """The arms, or the data sets of a single arm, or both."""
    alone = len({one.arm for one in effects}) == 1
    names = [styles[one.arm].name for one in effects]
    found = zip(effects, names, strict=True)
    return [(one.on if alone else f"{name} on {one.on}") if one.on else name for one, name in found]


def _words(one: Effect, unit: str) -> str:
    """ "-8.4 % (-25.1 to +12.1)" """
    digits = 1 if max(abs(one.value), abs(one.low or 0.0), abs(one.high or 0.0)) >= 1 else 2
    text = f"{signed(one.value, digits)} {unit}"
    if one.low is None or one.high is None:
        return text
    return f"{text} ({signed(one.low, digits)} to {signed(one.high, digits)})"


def _interval(
    frame: Frame, low: float | None, high: float | None, y: float, style: ArmStyle
) -> list[str]:
    if low is None or high is None:
        return []
    path = f"M{frame.x(low):.1f} {y:.1f}H{frame.x(high):.1f}"
    look = f'class="stroke-{style.key}" stroke="{style.colour}" stroke-width="2.2"'
    return [f'<path d="{path}" {look}/>']


def _wide(texts: Iterable[str], size: float) -> float:
    """Of the longest."""
    return max((len(text) for text in texts), default=0) * size * CHARACTER


def _letters(names: Iterable[str], room: float, size: float) -> float:
    """Their size, smaller where a name is too long for its room."""
    longest = max((len(name) for name in names), default=1)
    return max(LEAST_SIZE, min(size, room / (CHARACTER * longest)))


def _frame(frame: Frame, label: str, left: float, width: float = WIDTH) -> list[str]:
    bottom, top = frame.y.start, frame.y.end
    body = []
    for tick, name in frame.x.ticks(5):
        x = frame.x(tick)
        look = f'class="grid" stroke="{GRID}" stroke-width="1"'
        body.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" {look}/>')
        body.append(svg_text(x, bottom + 15, name, "middle", 10, "muted"))
    # under the middle of the axis, or as near to it as the edge allows where long names leave a
    # short axis
    middle = min((left + frame.x.end) / 2, width - 4 - len(label) * 11 * CHARACTER / 2)
    body.append(svg_text(middle, bottom + 33, label, "middle", 11))
    return body
