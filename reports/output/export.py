"""Every figure of a page as SVG, PNG and CSV and every table as CSV, for papers and for other
programs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path

from bench.core.store.files import write_bytes
from reports.draw.legend import arms_in_legend, draw_panel, with_legend
from reports.draw.page_parts import Page
from reports.draw.panels import ImagePanel
from reports.draw.table import Cell
from reports.output.numbers import Value, csv_text, panel_rows
from reports.output.pdf import render_pngs

DOTS_PER_INCH = 144


def export_page(page: Page, folder: Path) -> list[Path]:
    """Write `figure-<id>-<panel>.{svg,png,csv,wav,apng}` and `table-<id>.csv`; returns what was
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    drawn: dict[Path, str] = {}
    for figure in page.figures:
        for index, panel in enumerate(figure.panels):
            stem = folder / file_name(f"figure-{figure.id}-{index}")
            if isinstance(panel, ImagePanel):
                written.append(_write(stem.with_suffix(".png"), base64.b64decode(panel.png)))
                for suffix, beside in ((".wav", panel.wav), (".apng", panel.apng)):
                    if beside:
                        written.append(_write(stem.with_suffix(suffix), base64.b64decode(beside)))
                continue
            chart = draw_panel(panel, page.styles, wide=figure is page.lead)
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
    return _write(path, csv_text(rows).encode("utf-8"))
