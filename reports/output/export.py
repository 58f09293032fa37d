"""Every figure of a page as SVG, PNG and CSV and every table as CSV,
for papers and for other programs.
"""

from __future__ import annotations

import base64
import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reports.draw.legend import arms_of, with_legend
from reports.draw.panel import draw_panel
from reports.output.html import page_styles
from reports.output.pdf import render_pngs

DOTS_PER_INCH = 144


def export_page(page: dict[str, Any], folder: Path) -> list[Path]:
    """Write `figure-<id>-<panel>.{svg,png,csv}` and `table-<id>.csv`; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    styles = page_styles(page)
    written, drawn = [], {}
    for figure in page_figures(page):
        for index, panel in enumerate(figure["panels"]):
            stem = folder / file_name(f"figure-{figure['id']}-{index}")
            if panel["kind"] == "image":
                written.append(_write(stem.with_suffix(".png"), base64.b64decode(panel["png"])))
                continue
            drawn[stem] = with_legend(draw_panel(panel, styles), arms_of([panel]), styles)
            written.append(_write(stem.with_suffix(".svg"), drawn[stem].encode()))
            written.append(_write_csv(stem.with_suffix(".csv"), panel_rows(panel)))
    for stem, png in zip(drawn, render_pngs(list(drawn.values()), DOTS_PER_INCH), strict=True):
        written.append(_write(stem.with_suffix(".png"), png))
    for table in page_tables(page):
        head = _distinct([column["label"] for column in table["columns"]])
        numeric = [column["number"] for column in table["columns"]]
        lines = (
            [_csv_value(*pair) for pair in zip(row, numeric, strict=True)] for row in table["rows"]
        )
        written.append(_write_csv(folder / file_name(f"table-{table['id']}.csv"), [head, *lines]))
    return written


def page_figures(page: dict[str, Any]) -> list[dict[str, Any]]:
    """All figures in reading order."""
    lead = [page["lead"]] if page["lead"] else []
    return lead + [figure for section in page["sections"] for figure in section["figures"]]


def page_tables(page: dict[str, Any]) -> list[dict[str, Any]]:
    """All tables in reading order."""
    return [table for section in page["sections"] for table in section["tables"]] + page["appendix"]


def file_name(name: str) -> str:
    """The name with everything but letters, digits, dots and dashes replaced."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)


def panel_rows(panel: dict[str, Any]) -> list[list[Any]]:
    """The numbers of a panel, headings first."""
    if panel["kind"] == "line":
        head = ["arm", panel["x"]["label"], panel["y"]["label"], "low", "high", "n", "related"]
        lines = [
            [series["arm"], *(point.get(key) for key in ("x", "y", "low", "high", "n", "related"))]
            for series in [
                *panel["series"],
                *panel.get("curves", []),
            ]  # a curve's points have no number of runs
            for point in series["points"]
        ]
        rules = [
            [rule["label"], None, rule["y"], rule.get("low"), rule.get("high"), None, None]
            for rule in panel["rules"]
        ]
        return [head, *lines, *rules]
    if panel["kind"] == "heat":
        head = [f"{panel['y']['label']} \\ {panel['x']['label']}", *panel["x"]["values"]]
        return [
            head,
            *(
                [block, *cells]
                for block, cells in zip(panel["y"]["values"], panel["cells"], strict=True)
            ),
        ]
    if panel["kind"] == "bar":
        return [["arm", *panel["parts"]], *([bar["arm"], *bar["values"]] for bar in panel["bars"])]
    head = ["arm", panel["x"]["label"], "low", "high", "n", "related"]
    return [
        head,
        *(
            [row[key] for key in ("arm", "value", "low", "high", "n", "related")]
            for row in panel["rows"]
        ),
    ]


def _distinct(labels: list[str]) -> list[str]:
    """Headings as names of their own: what several columns are called follows the one before it,
    "E 95 % interval".
    """
    before = ["", *labels]
    return [
        f"{left} {label}" if labels.count(label) > 1 else label
        for left, label in zip(before, labels, strict=False)
    ]


def _csv_value(cell: dict[str, Any], number: bool) -> Any:
    """Numbers with the digits that every machine agrees on, texts as they are read,
    nothing where there is no value.
    """
    return cell["sort"] if number or cell["sort"] is None else cell["text"]


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path
