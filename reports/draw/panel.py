"""One place that knows which function draws which kind of panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.draw.bar_chart import bar_chart, forest_chart
from reports.draw.heat_map import heat_map
from reports.draw.line_chart import line_chart
from reports.draw.theme import ArmStyle

CHARTS = {"line": line_chart, "heat": heat_map, "bar": bar_chart, "forest": forest_chart}


def draw_panel(panel: Mapping[str, Any], styles: Mapping[str, ArmStyle]) -> str:
    """SVG of a panel of any kind but "image", which is a picture already."""
    return CHARTS[panel["kind"]](panel, styles)
