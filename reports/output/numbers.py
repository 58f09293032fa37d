"""The numbers of a panel as rows, and rows as CSV: what an export writes and a page copies.

text = csv_text(panel_rows(panel))
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from reports.draw.axes import rounded
from reports.draw.panels import BarPanel, Chart, ForestPanel, HeatPanel, LinePanel
from reports.draw.theme import arm_label

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that is computed
_SIGNED = re.compile(r"[-+][-+ 0-9.,%()eto]*")  # "-4.8 to +8.0 %"

Value = str | float | None  # of a CSV's cell


def panel_rows(panel: Chart) -> list[Sequence[Value]]:
    """The numbers of a panel, headings first."""
    match panel:
        case LinePanel():
            head = ["arm", panel.x.label, panel.y.label, "low", "high", "n", "related"]
            lines = [
                [arm_label(series.arm), one.x, one.y, one.low, one.high, one.n, one.related]
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
            return [
                ["arm", *panel.parts],
                *([arm_label(bar.arm), *bar.values] for bar in panel.bars),
            ]
        case ForestPanel():
            head = ["arm", panel.x.label, "low", "high", "n", "related"]
            lines = [
                [arm_label(one.arm), one.value, one.low, one.high, one.n, one.related]
                for one in panel.effects
            ]
            if any(one.on for one in panel.effects):
                named = zip(panel.effects, lines, strict=True)
                return [["data", *head], *([one.on, *line] for one, line in named)]
            return [head, *lines]


def csv_text(rows: Iterable[Iterable[Value]]) -> str:
    """Lines of comma-separated values, numbers with six digits: further ones are another on other
    processors.
    """
    text = io.StringIO()
    lines = ([_no_formula(_short(value)) for value in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _short(value: Value) -> Value:
    return rounded(value) if isinstance(value, float) else value


def _no_formula(value: Value) -> Value:
    """A text that a spreadsheet would compute, with the apostrophe that tells it not to; signed
    numbers are left as they are.
    """
    if isinstance(value, str) and value[:1] in _FORMULA and not _SIGNED.fullmatch(value):
        return f"'{value}"
    return value
