"""Layer x timestep maps: one number a cell, colours that keep their order without hue.

svg = heat_map(panel, styles)      # a HeatPanel of reports.draw.panels
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from reports.draw.axes import number, signed, svg_text, tick_label, titled_svg
from reports.draw.panels import HeatPanel
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


def heat_map(panel: HeatPanel, styles: Mapping[str, ArmStyle], most: float = math.inf) -> str:
    """The panel as SVG, at most so wide: blocks upwards, noise to the right, numbers in the cells
    where they fit.
    """
    xs, ys, width = panel.x.values, panel.y.values, min(WIDTH, most)
    wide = (width - LEFT - RIGHT) / max(len(xs), 1)
    high = min(34.0, max(9.0, 170 / max(len(ys), 1)))
    bottom = TOP + high * len(ys)
    body = []
    # rows of cells, each with its block
    for row, (block, values) in enumerate(zip(ys, panel.cells, strict=True)):
        y = bottom - (row + 1) * high
        if high >= 12 or row % 2 == 0:
            body.append(svg_text(LEFT - 6, y + high / 2 + 3.5, f"{block:g}", "end", 10, "muted"))
        for column, value in enumerate(values):
            place = f"block {block:g}, t = {xs[column]:g}"
            body.append(_cell(panel, LEFT + column * wide, y, wide, high, value, place))
    # noise levels
    for column, value in enumerate(xs):
        if wide >= 22 or column % 2 == 0:
            x = LEFT + (column + 0.5) * wide
            body.append(svg_text(x, bottom + 14, f"{value:g}", "middle", 10, "muted"))
    # what the axes and the colours mean
    body.append(svg_text((LEFT + width - RIGHT) / 2, bottom + 30, panel.x.label, "middle", 11))
    middle = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 13 {middle:.1f})"'
    body.append(svg_text(13, middle, panel.y.label, "middle", 11, "ink", turned))
    body += _colour_bar(panel, bottom + 40, width - LEFT - RIGHT)
    return titled_svg(width, bottom + 82, panel.title, LEFT - 40, body)


def _anchors(panel: HeatPanel) -> tuple[str, ...]:
    return ORANGE_PURPLE if panel.diverging else VIRIDIS


def _cell(
    panel: HeatPanel, x: float, y: float, width: float, height: float, value: float | None,
    place: str,
) -> str:  # fmt: skip
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width + 0.3:.1f}" height="{height + 0.3:.1f}"'
    if value is None or not math.isfinite(value):
        dashed = f'fill="none" stroke="{MUTED}" stroke-dasharray="2 2"'
        return f"<rect {box} {dashed}><title>{place}: not measured</title></rect>"
    part = (value - panel.low) / ((panel.high - panel.low) or 1.0)
    red, green, blue = colour_at(part, _anchors(panel))
    tip = f"<title>{escape(place)}: {number(value, 4)}</title>"
    drawn = f'<rect {box} fill="#{red:02x}{green:02x}{blue:02x}">{tip}</rect>'
    if width < 34 or height < 14:
        return drawn
    # the number, in what is readable on the colour
    ink = "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else "#111111"
    label = signed(value, 3) if panel.diverging else f"{value:.3f}"
    at = f'x="{x + width / 2:.1f}" y="{y + height / 2 + 3.3:.1f}" text-anchor="middle"'
    look = f'font-size="{9.5 if width >= 38 else 9}" fill="{ink}" pointer-events="none"'
    return f"{drawn}<text {at} {look}>{label}</text>"


def _colour_bar(panel: HeatPanel, y: float, width: float) -> list[str]:
    left, steps = LEFT, 48
    parts = []
    for step in range(steps):
        red, green, blue = colour_at((step + 0.5) / steps, _anchors(panel))
        size = f'width="{width / steps + 0.3:.2f}" height="8"'
        place = f'x="{left + step * width / steps:.1f}" y="{y:.1f}" {size}'
        parts.append(f'<rect {place} fill="#{red:02x}{green:02x}{blue:02x}"/>')
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        value = panel.low + part * (panel.high - panel.low)
        label = tick_label(round(value, 4), 0.001) if value else "0"
        parts.append(svg_text(left + part * width, y + 20, label, anchor, 9.5, "muted"))
    parts.append(svg_text(left + width / 2, y + 33, panel.label, "middle", 10, "muted"))
    return parts
