"""A page as PDF, through typst, from the same data and the same figures as the HTML.

Texts are handed over as JSON and never become markup. Only fonts that come with the packages are
used, so that the same page gives the same bytes on every machine.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from reports.draw.legend import arms_in_legend, draw_panel, swatch
from reports.draw.line_chart import has_names
from reports.draw.page_parts import Page
from reports.draw.panels import Figure, HeatPanel, ImagePanel, LinePanel
from reports.draw.table import Table
from reports.draw.theme import ArmStyle
from reports.output.html import TEMPLATES

MOST_PRINTED_PANELS = 12  # of a figure
ACROSS, GUTTER = 176 / 25.4 * 72, 7.0  # points of a line of text, and between two panels
MAPS_ACROSS = (4, 3)
# panels in a row: of maps and pictures, of lines, of lines with names
SMALL_ACROSS, LINES_ACROSS, NAMED_ACROSS = 4, 3, 2
MOST_PRINTED_ROWS = 120  # of a table in print; the HTML page and the CSV hold all


def render_pdf(page: Page) -> bytes:
    """The page as PDF bytes. Raises ValueError where typst refuses it."""
    import typst

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page.json").write_text(json.dumps(_for_print(page, folder)), encoding="utf-8")
        (folder / "page.typ").write_text(
            (TEMPLATES / "page.typ").read_text(encoding="utf-8"), encoding="utf-8"
        )
        try:
            return typst.compile(
                str(folder / "page.typ"),
                root=name,
                font_paths=fonts(),
                ignore_system_fonts=True,
                timestamp=0,
                format="pdf",
            )
        except typst.TypstError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"the PDF cannot be set ({reason}): --no-pdf writes the HTML page alone"
            ) from error


def render_pngs(pictures: list[str], dots_per_inch: float) -> list[bytes]:
    """SVGs as PNGs, in one run of typst: a page each."""
    import typst

    if not pictures:
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = ["#set page(width: auto, height: auto, margin: 4pt)"]
        for index, picture in enumerate(pictures):
            (folder / f"{index}.svg").write_text(picture, encoding="utf-8")
            lines.append(f'#page(image("{index}.svg"))')
        (folder / "figures.typ").write_text("\n".join(lines), encoding="utf-8")
        pages = typst.compile(
            str(folder / "figures.typ"),
            root=name,
            font_paths=fonts(),
            ignore_system_fonts=True,
            format="png",
            ppi=dots_per_inch,
        )
        return pages if isinstance(pages, list) else [pages]


def fonts() -> list[str]:
    """matplotlib brings DejaVu; it is found without being imported."""
    spec = importlib.util.find_spec("matplotlib")
    return (
        [str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf")]
        if spec and spec.origin
        else []
    )


def _for_print(page: Page, folder: Path) -> dict[str, object]:
    """The page as JSON with figures written to files, each with its legend, and long tables cut
    with a word about it.
    """
    bare = replace(page, lead=None, headline=None, sections=[], numbers=[], appendix=[])
    styles = page.styles
    sections = [
        {
            "title": section.title,
            "question": section.question,
            # what is folded on the page is left to it
            "figures": [
                _figure(figure, styles, folder) for figure in section.figures if not figure.folded
            ],
            "tables": [_table(table, styles) for table in section.tables],
        }
        for section in page.sections
    ]
    return asdict(bare) | {
        "sections": [one for one in sections if one["figures"] or one["tables"]],
        "lead": _figure(page.lead, styles, folder, wide=True) if page.lead else None,
        "headline": _table(page.headline, styles) if page.headline else None,
        "numbers": [_table(table, styles) for table in page.numbers],
        "appendix": [_table(table, styles) for table in page.appendix],
    }


def _figure(
    whole: Figure, styles: dict[str, ArmStyle], folder: Path, wide: bool = False
) -> dict[str, object]:
    """The panels of the first choice; wide: the first of them alone, over the whole page."""
    figure, panels = whole.in_print(MOST_PRINTED_PANELS), []
    if wide:
        figure = replace(figure, panels=figure.panels[:1])
    small = all(isinstance(panel, HeatPanel | ImagePanel) for panel in figure.panels)
    named = any(isinstance(panel, LinePanel) and has_names(panel) for panel in figure.panels)
    most = SMALL_ACROSS if small else NAMED_ACROSS if named else LINES_ACROSS
    columns = panels_across(len(figure.panels), most)
    if small and any(isinstance(panel, HeatPanel) for panel in figure.panels):
        columns = maps_across(len(figure.panels))
    # a panel that is alone does not fill the page, but the first answer does
    least = 1 if wide else SMALL_ACROSS - 1 if small else LINES_ACROSS - 1
    places = max(columns, least)
    room = (ACROSS - GUTTER * (places - 1)) / places
    for panel in figure.panels:
        # numbered, as an id may hold the name of a data set and so a slash
        number = sum(1 for _ in folder.iterdir())
        if isinstance(panel, ImagePanel):
            name, content, alt = f"{number}.png", base64.b64decode(panel.png), panel.alt
        else:
            name, content = (
                f"{number}.svg",
                draw_panel(panel, styles, wide, printed=room).encode(),
            )
            alt = panel.title
        (folder / name).write_bytes(content)
        panels.append({"file": name, "kind": panel.kind, "title": panel.title, "alt": alt})
    named = arms_in_legend(figure.panels)
    legend = [
        {"arm": style.name, "svg": swatch(style)} for arm, style in styles.items() if arm in named
    ]
    return {
        "title": figure.title,
        "caption": figure.caption,
        "panels": panels,
        "columns": columns,
        "least_columns": least,
        "legend": legend,
    }


def panels_across(count: int, most: int) -> int:
    """As many panels in a row as fill the last row, or at least leave none alone in it. Lines are
    never more than `most`, where their letters can still be read, nor less than two.
    """
    if count <= most:
        return max(count, 1)
    if most < SMALL_ACROSS:
        return max(NAMED_ACROSS, most - (count % most == 1))
    for fits in (lambda columns: count % columns == 0, lambda columns: count % columns != 1):
        for columns in (most, most + 1, most - 1):
            if fits(columns):
                return columns
    return most


def maps_across(count: int) -> int:
    """Few enough for letters that can be read, and none alone in the last row where that can be."""
    if count <= min(MAPS_ACROSS):
        return max(count, 1)
    return min(MAPS_ACROSS, key=lambda columns: (count % columns == 1, -count % columns))


def _table(table: Table, styles: dict[str, ArmStyle]) -> dict[str, object]:
    rows = [
        [{"text": styles[c.arm].name if c.arm in styles else c.text, "mark": c.mark} for c in row]
        for row in table.rows[:MOST_PRINTED_ROWS]
    ]
    note = table.note
    if len(table.rows) > MOST_PRINTED_ROWS:
        note += (
            f" The first {MOST_PRINTED_ROWS} of {len(table.rows):,} rows; "
            "the HTML page and the CSV hold all."
        )
    heads = [asdict(column) for column in table.columns]
    return {"title": table.title, "note": note.strip(), "columns": heads, "rows": rows}
