"""Horizontal bars in parts (cost of an arm) and dots with intervals (effect of an arm), one line an
arm.

    svg = bar_chart(panel, styles)         # a BarPanel of reports.draw.content
    svg = forest_chart(panel, styles)      # a ForestPanel
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from reports.draw.axes import CHARACTER, Frame, Scale, number, shortened, svg_text, titled_svg
from reports.draw.content import BarPanel, ForestPanel
from reports.draw.line_chart import draw_marker
from reports.draw.theme import GRID, MUTED, ArmStyle

WIDTH, RIGHT, TOP, LINE = 440, 18, 30, 24
PART_FILLS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def _left(labels: Iterable[str]) -> float:
    """Room for the longest label, at most half of the picture."""
    longest = max((len(label) for label in labels), default=0)
    return min(WIDTH * 0.5, max(70.0, 14 + longest * 10.5 * CHARACTER))


def bar_chart(panel: BarPanel, styles: Mapping[str, ArmStyle]) -> str:
    """Stacked bars, a colour a part, the total written at the end."""
    left = _left(bar.arm for bar in panel.bars)
    bottom = TOP + 22 + LINE * len(panel.bars)
    most = max((sum(bar.values) for bar in panel.bars), default=0.0) or 1.0
    frame = Frame(Scale(0.0, most * 1.22, left, WIDTH - RIGHT), Scale(0.0, 1.0, bottom, TOP + 22))
    body = _frame(frame, panel.x.label, left)
    # the key of the parts, in a row over the bars
    widths = [26 + len(part) * 10 * CHARACTER for part in panel.parts]
    x = min(left, WIDTH - RIGHT - sum(widths))
    for part, width, colour in zip(panel.parts, widths, PART_FILLS, strict=False):
        body.append(f'<rect x="{x:.1f}" y="{TOP - 3}" width="10" height="10" fill="{colour}"/>')
        body.append(svg_text(x + 14, TOP + 6, part, "start", 10, "muted"))
        x += width
    # the bars
    for index, bar in enumerate(panel.bars):
        y, start, drawn = TOP + 22 + LINE * index + 4, 0.0, []
        for value, part, colour in zip(bar.values, panel.parts, PART_FILLS, strict=False):
            width = frame.x(start + value) - frame.x(start)
            box = f'x="{frame.x(start):.1f}" y="{y}" width="{width:.1f}" height="{LINE - 8}"'
            tip = f"{bar.arm}, {part}: {number(value, 4)}"
            drawn.append(f'<rect {box} fill="{colour}"><title>{escape(tip)}</title></rect>')
            start += value
        drawn.append(_name(bar.arm, left, y + 12))
        drawn.append(svg_text(frame.x(start) + 5, y + 12, number(start), "start", 10, "muted"))
        body.append(f'<g data-arm="{styles[bar.arm].key}">{"".join(drawn)}</g>')
    return titled_svg(WIDTH, bottom + 42, panel.title, 14, body)


def forest_chart(panel: ForestPanel, styles: Mapping[str, ArmStyle]) -> str:
    """Differences with intervals around a zero line; the grey band is the noise floor."""
    left = _left(one.arm for one in panel.effects)
    top, bottom = TOP + 6, TOP + 6 + LINE * len(panel.effects)
    ends = [
        value
        for one in panel.effects
        for value in (one.value, one.low, one.high)
        if value is not None
    ]
    floor = panel.floor or 0.0
    frame = Frame(
        Scale.around([*ends, 0.0, -floor, floor], left, WIDTH - RIGHT, margin=0.08),
        Scale(0.0, 1.0, bottom, top),
    )
    body = _frame(frame, panel.x.label, left)
    # the noise floor, and zero
    if floor:
        width = frame.x(floor) - frame.x(-floor)
        band = f'x="{frame.x(-floor):.1f}" y="{top}" width="{width:.1f}" height="{bottom - top}"'
        tip = f"<title>noise floor ± {number(floor)}</title>"
        body.append(f'<rect {band} fill="{MUTED}" opacity="0.16">{tip}</rect>')
    line = f'class="axis" stroke="{MUTED}" stroke-width="1.4"'
    body.append(f'<path d="M{frame.x(0):.1f} {top}V{bottom}" {line}/>')
    # the arms
    for index, one in enumerate(panel.effects):
        style, y = styles[one.arm], top + LINE * (index + 0.5)
        drawn = [_name(one.arm, left, y + 4)]
        if one.low is not None and one.high is not None:
            line = f"M{frame.x(one.low):.1f} {y:.1f}H{frame.x(one.high):.1f}"
            look = f'class="stroke-{style.key}" stroke="{style.colour}" stroke-width="2"'
            drawn.append(f'<path d="{line}" {look}/>')
        tip = f"{one.arm}: {one.note}"
        drawn.append(draw_marker(style, frame.x(one.value), y, tip, related=one.related))
        body.append(f'<g data-arm="{style.key}">{"".join(drawn)}</g>')
    return titled_svg(WIDTH, bottom + 42, panel.title, 14, body, panel.note)


def _name(arm: str, left: float, y: float) -> str:
    return svg_text(left - 6, y, shortened(arm, left - 8, 10.5), "end", 10.5, "ink")


def _frame(frame: Frame, label: str, left: float) -> list[str]:
    bottom, top = frame.y.start, frame.y.end
    body = []
    for tick, name in frame.x.ticks(5):
        x = frame.x(tick)
        look = f'class="grid" stroke="{GRID}" stroke-width="1"'
        body.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" {look}/>')
        body.append(svg_text(x, bottom + 15, name, "middle", 10, "muted"))
    # under the middle of the axis, or as near to it as the edge allows where long names leave a
    # short axis
    middle = min((left + WIDTH - RIGHT) / 2, WIDTH - 4 - len(label) * 11 * CHARACTER / 2)
    body.append(svg_text(middle, bottom + 33, label, "middle", 11))
    return body
