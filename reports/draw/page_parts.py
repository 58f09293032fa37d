"""The page itself as plain typed data: answers, verdicts, sections of figures and tables, what is
missing. Its figures are in reports.draw.panels, its tables in reports.draw.table.

    page.figures, page.tables       # all of them, in reading order
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.draw.panels import Figure
from reports.draw.table import Table
from reports.draw.theme import ArmStyle


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
class Answer:
    """What the runs say to a question, in words for whoever has not read the documentation; link:
    the file of a page that says more.
    """

    question: str
    sentence: str
    link: str = ""


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
    """A part of a page; id: what a link to it is called."""

    id: str
    title: str
    question: str
    figures: list[Figure]
    tables: list[Table]


@dataclass(frozen=True)
class Page:
    """First screen: answers, the figure that shows them (lead) and its table (headline). Then
    sections and verdicts, and in the appendix all numbers, what is missing, files that were left
    out (problems) and what the runs were. terms: words that need explaining, and what they mean.
    """

    kind: str
    title: str
    question: str
    study: str
    summary: str
    notices: Sequence[str]
    warnings: Sequence[str]
    arms: Sequence[ArmStyle]
    answers: Sequence[Answer]
    lead: Figure | None
    headline: Table | None
    sections: Sequence[Section]
    verdicts: Sequence[VerdictEntry]
    untested: Sequence[Untested]
    verdicts_note: str
    numbers: Sequence[Table]
    missing: Sequence[Missing]
    problems: Sequence[str]
    appendix: Sequence[Table]
    terms: Mapping[str, str]

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
        headline = [self.headline] if self.headline else []
        return [*headline, *own, *self.numbers, *self.appendix]
