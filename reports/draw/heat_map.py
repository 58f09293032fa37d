"""Layer x timestep maps: one number a cell, colours that keep their order without hue.

A panel: {"kind": "heat", "title", "x": {"label", "values"}, "y": {"label", "values"}, "cells":
[[...] per y], "low", "high", "diverging": bool, "label": what the colour means, "arm": for the
legend's switch}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from reports.draw.axes import number, text, tick_label, titled_svg
from reports.draw.theme import MUTED, ArmStyle

VIRIDIS = (
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
)
ORANGE_PURPLE = (
    "#7f3b08",
    "#b35806",
    "#e08214",
    "#fdb863",
    "#f7f7f7",
    "#b2abd2",
    "#8073ac",
    "#542788",
    "#2d004b",
)[::-1]
WIDTH, LEFT, RIGHT, TOP = 300, 52, 14, 30


def colour_at(part: float, anchors: tuple[str, ...]) -> tuple[int, int, int]:
    """Red, green, blue in 0..255 at part (0..1) of a scale of colours."""
    place = min(max(part, 0.0), 1.0) * (len(anchors) - 1)
    index = min(int(place), len(anchors) - 2)
    ends = [[int(anchors[index + k][1 + 2 * c : 3 + 2 * c], 16) for c in range(3)] for k in (0, 1)]
    red, green, blue = (round(a + (b - a) * (place - index)) for a, b in zip(*ends, strict=True))
    return red, green, blue


def heat_map(panel: Mapping[str, Any], styles: Mapping[str, ArmStyle]) -> str:
    """The panel as SVG: blocks upwards, noise to the right,
    the number in each cell where it fits.
    """
    xs, ys = panel["x"]["values"], panel["y"]["values"]
    cell_width = (WIDTH - LEFT - RIGHT) / max(len(xs), 1)
    cell_height = min(34.0, max(9.0, 170 / max(len(ys), 1)))
    bottom = TOP + cell_height * len(ys)
    anchors = ORANGE_PURPLE if panel.get("diverging") else VIRIDIS
    low, high = panel["low"], panel["high"]
    span = (high - low) or 1.0
    body = []
    for row, (block, cells) in enumerate(zip(ys, panel["cells"], strict=True)):
        y = bottom - (row + 1) * cell_height
        if cell_height >= 12 or row % 2 == 0:
            body.append(text(LEFT - 6, y + cell_height / 2 + 3.5, f"{block:g}", "end", 10, "muted"))
        for column, value in enumerate(cells):
            body.append(_cell(panel, LEFT + column * cell_width, y, cell_width, cell_height, value,
                              anchors, (value - low) / span if _finite(value) else None,
                              f"block {block:g}, t = {xs[column]:g}"))  # fmt: skip
    for column, value in enumerate(xs):
        if cell_width >= 22 or column % 2 == 0:
            body.append(
                text(
                    LEFT + (column + 0.5) * cell_width,
                    bottom + 14,
                    f"{value:g}",
                    "middle",
                    10,
                    "muted",
                )
            )
    body.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 30, panel["x"]["label"], "middle", 11))
    middle = (TOP + bottom) / 2
    body.append(
        text(
            13,
            middle,
            panel["y"]["label"],
            "middle",
            11,
            "ink",
            f'transform="rotate(-90 13 {middle:.1f})"',
        )
    )
    body += _colour_bar(panel, bottom + 40, anchors)
    return titled_svg(WIDTH, bottom + 82, panel["title"], LEFT - 40, body)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _cell(
    panel: Mapping[str, Any], x: float, y: float, width: float, height: float, value: float | None,
    anchors: tuple[str, ...], part: float | None, place: str,
) -> str:  # fmt: skip
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width + 0.3:.1f}" height="{height + 0.3:.1f}"'
    if part is None:
        dashed = f'fill="none" stroke="{MUTED}" stroke-dasharray="2 2"'
        return f"<rect {box} {dashed}><title>{place}: not measured</title></rect>"
    red, green, blue = colour_at(part, anchors)
    drawn = f'<rect {box} fill="#{red:02x}{green:02x}{blue:02x}"><title>{escape(place)}: {number(value, 4)}</title></rect>'
    if width < 34 or height < 14:
        return drawn
    ink = "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#111111"
    label = f"{value:+.3f}" if panel.get("diverging") else f"{value:.3f}"
    size = 9.5 if width >= 38 else 9
    place_of_text = f'x="{x + width / 2:.1f}" y="{y + height / 2 + 3.3:.1f}" text-anchor="middle" font-size="{size}"'
    return drawn + f'<text {place_of_text} fill="{ink}" pointer-events="none">{label}</text>'


def _colour_bar(panel: Mapping[str, Any], y: float, anchors: tuple[str, ...]) -> list[str]:
    left, width, steps = LEFT, WIDTH - LEFT - RIGHT, 48
    parts = []
    for step in range(steps):
        red, green, blue = colour_at((step + 0.5) / steps, anchors)
        place = f'x="{left + step * width / steps:.1f}" y="{y:.1f}" width="{width / steps + 0.3:.2f}" height="8"'
        parts.append(f'<rect {place} fill="#{red:02x}{green:02x}{blue:02x}"/>')
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        value = panel["low"] + part * (panel["high"] - panel["low"])
        label = tick_label(round(value, 4), 0.001) if value else "0"
        parts.append(text(left + part * width, y + 20, label, anchor, 9.5, "muted"))
    parts.append(text(left + width / 2, y + 33, panel.get("label", ""), "middle", 10, "muted"))
    return parts
