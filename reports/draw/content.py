"""What a page is made of, as plain typed data: panels, figures, sections and the page itself; its
tables are in reports.draw.table.

    [figure] = figures("size", "Distance against size", "Finished runs.", [panel])

Builders (reports.page) make it out of runs; HTML, PDF, SVG and CSV (reports.output) are drawn from
it, so that all of them say the same. Nothing here knows what a run or a metric is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from reports.draw.table import Table
from reports.draw.theme import ArmStyle

MOST_PANELS = 24  # of a figure that are drawn; an export writes all

Place = tuple[str, str]  # data set, size


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
    related: whether the metric is not independent of the arm.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    tip: str = ""
    related: bool | None = None


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
    lines with bands from low to high, beside which the markers of the series are not joined.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    rules: Sequence[Rule] = ()
    note: str = ""
    guides: Sequence[Sequence[tuple[float, float]]] = ()
    curves: Sequence[Series] = ()
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
    """What an arm changes: value and interval in the unit of the panel, and the same in words."""

    arm: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""
    n: int | None = None
    related: bool = False


@dataclass(frozen=True)
class ForestPanel:
    """Dots with intervals around zero, a line an arm; floor: half width of the grey band."""

    title: str
    x: Axis
    effects: Sequence[Effect]
    floor: float | None = None
    note: str = ""
    kind: ClassVar[str] = "forest"


@dataclass(frozen=True)
class ImagePanel:
    """A picture as it is; png: its bytes as base64."""

    arm: str
    title: str
    alt: str
    png: str
    kind: ClassVar[str] = "image"


Chart = LinePanel | HeatPanel | BarPanel | ForestPanel
Panel = Chart | ImagePanel


# Figures ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """Panels under a title and over a caption; a folded one is behind a click on the page."""

    id: str
    title: str
    caption: str
    panels: Sequence[Panel]
    folded: bool = False

    def on_page(self) -> Figure:
        """As a page holds it: the first `MOST_PANELS` panels, with a word about the others."""
        if len(self.panels) <= MOST_PANELS:
            return self
        more = (
            f" Shown are {MOST_PANELS} of {len(self.panels)} panels; "
            "--export DIR writes all of them."
        )
        return replace(self, caption=self.caption + more, panels=self.panels[:MOST_PANELS])


def figures(
    name: str, title: str, caption: str, panels: Sequence[Panel], folded: bool = False
) -> list[Figure]:
    """Panels as one figure, no figure where there is no panel."""
    return [Figure(name, title, caption, panels, folded)] if panels else []


def figures_by_place(
    name: str,
    title: str,
    caption: str,
    panels: Iterable[tuple[Place, Panel]],
    order: Iterable[Place],
    folded: bool = False,
) -> list[Figure]:
    """A figure for each data set and size, in that order; all but the first, which is named like
    the whole, are folded.
    """
    own: dict[Place, list[Panel]] = {}
    for place, panel in panels:
        own.setdefault(place, []).append(panel)
    found: list[Figure] = []
    for data, size in order:
        unlike = f"{name}-{data}-{size}" if found else name
        whole = f"{title}: {data} · {size}"
        found += figures(unlike, whole, caption, own.get((data, size), []), folded or bool(found))
    return found


# Pages --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VerdictEntry:
    """A verdict as a page shows it.

    word: supported, contradicted, not monotone or inconclusive; holm: the same after Holm's
    adjustment for the number of tests of the page; outside: whether the runs are outside the
    claim's range; sentences: the claim, and others of which the same test speaks, each with its
    word; by: what was measured instead of a distance, "" for that; reason: its numbers and why this
    word; short: that and Holm's word; facts: names and values behind a click.
    """

    word: str
    holm: str
    outside: bool
    sentences: Sequence[tuple[str, str]]
    by: str
    reason: str
    short: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Untested:
    """A claim that could not be tested, and why."""

    sentence: str
    reason: str


@dataclass(frozen=True)
class Missing:
    """What a page cannot show, and the command that would fill it, "" where there is none."""

    what: str
    command: str = ""


@dataclass
class Section:
    """A part of a page."""

    title: str
    question: str
    figures: list[Figure]
    tables: list[Table]


@dataclass(frozen=True)
class Page:
    """Verdicts first, the figure that answers the question beside them (lead), then the sections,
    what is missing, files that were left out (problems) and what the runs were (appendix).
    """

    kind: str
    title: str
    question: str
    study: str
    summary: str
    notices: Sequence[str]
    arms: Sequence[ArmStyle]
    verdicts: Sequence[VerdictEntry]
    untested: Sequence[Untested]
    verdicts_note: str
    lead: Figure | None
    sections: Sequence[Section]
    missing: Sequence[Missing]
    problems: Sequence[str]
    appendix: Sequence[Table]

    @property
    def styles(self) -> dict[str, ArmStyle]:
        """How each arm looks."""
        return {style.arm: style for style in self.arms}

    @property
    def figures(self) -> list[Figure]:
        """All figures in reading order."""
        lead = [self.lead] if self.lead else []
        return lead + [figure for section in self.sections for figure in section.figures]

    @property
    def tables(self) -> list[Table]:
        """All tables in reading order."""
        own = [table for section in self.sections for table in section.tables]
        return own + list(self.appendix)
