"""Horizontal bars in parts (cost of an arm) and dots with intervals (effect of an arm),
one line an arm.

{"kind": "bar", "title", "x": {"label"}, "parts": ["backbone", ...], "bars": [{"arm", "label", "values": [...]}]}
{"kind": "forest", "title", "x": {"label"}, "zero": "vanilla", "floor": 0.02,
 "rows": [{"arm", "label", "value", "low", "high", "note", "related"}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from reports.draw.axes import CHARACTER, Frame, Scale, fit, number, text, titled_svg
from reports.draw.line_chart import draw_marker
from reports.draw.theme import GRID, MUTED, ArmStyle

WIDTH, RIGHT, TOP, ROW = 440, 18, 30, 24
PART_FILLS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def _left(labels: list[str]) -> float:
    """Room for the longest label, at most half of the picture."""
    longest = max((len(label) for label in labels), default=0)
    return min(WIDTH * 0.5, max(70.0, 14 + longest * 10.5 * CHARACTER))


def bar_chart(panel: Mapping[str, Any], styles: Mapping[str, ArmStyle]) -> str:
    """Stacked bars, a colour a part, the total written at the end."""
    bars, parts = panel["bars"], panel["parts"]
    left = _left([bar["label"] for bar in bars])
    bottom = TOP + 22 + ROW * len(bars)
    most = max((sum(bar["values"]) for bar in bars), default=0.0) or 1.0
    frame = Frame(Scale(0.0, most * 1.22, left, WIDTH - RIGHT), Scale(0.0, 1.0, bottom, TOP + 22))
    body = _frame(frame, panel, left)
    widths = [26 + len(part) * 10 * CHARACTER for part in parts]
    x = min(left, WIDTH - RIGHT - sum(widths))
    for part, width, colour in zip(parts, widths, PART_FILLS, strict=False):
        body.append(f'<rect x="{x:.1f}" y="{TOP - 3}" width="10" height="10" fill="{colour}"/>')
        body.append(text(x + 14, TOP + 6, part, "start", 10, "muted"))
        x += width
    for index, bar in enumerate(bars):
        y, start, drawn = TOP + 22 + ROW * index + 4, 0.0, []
        for value, part, colour in zip(bar["values"], parts, PART_FILLS, strict=False):
            width = frame.x(start + value) - frame.x(start)
            box = f'x="{frame.x(start):.1f}" y="{y}" width="{width:.1f}" height="{ROW - 8}"'
            tip = f"{bar['label']}, {part}: {number(value, 4)}"
            drawn.append(f'<rect {box} fill="{colour}"><title>{escape(tip)}</title></rect>')
            start += value
        drawn.append(text(left - 6, y + 12, fit(bar["label"], left - 8, 10.5), "end", 10.5, "ink"))
        drawn.append(text(frame.x(start) + 5, y + 12, number(start), "start", 10, "muted"))
        body.append(f'<g data-arm="{styles[bar["arm"]].key}">{"".join(drawn)}</g>')
    return titled_svg(WIDTH, bottom + 42, panel["title"], 14, body, panel.get("note", ""))


def forest_chart(panel: Mapping[str, Any], styles: Mapping[str, ArmStyle]) -> str:
    """Differences with intervals around a zero line; the grey band is the noise floor."""
    rows = panel["rows"]
    left = _left([row["label"] for row in rows])
    bottom = TOP + 6 + ROW * len(rows)
    ends = [
        value
        for row in rows
        for value in (row["value"], row["low"], row["high"])
        if value is not None
    ]
    floor = panel.get("floor") or 0.0
    frame = Frame(
        Scale.around([*ends, 0.0, -floor, floor], left, WIDTH - RIGHT, margin=0.08),
        Scale(0.0, 1.0, bottom, TOP + 6),
    )
    body = _frame(frame, panel, left)
    if floor:
        width = frame.x(floor) - frame.x(-floor)
        band = f'x="{frame.x(-floor):.1f}" y="{TOP + 6}" width="{width:.1f}" height="{bottom - TOP - 6}"'
        body.append(
            f'<rect {band} fill="{MUTED}" opacity="0.16"><title>noise floor ± {number(floor)}</title></rect>'
        )
    body.append(
        f'<path d="M{frame.x(0):.1f} {TOP + 6}V{bottom}" class="axis" stroke="{MUTED}" stroke-width="1.4"/>'
    )
    for index, row in enumerate(rows):
        style, y = styles[row["arm"]], TOP + 6 + ROW * (index + 0.5)
        drawn = [text(left - 6, y + 4, fit(row["label"], left - 8, 10.5), "end", 10.5, "ink")]
        if row["value"] is not None:
            if row["low"] is not None and row["high"] is not None:
                line = f"M{frame.x(row['low']):.1f} {y:.1f}H{frame.x(row['high']):.1f}"
                drawn.append(
                    f'<path d="{line}" class="stroke-{style.key}" stroke="{style.colour}" stroke-width="2"/>'
                )
            tip = f"{row['label']}: {row['note']}"
            drawn.append(
                draw_marker(style, frame.x(row["value"]), y, tip, related=row.get("related", False))
            )
        body.append(f'<g data-arm="{style.key}">{"".join(drawn)}</g>')
    return titled_svg(WIDTH, bottom + 42, panel["title"], 14, body, panel.get("note", ""))


def _frame(frame: Frame, panel: Mapping[str, Any], left: float) -> list[str]:
    bottom, top = frame.y.start, frame.y.end
    body = []
    for tick, label in frame.x.ticks(5):
        x = frame.x(tick)
        body.append(
            f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" class="grid" stroke="{GRID}" stroke-width="1"/>'
        )
        body.append(text(x, bottom + 15, label, "middle", 10, "muted"))
    label = panel["x"]["label"]
    # under the middle of the axis, or as near to it as the edge allows where long names leave a
    # short axis
    middle = min((left + WIDTH - RIGHT) / 2, WIDTH - 4 - len(label) * 11 * CHARACTER / 2)
    body.append(text(middle, bottom + 33, label, "middle", 11))
    return body
