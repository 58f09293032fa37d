"""Builders of figures: from result rows to plain data that the page, the PDF and the CSV all draw from.

    figure = {"id", "title", "caption", "panels": [...]}

A panel is described where it is drawn: `reports.line_chart`, `reports.heat_map`, `reports.bar_chart`; a picture is
{"kind": "image", "title", "png": base64, "alt", "arm"}. A builder returns None when there is nothing to show.
"""

from __future__ import annotations

from typing import Any

MOST_PANELS = 12


def figure(name: str, title: str, caption: str, panels: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Put panels together, at most `MOST_PANELS` of them; what is left out is said in the caption."""
    if not panels:
        return None
    if len(panels) > MOST_PANELS:
        caption += f" Shown are {MOST_PANELS} of {len(panels)} panels, those of most runs; the tables hold the others."
    return {"id": name, "title": title, "caption": caption, "panels": panels[:MOST_PANELS]}
