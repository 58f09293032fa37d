"""Every figure of a page as SVG, PNG and CSV and every table as CSV, for papers and for other
programs.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.core.store.files import write_bytes
from reports.draw.content import (
    BarPanel,
    Chart,
    ForestPanel,
    HeatPanel,
    ImagePanel,
    LinePanel,
    Page,
)
from reports.draw.legend import arms_in_legend, draw_panel, with_legend
from reports.draw.table import Cell
from reports.output.pdf import render_pngs

DOTS_PER_INCH = 144
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that is computed
_SIGNED = re.compile(r"[-+][-+ 0-9.,%()eto]*")  # "-4.8 to +8.0 %"

Value = str | float | None  # of a CSV's cell


def export_page(page: Page, folder: Path) -> list[Path]:
    """Write `figure-<id>-<panel>.{svg,png,csv}` and `table-<id>.csv`; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    drawn: dict[Path, str] = {}
    for figure in page.figures:
        for index, panel in enumerate(figure.panels):
            stem = folder / file_name(f"figure-{figure.id}-{index}")
            if isinstance(panel, ImagePanel):
                written.append(_write(stem.with_suffix(".png"), base64.b64decode(panel.png)))
                continue
            chart = draw_panel(panel, page.styles)
            drawn[stem] = with_legend(chart, arms_in_legend([panel]), page.styles)
            written.append(_write(stem.with_suffix(".svg"), drawn[stem].encode()))
            written.append(_write_csv(stem.with_suffix(".csv"), panel_rows(panel)))
    for stem, png in zip(drawn, render_pngs(list(drawn.values()), DOTS_PER_INCH), strict=True):
        written.append(_write(stem.with_suffix(".png"), png))
    for table in page.tables:
        head = _distinct([column.label for column in table.columns])
        lines = (
            [_csv_value(one, column.number) for one, column in zip(row, table.columns, strict=True)]
            for row in table.rows
        )
        written.append(_write_csv(folder / file_name(f"table-{table.id}.csv"), [head, *lines]))
    return written


def file_name(name: str) -> str:
    """The name with everything but letters, digits, dots and dashes replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def panel_rows(panel: Chart) -> list[Sequence[Value]]:
    """The numbers of a panel, headings first."""
    match panel:
        case LinePanel():
            head = ["arm", panel.x.label, panel.y.label, "low", "high", "n", "related"]
            lines = [
                [series.arm, one.x, one.y, one.low, one.high, one.n, one.related]
                for series in (*panel.series, *panel.curves)  # a curve's points have no runs
                for one in series.points
            ]
            rules = [
                [rule.label, None, rule.y, rule.low, rule.high, None, None] for rule in panel.rules
            ]
            return [head, *lines, *rules]
        case HeatPanel():
            head = [f"{panel.y.label} \\ {panel.x.label}", *panel.x.values]
            lines = zip(panel.y.values, panel.cells, strict=True)
            return [head, *([block, *values] for block, values in lines)]
        case BarPanel():
            return [["arm", *panel.parts], *([bar.arm, *bar.values] for bar in panel.bars)]
        case ForestPanel():
            head = ["arm", panel.x.label, "low", "high", "n", "related"]
            lines = [
                [one.arm, one.value, one.low, one.high, one.n, one.related] for one in panel.effects
            ]
            return [head, *lines]


def _distinct(labels: list[str]) -> list[str]:
    """Headings as names of their own: what several columns are called follows the one before it,
    "E 95 % interval".
    """
    before = ["", *labels]
    return [
        f"{left} {label}" if labels.count(label) > 1 else label
        for left, label in zip(before, labels, strict=False)
    ]


def _csv_value(cell: Cell, number: bool) -> Value:
    """Numbers with the digits that every machine agrees on, texts as they are read, nothing where
    there is no value.
    """
    return cell.sort if number or cell.sort is None else cell.text


def _write(path: Path, content: bytes) -> Path:
    write_bytes(path, content)
    return path


def _write_csv(path: Path, rows: Iterable[Iterable[Value]]) -> Path:
    text = io.StringIO()
    lines = ([_no_formula(value) for value in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(lines)
    return _write(path, text.getvalue().encode("utf-8"))


def _no_formula(value: Value) -> Value:
    """A text that a spreadsheet would compute, with the apostrophe that tells it not to; signed
    numbers are left as they are.
    """
    if isinstance(value, str) and value[:1] in _FORMULA and not _SIGNED.fullmatch(value):
        return f"'{value}"
    return value
