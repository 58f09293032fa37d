"""Tables as typed data: headings and cells that the page sorts, the PDF prints and the CSV holds.

heads = columns("arm", "#n")      # a leading # marks a column of numbers
table = Table("seeds", "Seeds", "", heads, [[arm_cell("vanilla"), cell(3)]])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.draw.axes import number, rounded

EMPTY = ("", "–")  # how a cell without a value reads
BEST, SECOND = "best", "second"


@dataclass(frozen=True)
class Cell:
    """text: what is read; sort: what it is sorted by, None last; arm: the one it names, or "";
    mark: BEST or SECOND of its column, as papers print them bold and underlined.
    """

    text: str
    sort: str | float | None
    arm: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """A heading; number: whether the cells under it are numbers."""

    label: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Headings and rows of as many cells; note stands under the title."""

    id: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def without_common_columns(self) -> Table:
        """Without columns in which all of several rows say the same; the note then says it once."""
        if len(self.rows) < 2:
            return self
        texts = [[one.text for one in column] for column in zip(*self.rows, strict=True)]
        kept = [
            index
            for index, column in enumerate(texts)
            if self.rows[0][index].arm or len(set(column)) > 1
        ]
        common = [
            f"{head.label} {column[0]}"
            for index, (head, column) in enumerate(zip(self.columns, texts, strict=True))
            if index not in kept and column[0] not in EMPTY
        ]
        note = f"{self.note} The same for all: {', '.join(common)}." if common else self.note
        return replace(self._of_columns(kept), note=note.strip())

    def without_empty_columns(self) -> Table:
        """Without columns in which no row says anything."""
        kept = [
            index
            for index in range(len(self.columns))
            if any(row[index].text not in EMPTY for row in self.rows)
        ]
        return self._of_columns(kept)

    def without_column(self, index: int) -> Table:
        """Without one of its columns."""
        return self._of_columns([i for i in range(len(self.columns)) if i != index])

    def _of_columns(self, kept: Sequence[int]) -> Table:
        rows = [[row[index] for index in kept] for row in self.rows]
        return replace(self, columns=[self.columns[index] for index in kept], rows=rows)


def columns(*labels: str) -> list[Column]:
    """Headings; a leading # marks a column of numbers."""
    return [Column(label.lstrip("#"), label.startswith("#")) for label in labels]


def cell(value: object, digits: int = 4) -> Cell:
    """A number with so many significant digits, or a text; None is a dash and sorted last."""
    if value is None or (isinstance(value, float) and value != value):
        return Cell("–", None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value), str(value))
    text = f"{value:,}" if isinstance(value, int) else number(value, digits)
    return Cell(text, rounded(value))


def arm_cell(arm: str) -> Cell:
    """An arm's name, beside which the page sets its colour."""
    return Cell(arm, arm, arm)
