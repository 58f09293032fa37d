"""The table of the first screen, as papers print it: mean and interval, the best bold, the change
from vanilla with its interval.

    table = headline(study, group)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    sizes = [size for size, _ in reversed(study.by_size(found[0]))]
    reference = plain_reference(set(study.final["arm"]))
    of_sizes = {size: list(lines_of_arms(study, found, size, reference)) for size in sizes}
    if sum(map(len, of_sizes.values())) > MOST_ARMS:
        sizes = sizes[:1]
    lines = [
        [arm_cell(arm), cell(size), *numbers, cell(seeds)]
        for size in sizes
        for arm, numbers, seeds in of_sizes[size]
    ]
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


def lines_of_arms(
    study: StudyResults, metrics: Sequence[Group | None], size: str, reference: str
) -> Iterator[tuple[str, list[Cell], int]]:
    """Each arm of a size: value and change by each metric, and its seeds; None: a metric that these
    runs do not have.
    """
    parts = [dict(study.by_size(group)).get(size) if group else None for group in metrics]
    there = [part for part in parts if part is not None]
    arms = sorted({str(arm) for part in there for arm in part["arm"]}, key=study.arms.index)
    shown = []
    for group, part in zip(metrics, parts, strict=True):
        if group is None or part is None:
            shown.append([[cell(None), cell(None)] for _ in arms])
            continue
        changed = {one.arm: one for one in changes(study.cells(group), size, reference)}
        shown.append(_cells(part, group, arms, changed))
    for index, arm in enumerate(arms):
        seeds = max(int(part[part["arm"] == arm]["run"].nunique()) for part in there)
        yield arm, [one for of_metric in shown for one in of_metric[index]], seeds


def _cells(
    part: pd.DataFrame, group: Group, arms: Sequence[str], changed: Mapping[str, Change]
) -> list[list[Cell]]:
    """Mean with interval and change from the reference, for each arm."""
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
