"""Panels and figures as plain typed data, which a page is made of; its tables are in
reports.draw.table, the page around them in reports.draw.page_parts.

    [figure] = figures("size", "Results against size", "Finished runs.", [panel])

Builders (reports.page) make it out of runs; HTML, PDF, SVG and CSV (reports.output) are drawn from
it, so that all of them say the same. Nothing here knows what a run or a metric is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

MOST_PANELS = 60  # of a figure that are drawn; an export writes all

Place = tuple[str, str]  # data set, size
Shown = Mapping[str, str]  # what a panel is of: {"size": "tiny", "metric": "fd_pixels"}


# Panels -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axis:
    """label: with its unit; log: logarithmic; values: ticks instead of round numbers (blocks);
    marks: named places (sizes).
    """

    label: str
    log: bool = False
    values: Sequence[float] = ()
    marks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Point:
    """A place with a whisker from low to high and a tooltip; n: runs that it is the mean of;
    related: whether the metric is not independent of the arm; name: written beside the marker.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    tip: str = ""
    related: bool | None = None
    name: str = ""


@dataclass(frozen=True)
class Series:
    """The points of one arm, from left to right."""

    arm: str
    points: Sequence[Point]
    markers: bool = True


@dataclass(frozen=True)
class Rule:
    """A horizontal line with a band: an arm that the axis does not order, or the real pictures."""

    label: str
    y: float
    low: float | None = None
    high: float | None = None
    arm: str = ""


@dataclass(frozen=True)
class LinePanel:
    """Lines over a numeric axis. guides: thin lines through points of several arms; curves: fitted
    lines with bands from low to high, beside which the markers of the series are not joined; floor:
    a grey band from low to high; beside: whether points at one place of x stand side by side;
    starts: where an arm's line begins late, by what was spent on its encoder before.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    rules: Sequence[Rule] = ()
    note: str = ""
    guides: Sequence[Sequence[tuple[float, float]]] = ()
    curves: Sequence[Series] = ()
    floor: Sequence[Point] = ()
    beside: bool = False
    starts: Sequence[tuple[str, float]] = ()
    kind: ClassVar[str] = "line"


@dataclass(frozen=True)
class HeatPanel:
    """A map of one arm: a number (None: not measured) for each value of y and of x.

    low, high: ends of the colour scale; label: what a colour means; diverging: about zero.
    """

    arm: str
    title: str
    x: Axis
    y: Axis
    cells: Sequence[Sequence[float | None]]
    low: float
    high: float
    label: str = ""
    diverging: bool = False
    kind: ClassVar[str] = "heat"


@dataclass(frozen=True)
class Bar:
    """One arm's bar, a number for each part of the panel."""

    arm: str
    values: Sequence[float]


@dataclass(frozen=True)
class BarPanel:
    """Stacked bars, a line an arm."""

    title: str
    x: Axis
    parts: Sequence[str]
    bars: Sequence[Bar]
    kind: ClassVar[str] = "bar"


@dataclass(frozen=True)
class Effect:
    """What an arm changes: value and interval in the unit of the panel, and the same in words; on:
    the data set, where a panel is of several.
    """

    arm: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    n: int | None = None
    related: bool = False
    on: str = ""


@dataclass(frozen=True)
class ForestPanel:
    """Dots with intervals around zero, a line an arm, or an arm and a data set; floor: half width
    of the grey band; reference: the arm at zero, with its value in words; unit: of the changes.
    """

    title: str
    x: Axis
    effects: Sequence[Effect]
    floor: float | None = None
    reference: tuple[str, str] = ("", "")
    note: str = ""
    unit: str = "%"
    kind: ClassVar[str] = "forest"


@dataclass(frozen=True)
class ImagePanel:
    """A picture as it is; png: its bytes as base64; wav: those of what is heard with it, and apng:
    those of what moves in its place where a page can show that, "" for nothing.
    """

    arm: str
    title: str
    alt: str
    png: str
    wav: str = ""
    apng: str = ""
    kind: ClassVar[str] = "image"


Chart = LinePanel | HeatPanel | BarPanel | ForestPanel
Panel = Chart | ImagePanel


# Figures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """Panels under a title and over a caption; a folded one is behind a click on the page.

    shown: what each panel is of, () where nothing is chosen between them: the page has a selector
    for each key that has several values and shows the panels of one of them; beside: keys of which
    a wide page shows all values side by side.
    """

    id: str
    title: str
    caption: str
    panels: Sequence[Panel]
    folded: bool = False
    shown: Sequence[Shown] = ()
    beside: Sequence[str] = ("metric",)

    def on_page(self) -> Figure:
        """As a page holds it: the first `MOST_PANELS` panels, with a word about the others."""
        if len(self.panels) <= MOST_PANELS:
            return self
        more = (
            f" Shown are {MOST_PANELS} of {len(self.panels)} panels; "
            "--export DIR writes all of them."
        )
        return replace(
            self,
            caption=self.caption + more,
            panels=self.panels[:MOST_PANELS],
            shown=self.shown[:MOST_PANELS],
        )

    @property
    def selectors(self) -> dict[str, list[str]]:
        """What can be chosen, the first of each at first."""
        found: dict[str, list[str]] = {}
        for one in self.shown:
            for key, value in one.items():
                if value not in found.setdefault(key, []):
                    found[key].append(value)
        return {key: values for key, values in found.items() if len(values) > 1}

    def at_first(self) -> list[bool]:
        """Of each panel, whether it is shown before anything is chosen."""
        first = {key: values[0] for key, values in self.selectors.items() if key not in self.beside}
        return [
            all(one.get(key, value) == value for key, value in first.items())
            for one in self.shown or [{}] * len(self.panels)
        ]

    def in_print(self, most: int) -> Figure:
        """With at most so many panels of the first choice alone: paper has no selectors."""
        kept = self.at_first()
        if sum(kept) > most:  # then of one metric
            first = {key: values[0] for key, values in self.selectors.items()}
            shown = zip(kept, self.shown or [{}] * len(kept), strict=True)
            kept = [
                there and all(one.get(key, value) == value for key, value in first.items())
                for there, one in shown
            ]
        chosen = [panel for panel, there in zip(self.panels, kept, strict=True) if there][:most]
        others = [
            f"{key} {', '.join(values[1:])}"
            for key, values in self.selectors.items()
            if key not in self.beside
        ]
        more = f" The HTML page also shows {'; '.join(others)}." if others else ""
        return replace(self, panels=chosen, shown=(), caption=self.caption + more)


def figures(
    name: str, title: str, caption: str, panels: Sequence[Panel], folded: bool = False
) -> list[Figure]:
    """Panels as one figure, no figure where there is no panel."""
    return [Figure(name, title, caption, panels, folded)] if panels else []


def chosen_figures(
    name: str,
    title: str,
    caption: str,
    panels: Iterable[tuple[Place, Shown, Panel]],
    order: Iterable[Place],
    folded: bool = False,
    beside: Sequence[str] = ("metric",),
) -> list[Figure]:
    """One figure of panels that a reader chooses between by place, in that order, and by what else
    is shown; no figure where there is no panel.
    """
    places = {place: index for index, place in enumerate(order)}
    found = sorted((one for one in panels if one[0] in places), key=lambda one: places[one[0]])
    if not found:
        return []
    several = len({data for (data, _), *_ in found}) > 1
    shown = [_of_place(*place, several) | dict(more) for place, more, _ in found]
    return [Figure(name, title, caption, [one[2] for one in found], folded, shown, tuple(beside))]


def _of_place(data: str, size: str, several: bool) -> dict[str, str]:
    """A place as a selector names it: the size, the data set where there are several, or both."""
    if not size:
        return {"data": data}
    return {"size": f"{data} · {size}" if several else size}
