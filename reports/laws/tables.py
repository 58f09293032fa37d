"""Tables of scaling laws in N and in FLOPs: the laws of each set, and arms compared by them.

found = law_tables(fitted_laws(study.rows))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.draw.axes import number
from reports.draw.table import Cell, Table, arm_cell, cell, columns
from reports.laws.arms import SYMBOLS, Fitted
from reports.laws.comparison import crossing_point, effective_multiplier, predict_largest
from reports.laws.fits import Law, Refusal
from reports.laws.words import (
    MISFIT,
    between,
    crossing_text,
    each_pair,
    missed_text,
    refused_text,
    related_text,
    times_text,
)

DESCRIBED = {
    "parameters": "the parameters N of the backbone",
    "flops": "the training FLOPs C of a run",
}
TIMES = {"parameters": "effective parameters", "flops": "effective FLOPs"}


def law_tables(found: Sequence[Fitted]) -> list[Table]:
    """For each set and axis the laws, with the reason where an arm cannot be fitted, and the arms
    compared by them in pairs. FLOPs without any law are left out: their reason stands beside N.
    """
    tables = []
    for one in found:
        if one.laws or one.axis == "parameters":
            index = len([table for table in tables if table.id.startswith("laws-")])
            tables.append(_laws(one, f"laws-{index}"))
            tables += [_pairs(one, f"law-pairs-{index}")] if len(one.laws) > 1 else []
    return tables


def _laws(found: Fitted, name: str) -> Table:
    symbol = SYMBOLS[found.axis]
    note = f"y = E + A {symbol}^-a in {DESCRIBED[found.axis]}, 95 % intervals."
    note += missed_text(found.laws) + refused_text(found.refusals)
    heads = ("arm", "#E", "", "#A", "", "#a", "", "largest, foretold", "#measured", "note")
    return Table(
        name,
        f"Scaling laws in {symbol}: {found.group.title()}",
        note,
        columns(*(head or "95 % interval" for head in heads)),
        [_line(found, arm) for arm in found.laws],
    )


def _line(found: Fitted, arm: str) -> list[Cell]:
    law, (n, y) = found.laws[arm], found.points[arm]
    line = [arm_cell(arm)]
    for name in ("E", "A", "a"):
        # an E that no measurement could tell from none is written as 0
        value, low, high = (
            0.0 if abs(x) < 1e-6 * y.min() else float(x) for x in (law[name], *law.interval(name))
        )
        line += [cell(value), cell(between(low, high))]
    try:
        foretold = predict_largest(n, y, noise=found.noise_of(arm))
        text = f"{number(foretold.predicted, 4)} ({between(foretold.low, foretold.high)})"
        line += [cell(text), cell(foretold.measured)]
    except Refusal:
        line += [cell("too few smaller sizes"), cell(None)]
    return [*line, cell(related_text(found.group.metric, found.related, arm))]


def _pairs(found: Fitted, name: str) -> Table:
    times = TIMES[found.axis]
    lines = []
    for arm, other in each_pair(found.laws):
        line = [arm_cell(arm), arm_cell(other)]
        for laws in (found.laws, found.common.laws if found.common else {}):
            line += _compared(found, laws, arm, other) if laws else [cell(None), cell(None)]
        lines.append([*line, cell(related_text(found.group.metric, found.related, arm, other))])
    what = "run" if found.axis == "flops" else "model"
    note = (
        f"{times.capitalize()}: how many times larger a {what} of the second arm would have to be "
        "for the value of the first one's largest; no number is finite where the second one's E "
        "is above that value. Crossing: where the two laws meet between the sizes that both have, "
        "said where 97.5 % of the bootstrap samples cross. 95 % intervals."
    )
    heads = [times, f"crossing at {SYMBOLS[found.axis]}"]
    if found.common:
        law = next(iter(found.common.laws.values()))
        e = f"{number(law['E'], 4)} ({between(*law.interval('E'))})"
        kept = "contradict" if found.common.p < MISFIT else "do not contradict"
        note += (
            " E belongs to the data, so arms may share it: these runs "
            f"{kept} one E for all, {e} (likelihood ratio, p {number(found.common.p, 2)}). "
            "Columns say by which laws they compare, with an E of each arm or with one E."
        )
    labels = columns("arm", "against", *heads, *(f"{head}, one E" for head in heads), "note")
    title = f"Scaling laws in {SYMBOLS[found.axis]} compared: {found.group.title()}"
    return Table(name, title, note, labels, lines)


def _compared(found: Fitted, laws: Mapping[str, Law], arm: str, other: str) -> list[Cell]:
    """The multiplier and the crossing of two laws."""
    sizes, of_other = (found.points[one][0] for one in (arm, other))
    times = effective_multiplier(laws[arm], laws[other], float(sizes.max()))
    least, most = max(sizes.min(), of_other.min()), min(sizes.max(), of_other.max())
    if least >= most:
        return [cell(times_text(times)), cell(None)]
    met = crossing_point(laws[arm], laws[other], least, most)
    return [cell(times_text(times)), cell(crossing_text(met))]
