"""Builders of figures: from result rows to plain data that the page, the PDF and the CSV all draw from.

    figure = {"id", "title", "caption", "panels": [...], "folded": False}

A panel is described where it is drawn: `reports.line_chart`, `reports.heat_map`, `reports.bar_chart`; a picture is
{"kind": "image", "title", "png": base64, "alt", "arm"}. A builder returns a list, empty when there is nothing to show;
a folded figure is behind a click on the page.
"""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]
MOST_PANELS = 12


def figure(name: str, title: str, caption: str, panels: list[dict[str, Any]], folded: bool = False) -> list[Figure]:
    """Panels as one figure, at most `MOST_PANELS` of them; what is left out is said in the caption."""
    if not panels:
        return []
    if len(panels) > MOST_PANELS:
        caption += f" Shown are {MOST_PANELS} of {len(panels)} panels; the tables hold the others."
    return [{"id": name, "title": title, "caption": caption, "panels": panels[:MOST_PANELS], "folded": folded}]
