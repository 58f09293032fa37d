"""A page as one self-contained HTML file: inline SVG, style and script, nothing fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from markupsafe import Markup

from reports.draw.legend import draw_panel, swatch
from reports.draw.markers import draw_marker
from reports.draw.page_parts import Page
from reports.draw.panels import Figure, Panel
from reports.draw.table import Cell, Table
from reports.draw.theme import ArmStyle
from reports.output.numbers import csv_text, panel_rows

TEMPLATES = Path(__file__).parent / "templates"
FOLDED_ROWS = 40  # a longer table starts folded
# Characters of a cell that is set in lines where the table would be too wide for the page, the
# least of a line by CSS.
WRAPPED = {"long": 40, "some": 18}
MOST_BESIDE = 3  # panels of a key that a wide page shows at once
SIDE_BY_SIDE = (3, 4, 5)  # of small panels
MOST_CARDS = 6  # verdicts that are not folded
PROCEDURE = (
    "Every arm was trained by the same trainer on the same pictures, with the same noise for each "
    "seed; each change is the mean over the seeds that both arms have, on the logarithm, with its "
    "95 % interval. Told from another is an arm whose interval leaves out zero. The rules, and how "
    "often they are wrong, are in docs/verdicts.md."
)


def render_html(page: Page) -> str:
    """The page as HTML text; every name in it is escaped."""
    import jinja2

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
        draw=lambda panel, wide=False: Markup(draw_panel(panel, styles, wide)),
        csv=lambda panel: csv_text(panel_rows(panel)),
        figure_panels=_panels,
        columns=_columns,
        gloss=_Glosses(page.terms),
        term_id=term_id,
        legend=[(style, Markup(swatch(style))) for style in styles.values()],
        marks=Markup(_marks(styles)),
        key_of=lambda arm: styles[arm].key if arm in styles else "",
        table=lambda content: Markup(_table(content, styles)),
        folded_rows=FOLDED_ROWS,
        most_beside=MOST_BESIDE,
        most_cards=MOST_CARDS,
        procedure=PROCEDURE,
    )


def _panels(figure: Figure) -> Iterator[tuple[Panel, str, bool]]:
    """Each panel, what it shows as JSON, and whether it is there before anything is chosen."""
    many = {
        key: values[0]
        for key, values in figure.selectors.items()
        if key in figure.beside and len(values) > MOST_BESIDE
    }
    shown = figure.shown or [{}] * len(figure.panels)
    for panel, of, first in zip(figure.panels, shown, figure.at_first(), strict=True):
        kept = first and all(of.get(key, value) == value for key, value in many.items())
        yield panel, json.dumps(dict(of), ensure_ascii=False) if of else "", kept


def _columns(figure: Figure) -> int:
    """Of small panels, those that leave least of the last row empty on a wide page; 0 for others,
    which take the room that there is.
    """
    count = sum(figure.at_first())
    if count < min(SIDE_BY_SIDE) or not all(one.kind in ("heat", "image") for one in figure.panels):
        return 0
    return min(SIDE_BY_SIDE, key=lambda columns: (-count % columns, -columns))


def term_id(term: str) -> str:
    """What a link to a term of the glossary is called."""
    return re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")


class _Glosses:
    """A text in which each term of the page links to the glossary where it is first used."""

    def __init__(self, terms: Mapping[str, str]):
        self.left = dict(terms)

    def __call__(self, text: str) -> Markup:
        # a number stays with its sign where a line ends
        parts, rest = "", re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
        while rest and self.left:
            names = "|".join(re.escape(term) for term in sorted(self.left, key=len, reverse=True))
            found = re.search(rf"(?<![\w-])({names})(?=s?(?![\w-]))", rest)
            if found is None:
                break
            term = found[1]
            meaning = escape(self.left.pop(term))
            link = f'<a class="term" href="#term-{term_id(term)}" title="{meaning}">'
            parts += f"{escape(rest[: found.start()])}{link}{escape(term)}</a>"
            rest = rest[found.end() :]
        return Markup(parts + escape(rest))


def _marks(styles: dict[str, ArmStyle]) -> str:
    """The marker of each arm, which the tables show beside its name."""
    drawn = "".join(
        f'<symbol id="mark-{style.key}" viewBox="0 0 14 14">{draw_marker(style, 7, 7, "")}</symbol>'
        for style in styles.values()
    )
    return f'<svg id="marks" aria-hidden="true">{drawn}</svg>'


def _arm_css(styles: dict[str, ArmStyle]) -> str:
    light = "".join(f"--{style.key}:{style.colour};" for style in styles.values())
    dark = "".join(f"--{style.key}:{style.dark};" for style in styles.values())
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
    dot = f'<svg aria-hidden="true"><use href="#mark-{style.key}"/></svg>' if style else ""
    wrapped = next(
        (f" class={name}" for name, least in WRAPPED.items() if len(cell.text) > least), ""
    )
    kind = " class=num" if number else wrapped
    sort = ""
    if cell.sort is not None and str(cell.sort) != cell.text and not style:
        sort = f' data-sort="{escape(str(cell.sort))}"'
    text = escape(style.name if style else cell.text)
    text = f'<span class="{cell.mark}">{text}</span>' if cell.mark else text
    return f"<td{kind}{sort}>{dot}{text}</td>"
