"""Effect of each arm against one reference arm, at one size and over the sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reports.draw.content import (
    Axis,
    Effect,
    Figure,
    ForestPanel,
    LinePanel,
    Point,
    Rule,
    Series,
    figures,
    figures_by_place,
)
from reports.page.figures.distance import AXES, group_note
from reports.study.cells import Comparable, cells
from reports.study.groups import (
    by_size,
    distances,
    of_group,
    places,
    pooled_deviation,
    sorted_arms,
)

if TYPE_CHECKING:
    import pandas as pd


def effects(rows: pd.DataFrame) -> list[Figure]:
    """A figure a size, a panel a distance: change of the mean log distance in percent with the
    interval that a verdict has.
    """
    final = rows[rows["final"]]
    found = distances(final)
    reference = reference_arm(set(final["arm"]))
    panels = []
    for group in found:
        compared = cells(rows, final, group)
        for size, part in by_size(of_group(final, group)):
            changes = _changes(compared, size, reference)
            floor, _ = pooled_deviation(part)
            if changes:
                panel = ForestPanel(
                    title=group.title(size),
                    note=group_note(group, found, any(one.related for one in changes)),
                    x=Axis(f"change from {reference} (%), left is better"),
                    floor=None if floor is None else 100 * math.expm1(floor),
                    effects=changes,
                )
                panels.append(((group.data, size), panel))
    caption = (
        f"Difference of mean log distance from {reference}, in percent, with its 95 % interval "
        "over the seeds that both arms share, as in the verdicts. Grey band: by how much one run "
        "scatters, which decides nothing. One seed gives no interval."
    )
    title = f"What each arm changes, against {reference}"
    return figures_by_place("effects", title, caption, panels, places(final))


def effects_over_sizes(rows: pd.DataFrame) -> list[Figure]:
    """The same changes over the sizes, a line an arm: whether an advantage grows or shrinks with
    the model.
    """
    final = rows[rows["final"]]
    found = distances(final)
    reference = reference_arm(set(final["arm"]))
    panels = []
    for group in found:
        compared = cells(rows, final, group)
        # the points of each arm, from the smallest size to the largest
        by_arm: dict[str, list[Point]] = {}
        for size, part in by_size(of_group(final, group)):
            x = float(part["parameters"].mean())
            for one in _changes(compared, size, reference):
                tip = f"{one.arm} {size}: {one.note}"
                point = Point(x, one.value, one.low, one.high, one.n, tip, one.related)
                by_arm.setdefault(one.arm, []).append(point)
        # a panel where an arm has a second size
        if any(len(points) > 1 for points in by_arm.values()):
            related = any(point.related for points in by_arm.values() for point in points)
            panel = LinePanel(
                title=group.title(),
                note=group_note(group, found, related),
                x=Axis(AXES["parameters"], log=True),
                y=Axis(f"change from {reference} (%)"),
                series=[Series(arm, by_arm[arm]) for arm in sorted_arms(by_arm)],
                rules=[Rule(reference, 0.0, arm=reference)],
            )
            panels.append(panel)
    caption = (
        f"Difference of mean log distance from {reference}, in percent, "
        "finished runs. Whiskers are 95 % intervals over the seeds that both arms share, as in the "
        "verdicts."
    )
    return figures("size-effects", f"Change from {reference} against model size", caption, panels)


def reference_arm(arms: set[str]) -> str:
    """Self-Flow when its switches are among the arms (the question is then what each part does),
    else vanilla.
    """
    if "selfflow" in arms and any(arm.startswith("selfflow(") for arm in arms):
        return "selfflow"
    return "vanilla" if "vanilla" in arms or not arms else sorted_arms(arms)[0]


def _changes(compared: Comparable, size: str, reference: str) -> list[Effect]:
    """What each arm of one size changes."""
    if (reference, size) not in compared.final:
        return []
    base = compared.final[reference, size]
    changes = []
    for arm in sorted_arms(set(compared.arms(size)) - {reference}):
        values = compared.final[arm, size]
        estimate = compared.contrast({(arm, size): 1.0, (reference, size): -1.0})
        value, low, high = 100 * math.expm1(estimate.effect), None, None
        note = f"{value:+.2f} %"
        if estimate.df:
            low, high = (100 * math.expm1(end) for end in estimate.interval())
            note += f", {low:+.2f} to {high:+.2f}"
        note += f", n={len(values)} and {len(base)}"
        related = (arm, size) in compared.related
        changes.append(Effect(arm, value, low, high, note, len(values), related))
    return changes
