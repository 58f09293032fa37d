"""Columns of a CSV file as numbers, whatever program wrote it.

    columns = read_columns(Path("runs.csv"), ["N", "loss"])      # {"N": array, "loss": array}

Commas, semicolons or tabs part the cells; quotes, spaces after a comma, a byte order mark, any line
ends, blank lines and empty cells at the ends of lines are read as usual. Commas between thousands
are read where nothing else can be meant. What cannot be read is refused with its line in the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reports.laws.fits import LARGEST, SMALLEST

SEPARATORS = ",;\t"
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")


@dataclass(frozen=True)
class _Line:
    """number: of its last line in the file; cells: without spaces around them, nor empty ones at
    the end.
    """

    number: int
    cells: list[str]


def read_columns(
    path: Path, names: Sequence[str], texts: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The named columns of a table with a header line, numbers, and those of `texts` as they are.

    Raises ValueError for a missing file or column, a heading that stands twice, a line of more
    cells than the heading, or a cell that is no number which can be fitted.
    """
    head, lines, separator = _read(path)
    for name in (*names, *texts):
        if name not in head.cells:
            has = ", ".join(cell for cell in head.cells if cell)
            raise ValueError(f"{path} has no column {name!r} (it has: {has})")
        if (count := head.cells.count(name)) > 1:
            raise ValueError(
                f"{path} line {head.number}: {count} columns are called {name!r}; "
                "rename all but one"
            )
    for line in lines:
        if len(line.cells) > len(head.cells):
            raise ValueError(
                f"{path} line {line.number} has {len(line.cells)} cells and the heading "
                f"{len(head.cells)}: put quotes around a cell that holds a {separator!r}"
            )

    def cells(name: str) -> list[tuple[int, str]]:
        at = head.cells.index(name)
        return [(line.number, (line.cells[at : at + 1] or [""])[0]) for line in lines]

    found = {
        name: np.array([_number(path, at, name, text, separator) for at, text in cells(name)])
        for name in names
    }
    return found | {name: np.array([text for _, text in cells(name)]) for name in texts}


def _read(path: Path) -> tuple[_Line, list[_Line], str]:
    """The heading, the other lines that say something, and what parts their cells."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"no file {path}: give a table with a header line with --csv") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table in UTF-8: {error}") from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=separator, skipinitialspace=True)
    lines = []
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                lines.append(_Line(rows.line_num, cells))
    except csv.Error as error:
        raise ValueError(f"{path} line {rows.line_num} is no line of a table: {error}") from None
    if len(lines) < 2:
        raise ValueError(f"{path} has no rows under a header line: give a table with --csv")
    return lines[0], lines[1:], separator


def _number(path: Path, line: int, name: str, text: str, separator: str) -> float:
    where = f"{path} line {line}: {name} is"
    if not text:
        raise ValueError(f"{where} empty: fill it in or leave out the line")
    if "," in text:
        # where semicolons part the cells, or one comma alone could part decimals, it may be either
        clear = THOUSANDS.fullmatch(text) and (separator == "," or text.count(",") > 1)
        if not clear:
            raise ValueError(
                f"{where} {text!r}, whose comma may part thousands or decimals: write it without, "
                "with a point before decimals"
            )
        text = text.replace(",", "")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{where} {text!r}, not a number") from None
    if not SMALLEST <= value <= LARGEST:
        raise ValueError(
            f"{where} {text}; a power law is fitted to numbers from {SMALLEST:g} to {LARGEST:g}"
        )
    return value
