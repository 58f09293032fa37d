"""Builders of figures: from result rows to plain data that the page,
the PDF and the CSV all draw from.

    figure = {"id", "title", "caption", "panels": [...], "folded": False}

A panel is described where it is drawn: `reports.draw.line_chart`, `reports.draw.heat_map`,
`reports.draw.bar_chart`; a picture is {"kind": "image", "title", "png": base64, "alt", "arm"}. A
builder returns a list, empty when there is nothing to show; a folded figure is behind a click on
the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Figure = dict[str, Any]
Place = tuple[str, str]  # data set, size
MOST_PANELS = 24  # of a figure that are drawn; an export writes all


def figure(
    name: str, title: str, caption: str, panels: list[dict[str, Any]], folded: bool = False
) -> list[Figure]:
    """Panels as one figure."""
    return (
        [{"id": name, "title": title, "caption": caption, "panels": panels, "folded": folded}]
        if panels
        else []
    )


def by_place(
    name: str,
    title: str,
    caption: str,
    panels: Iterable[tuple[Place, dict[str, Any]]],
    order: Iterable[Place],
) -> list[Figure]:
    """A figure for each data set and size, in that order; the first, named like the whole,
    is open.
    """
    own: dict[Place, list[dict[str, Any]]] = {}
    for place, panel in panels:
        own.setdefault(place, []).append(panel)
    figures: list[Figure] = []
    for data, size in order:
        unlike = f"{name}-{data}-{size}" if figures else name
        figures += figure(
            unlike,
            f"{title}: {data} · {size}",
            caption,
            own.get((data, size), []),
            folded=bool(figures),
        )
    return figures


def drawn(figure: Figure) -> Figure:
    """The figure as a page holds it: the first `MOST_PANELS` panels,
    with a word about the others.
    """
    panels = figure["panels"]
    if len(panels) <= MOST_PANELS:
        return figure
    more = f" Shown are {MOST_PANELS} of {len(panels)} panels; --export DIR writes all of them."
    return figure | {"caption": figure["caption"] + more, "panels": panels[:MOST_PANELS]}
