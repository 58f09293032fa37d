"""The table of the first screen, as papers print it: mean and interval, the best bold, the change
from vanilla with its interval.

    table = headline(study, group)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scipy.special import stdtrit

from reports.draw.axes import number, rounded, signed
from reports.draw.table import BEST, SECOND, Cell, Column, Table, arm_cell, cell, columns
from reports.draw.theme import arm_label
from reports.findings.changes import Change, changes
from reports.findings.claims import SHARES
from reports.page.figures.ablation import compared_by, plain_reference
from reports.study.contrasts import CONFIDENCE
from reports.study.groups import (
    Group,
    Summary,
    summarise,
)
from reports.study.runs import StudyResults

if TYPE_CHECKING:
    import pandas as pd

MARKS = (BEST, SECOND)
KIN = " †"
MOST_ARMS = 16  # of the table of the first screen, which shows all sizes up to these
MOST_METRICS = 3


def headline(study: StudyResults, first: Group | None = None) -> Table | None:
    """The table of the first screen: mean and half its 95 % interval of the first metrics, change
    from vanilla as a figure has it; the best mean of a size bold, the second underlined; first: the
    group whose metric leads.
    """
    final, order = study.final, study.arms
    found = compared_by(study)
    if not found:
        return None
    first = first or found[0]
    data, budget = first.data, first.images_total
    found = [one for one in found if (one.data, one.images_total) == (data, budget)]
    of_metric: dict[str, Group] = {}
    for one in (first, *found):
        of_metric.setdefault(one.metric, one)
    # a share that a claim is about stays, and beside it what has room for better
    shares = [one for one in of_metric.values() if one.facts.family == SHARES]
    others = [one for one in of_metric.values() if one not in shares]
    if shares:
        others.sort(key=lambda one: (one != first, bool(study.cells(one).saturated)))
    found = sorted([*shares, *others][:MOST_METRICS], key=lambda one: one != first)
    parts = {group.metric: dict(study.by_size(group)) for group in found}
    sizes = list(parts[found[0].metric])
    arms = {
        size: sorted(
            {str(arm) for of in parts.values() if size in of for arm in of[size]["arm"]},
            key=order.index,
        )
        for size in sizes
    }
    if sum(map(len, arms.values())) > MOST_ARMS:
        sizes = sizes[-1:]
    reference = plain_reference(set(final["arm"]))
    compared = {group.metric: study.cells(group) for group in found}
    lines = []
    for size in reversed(sizes):
        columns_of = []
        for group in found:
            changed = {one.arm: one for one in changes(compared[group.metric], size, reference)}
            part = parts[group.metric].get(size)
            columns_of.append(value_cells(part, group, arms[size], changed))
        seeds: dict[str, int] = {}
        for of in parts.values():
            for arm, n in of[size].groupby("arm")["run"].nunique().items() if size in of else ():
                seeds[str(arm)] = max(seeds.get(str(arm), 0), int(n))
        for index, arm in enumerate(arms[size]):
            numbers = [one for of_metric in columns_of for one in of_metric[index]]
            lines.append([arm_cell(arm), cell(size), *numbers, cell(seeds[arm])])
    heads = [*columns("arm", "size"), *metric_columns(found, reference), *columns("#seeds")]
    note = (
        f"Mean ± half of its 95 % interval over seeds, on {data} after {budget:,} images; changes "
        "of the mean logarithm with intervals over shared seeds. Bold: the best mean of a size, "
        "underlined: the second; neither says that a difference is real."
    )
    for facts in (one.facts for one in shares):
        note += f" {facts.label.capitalize()}: {facts.meaning}; changes are in points."
    if any(one.text.endswith(KIN) for line in lines for one in line):
        note += f"{KIN}: the metric is kin to the arm's own encoder."
    title = "Results" + ("" if len(sizes) > 1 else f", size {sizes[0]}")
    table = Table("headline", title, note, heads, lines)
    return table.without_column(1) if len(sizes) == 1 else table


def metric_columns(found: Sequence[Group], reference: str) -> list[Column]:
    """Two columns a metric: its value and its change from an arm."""
    heads: list[Column] = []
    for group in found:
        arrow = "↑" if group.higher_is_better else "↓"
        heads += columns(f"#{group.facts.label} {arrow}", f"#from {arm_label(reference)}")
    return heads


def value_cells(
    part: pd.DataFrame | None, group: Group, arms: Sequence[str], changed: Mapping[str, Change]
) -> list[list[Cell]]:
    """Mean with interval and change from the reference, for each arm."""
    if part is None:
        return [[cell(None), cell(None)] for _ in arms]
    summaries = {one.arm: one for one in summarise(part, ["arm"])}
    sign = 1 if group.higher_is_better else -1
    means = sorted(
        (one.mean for one in summaries.values() if one.mean is not None), key=lambda x: -sign * x
    )
    out = []
    for arm in arms:
        one = summaries.get(arm)
        if one is None or one.mean is None:
            out.append([cell(None), cell(None)])
            continue
        place = means.index(one.mean) if len(means) > 1 else len(MARKS)
        mark = MARKS[place] if place < len(MARKS) else ""
        change = change_cell(changed[arm]) if arm in changed else cell(None)
        out.append([Cell(_with_interval(one), rounded(one.mean), mark=mark), change])
    return out


def change_cell(one: Change) -> Cell:
    """ "-15.8 % (-21.6 to -9.7)"; no brackets where no interval is known."""
    at, low, high = one.numbers
    words = f"{signed(at, one.decimals)} {one.unit}"
    if low is not None and high is not None:
        words += f" ({signed(low, one.decimals)} to {signed(high, one.decimals)})"
    words += KIN if one.related else ""
    return Cell(words, rounded(at) if math.isfinite(at) else None)


def _with_interval(one: Summary) -> str:
    """ "0.731 ± 0.058": as many decimals as the interval has two digits for."""
    mean = one.mean or 0.0
    if one.n < 2 or one.sd is None:
        return number(mean, 4)
    half = float(stdtrit(one.n - 1, (1 + CONFIDENCE) / 2)) * one.sd / math.sqrt(one.n)
    if not 1e-6 < half < 1e4 or abs(mean) >= 1e4:
        return f"{number(mean, 4)} ± {number(half, 2)}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"
