"""Panels as pictures: the chart of a panel's kind, an arm's swatch, and a chart that carries its
own legend where it stands alone, outside a page.

    svg = with_legend(draw_panel(panel, styles), ["vanilla", "selfflow"], styles)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from html import unescape

from reports.draw.axes import CHARACTER, shortened, svg, svg_text
from reports.draw.bar_chart import WIDE, WIDTH, bar_chart, forest_chart
from reports.draw.heat_map import heat_map
from reports.draw.line_chart import line_chart
from reports.draw.markers import draw_marker
from reports.draw.panels import BarPanel, Chart, ForestPanel, HeatPanel, LinePanel, Panel
from reports.draw.theme import ArmStyle

SWATCH = 30  # wide; 14 high
LEGEND_LINE = 18
SIZE = 11
SMALLEST, READABLE = 9.0, 5.6  # letters of a chart, in its units; of print, in points


def draw_panel(
    panel: Chart,
    styles: Mapping[str, ArmStyle],
    wide: bool = False,
    printed: float = math.inf,
) -> str:
    """SVG of a panel of any kind but a picture, which is one already; wide: a forest over the whole
    page; printed: points across that it gets on paper, for which it is drawn no wider than letters
    can be read.
    """
    most = printed * SMALLEST / READABLE
    match panel:
        case LinePanel():
            return line_chart(panel, styles, most)
        case HeatPanel():
            return heat_map(panel, styles, most)
        case BarPanel():
            return bar_chart(panel, styles, most)
        case ForestPanel():
            return forest_chart(panel, styles, min(WIDE if wide else WIDTH, most))


def swatch(style: ArmStyle) -> str:
    """Line and marker of an arm as a small picture of its own."""
    size = f'width="{SWATCH}" height="14" viewBox="0 0 {SWATCH} 14"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} aria-hidden="true">{_drawn(style)}</svg>'
    )


def _drawn(style: ArmStyle) -> str:
    dash = f' stroke-dasharray="{style.dash}"' if style.dash else ""
    colour = f'class="stroke-{style.key}" stroke="{style.colour}"'
    line = f'<path d="M0 7H{SWATCH}" {colour} stroke-width="2" fill="none"{dash}/>'
    return line + draw_marker(style, 15, 7, "")


def arms_in_legend(panels: Iterable[Panel]) -> list[str]:
    """Arms that a legend has to name, in order; panels without lines name theirs themselves."""
    lines = (panel for panel in panels if isinstance(panel, LinePanel))
    return list(dict.fromkeys(series.arm for panel in lines for series in panel.series))


def with_legend(drawn: str, arms: Iterable[str], styles: Mapping[str, ArmStyle]) -> str:
    """The figure with the arms named in rows under it; itself, where it has fewer than two."""
    arms = list(arms)
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)".*?aria-label="(.*?)"', drawn, re.DOTALL)
    assert found is not None, "reports.draw.axes.svg made it"
    width, height = float(found[1]), float(found[2])
    if len(arms) < 2:
        return drawn
    entries, x, y = [], 14.0, height
    for arm in arms:
        label = shortened(styles[arm].name, width - 28 - SWATCH, SIZE)
        wide = SWATCH + 5 + CHARACTER * SIZE * len(label) + 14
        if x > 14 and x + wide > width:
            x, y = 14.0, y + LEGEND_LINE
        entry = f'<g transform="translate({x:.1f} {y:.1f})">{_drawn(styles[arm])}</g>'
        entries.append(entry + svg_text(x + SWATCH + 5, y + 11, label, "start", SIZE))
        x += wide
    return svg(width, y + LEGEND_LINE + 4, unescape(found[3]), [drawn, *entries])
