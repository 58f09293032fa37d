"""A page's answer for the terminal: its sentences in plain words, its table, and the commands that
would make what it lacks.

    print(terminal_answer(page, bold=sys.stdout.isatty()))

python -m bench.report demo
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.core.store.untrusted import printable
from reports.draw.page_parts import Page
from reports.draw.table import BEST, Cell, Table

WIDTH = 100  # characters of a line
MOST_ARM = 48  # of them for an arm's name
OF_A_LINE = ("data", "arm", "size")  # columns that say what a line is of
MOST_VERDICTS = 6  # of a page without answers, each in a line
MOST_MISSING = 3  # runs and measurements by command; the page names all
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


def terminal_answer(page: Page, bold: bool = False) -> str:
    """The title, what a reader must know, the answers, the first table and what is missing.

    bold: the best of a column in a terminal's bold type, else with a star behind it.
    """
    blocks = [printable(page.title), *map(_wrapped, [*page.notices, *page.warnings])]
    blocks += [f"{printable(one.question)}\n{_wrapped(one.sentence, '  ')}" for one in page.answers]
    if not page.answers and page.verdicts:
        said = [f"{one.word}: {one.sentences[0][1]} ({one.short})" for one in page.verdicts]
        blocks += [_wrapped(line) for line in said[:MOST_VERDICTS]]
    if page.verdicts_note:
        blocks.append(_wrapped(f"Published claims: {page.verdicts_note}"))
    if page.headline:
        blocks.append(_table(page.headline, bold))
    return "\n\n".join([*blocks, *_missing(page)])


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _missing(page: Page) -> list[str]:
    """What the page cannot show, the first with the commands that make it."""
    if not page.missing:
        return []
    lines = [f"What is missing ({len(page.missing):,}):"]
    for one in page.missing[:MOST_MISSING]:
        lines += [_wrapped(one.what, "  "), *([f"    {one.command}"] if one.command else [])]
    more = len(page.missing) - MOST_MISSING
    return ["\n".join([*lines, *([f"  and {more:,} more on the page"] if more > 0 else [])])]


def _table(table: Table, bold: bool) -> str:
    """A block for each metric of the table: its mean, its change, the arms below each other."""
    labels = [column.label for column in table.columns]
    first = next(place for place, label in enumerate(labels) if label not in OF_A_LINE)
    blocks = []
    for at in range(first, len(labels) - 1, 2):
        chosen = [*range(first), at, at + 1, len(labels) - 1]
        rows = [[row[index] for index in chosen] for row in table.rows]
        blocks.append(_block([labels[index] for index in chosen], rows, bold))
    marked = "in bold" if bold else "with a star"
    of_kin = ", a dagger where the metric is kin to the arm's encoder" * ("†" in table.note)
    note = f"± half of a 95 % interval over seeds, the best {marked}; a change with its interval"
    return "\n\n".join([*blocks, _wrapped(f"{note}{of_kin}.", "  ")])


def _block(labels: Sequence[str], rows: Sequence[Sequence[Cell]], bold: bool) -> str:
    """Names to the left, numbers to the right; the type of a cell takes no width."""
    texts = [[printable(cell.text) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(labels, *texts, strict=True)]
    widths[0] = min(widths[0], MOST_ARM)
    lines = ["  ".join(_padded(*one) for one in zip(labels, widths, labels, strict=True))]
    for row, of_row in zip(rows, texts, strict=True):
        padded = [_padded(*one) for one in zip(of_row, widths, labels, strict=True)]
        for index, cell in enumerate(row):
            if cell.mark == BEST:
                padded[index] = f"{BOLD}{padded[index]}{PLAIN}" if bold else f"{padded[index]}*"
            elif any(other[index].mark for other in rows) and not bold:
                padded[index] += " "
        lines.append("  ".join(padded).rstrip())
    return "\n".join(f"  {line}" for line in lines)


def _padded(text: str, width: int, label: str) -> str:
    return f"{text:<{width}}" if label in OF_A_LINE else f"{text:>{width}}"
