"""A page as one self-contained HTML file: inline SVG, style and script, nothing fetched."""

from __future__ import annotations

from html import escape
from pathlib import Path

from reports.draw.content import Page
from reports.draw.legend import draw_panel, swatch
from reports.draw.table import Cell, Table
from reports.draw.theme import INK, ArmStyle

TEMPLATES = Path(__file__).parent / "templates"
FOLDED_ROWS = 40  # a longer table starts folded
# Characters of a cell that is set in lines where the table would be too wide for the page, the
# least of a line by CSS.
WRAPPED = {"long": 40, "some": 18}
# Okabe and Ito's colours are made for paper; on a dark ground the darker ones are lifted to a
# contrast of at least 5.
ON_DARK = {
    "#0072B2": "#4ba6e3",
    "#D55E00": "#f0803c",
    "#009E73": "#2fc296",
    "#CC79A7": "#dd94bd",
    INK: "#e8eaed",
}


def render_html(page: Page) -> str:
    """The page as HTML text; every name in it is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    styles = page.styles
    return environment.get_template("page.html.j2").render(
        page=page,
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8") + _arm_css(styles)),
        js=Markup((TEMPLATES / "page.js").read_text(encoding="utf-8")),
        draw=lambda panel: Markup(draw_panel(panel, styles)),
        legend=[(style, Markup(swatch(style))) for style in styles.values()],
        key_of=lambda arm: styles[arm].key if arm in styles else "",
        table=lambda content: Markup(_table(content, styles)),
        folded_rows=FOLDED_ROWS,
    )


def _arm_css(styles: dict[str, ArmStyle]) -> str:
    light = "".join(f"--{style.key}:{style.colour};" for style in styles.values())
    dark = "".join(
        f"--{style.key}:{ON_DARK.get(style.colour, style.colour)};" for style in styles.values()
    )
    rules = "".join(
        f".stroke-{key}{{stroke:var(--{key})}}.fill-{key}{{fill:var(--{key})}}"
        for key in (s.key for s in styles.values())
    )
    return (
        f":root{{{light}}}:root[data-theme=dark]{{{dark}}}"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}{rules}\n"
    )


def _table(table: Table, styles: dict[str, ArmStyle]) -> str:
    """Rows are joined here and not in the template: a page may hold ten thousand."""
    numeric = [column.number for column in table.columns]
    heads = "".join(
        f"<th{' class=num' if column.number else ''}>"
        f'<button type="button">{escape(column.label)}</button></th>'
        for column in table.columns
    )
    body = "".join(
        "<tr>"
        + "".join(_td(cell, number, styles) for cell, number in zip(row, numeric, strict=True))
        + "</tr>"
        for row in table.rows
    )
    parts = f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table id="table-{escape(table.id)}">{parts}</table></div>'


def _td(cell: Cell, number: bool, styles: dict[str, ArmStyle]) -> str:
    style = styles.get(cell.arm)
    dot = f'<i style="background:var(--{style.key})"></i>' if style else ""
    wrapped = next(
        (f" class={name}" for name, least in WRAPPED.items() if len(cell.text) > least), ""
    )
    kind = " class=num" if number else wrapped
    sort = ""
    if cell.sort is not None and str(cell.sort) != cell.text:
        sort = f' data-sort="{escape(str(cell.sort))}"'
    return f"<td{kind}{sort}>{dot}{escape(cell.text)}</td>"
