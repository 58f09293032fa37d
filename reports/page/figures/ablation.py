"""Effect of each arm against one reference arm, at one size and over the sizes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.draw.axes import MOST_DRAWN, number, signed
from reports.draw.panels import (
    Axis,
    Effect,
    Figure,
    ForestPanel,
    LinePanel,
    Place,
    Point,
    Series,
    Shown,
    chosen_figures,
)
from reports.draw.theme import arm_label
from reports.findings.changes import Change, changes
from reports.findings.claims import judged_shares
from reports.findings.outcomes import in_its_unit, unit_of
from reports.page.figures.distance import (
    FLOOR,
    data_sets,
    group_note,
    metric_of,
    size_axis,
)
from reports.study.cells import LOGARITHMIC, Comparable
from reports.study.contrasts import CONTROL, percent, pooled_variance
from reports.study.groups import (
    Group,
    groups,
    places,
    pooled_deviation,
    sorted_arms,
)
from reports.study.runs import StudyResults

if TYPE_CHECKING:
    import pandas as pd

PERCENT, LOSS = "%", LOGARITHMIC[1]
SIDES = {False: "left", True: "right"}  # on which an arm is better, by whether higher is
OF_SELFFLOW = "selfflow"  # what a study of its switches is compared with


def answer(study: StudyResults) -> list[Figure]:
    """What each arm changes from vanilla: the figure of the first screen, sorted, over the page."""
    reference = plain_reference(set(study.rows["arm"]))
    return _effects(
        study, compared_by(study), reference, "answer", f"Change from {arm_label(reference)}", ()
    )


def parts_of_selfflow(study: StudyResults) -> list[Figure]:
    """The same against Self-Flow, where its switches are among the arms: what each part does."""
    arms = set(study.rows["arm"])
    if OF_SELFFLOW not in arms or not any(arm.startswith(f"{OF_SELFFLOW}(") for arm in arms):
        return []
    title = f"What each part does: change from {arm_label(OF_SELFFLOW)}"
    return _effects(study, study.distances, OF_SELFFLOW, "effects", title, ("metric",))


def compared_by(study: StudyResults) -> list[Group]:
    """What the first sentence, figure and table are of: distances, then shares of samples that are
    right, where a claim is about them, then losses.
    """
    shares = groups(study.final[study.final["metric"].isin(judged_shares())])
    found = study.distances
    first = next((i for i, one in enumerate(found) if one.facts.family == LOSS), len(found))
    return [*found[:first], *shares, *found[first:]]


def _effects(
    study: StudyResults,
    found: Sequence[Group],
    reference: str,
    name: str,
    title: str,
    beside: Sequence[str],
) -> list[Figure]:
    """A panel a size and metric: change of the mean with the interval that a verdict has, the best
    arm first.
    """
    panels: list[tuple[Place, Shown, ForestPanel]] = []
    for group in found:
        compared = study.cells(group)
        for size, part in study.by_size(group):
            changed = changes(compared, size, reference)
            if effects := effects_of(changed):
                panel = _forest(compared, found, size, part, reference, effects, changed[0].unit)
                panels.append(((group.data, size), metric_of(group, found), panel))
    of_shares = any(panel.unit != PERCENT for *_, panel in panels)
    shares = " of a share of samples in points," * of_shares
    caption = (
        f"Change of the mean logarithm from {arm_label(reference)}, in percent,{shares} with its "
        "95 % interval over the seeds that both arms share, as in the verdicts; n: seeds of the "
        f"arm. {FLOOR} One seed gives no interval."
    )
    return chosen_figures(name, title, caption, panels, places(study.final), beside=beside)


def _forest(
    compared: Comparable,
    found: Collection[Group],
    size: str,
    part: pd.DataFrame,
    reference: str,
    effects: Sequence[Effect],
    unit: str,
) -> ForestPanel:
    group = compared.group
    of_arms = [list(one.values()) for (_, at), one in compared.final.items() if at == size]
    variance, freedom = pooled_variance([np.array(values) for values in of_arms])
    floor = in_its_unit(math.sqrt(variance), unit_of(compared))[0] if freedom else None
    note = group_note(group, found, any(one.related for one in effects))
    if floor is not None:
        note += f" · grey: one run scatters by ± {number(floor, 2)} {unit}"
    mean = float(part.loc[part["arm"] == reference, "value"].mean())
    value = number(mean) if math.isfinite(mean) else ""
    side = SIDES[group.higher_is_better]
    return ForestPanel(
        title=group.title(size),
        note=note,
        x=Axis(
            f"change of {group.facts.label} from {arm_label(reference)} ({unit}), {side} is better"
        ),
        floor=floor,
        effects=effects,
        reference=(reference, value),
        unit=unit,
    )


def effects_of(found: Sequence[Change]) -> list[Effect]:
    """Changes as a forest draws them, the best first; what no number holds is left out."""
    effects, sign = [], 1
    for one in found:
        value, low, high = one.numbers
        if not abs(value) <= MOST_DRAWN:
            continue
        if low is None or high is None or not high <= MOST_DRAWN:
            low = high = None
        note = f"{signed(value, 2)} {one.unit}"
        sign = -1 if one.higher_is_better else 1
        if low is not None and high is not None:
            note += f", {signed(low, 2)} to {signed(high, 2)}"
        note += f", {one.n} seed{'s' * (one.n != 1)}"
        note += f"; {one.saturated}" if one.saturated else ""
        effects.append(Effect(one.arm, value, low, high, note, one.n, one.related))
    return sorted(effects, key=lambda one: sign * one.value)


def effects_over_sizes(study: StudyResults) -> list[Figure]:
    """The same changes over the sizes, a line an arm: whether an advantage grows or shrinks with
    the model.
    """
    final, found = study.final, study.distances
    reference = plain_reference(set(final["arm"]))
    panels = []
    for group in found:
        compared = study.cells(group)
        part = study.part(group)
        # the points of each arm, from the smallest size to the largest
        by_arm: dict[str, list[Point]] = {}
        floor = []
        for size, of_size in study.by_size(group):
            x = float(of_size["parameters"].mean())
            for one in effects_of(changes(compared, size, reference)):
                tip = f"{arm_label(one.arm)} {size}: {one.note}"
                point = Point(x, one.value, one.low, one.high, one.n, tip, one.related)
                by_arm.setdefault(one.arm, []).append(point)
            deviation, _ = pooled_deviation(of_size)
            if deviation is not None and math.isfinite(half := percent(deviation)):
                floor.append(Point(x, 0.0, -half, half))
        # a panel where an arm has a second size
        if any(len(points) > 1 for points in by_arm.values()):
            related = any(point.related for points in by_arm.values() for point in points)
            panel = LinePanel(
                title=group.title(),
                note=group_note(group, found, related),
                x=size_axis(part),
                y=Axis(f"change from {arm_label(reference)} (%)"),
                series=[Series(arm, by_arm[arm]) for arm in sorted_arms(by_arm)],
                floor=floor,
                beside=True,
            )
            panels.append(((group.data, ""), metric_of(group, found), panel))
    caption = (
        f"Change of the mean logarithm from {arm_label(reference)}, in percent, finished runs. "
        f"Whiskers are 95 % intervals over the seeds that both arms share. {FLOOR}"
    )
    title = f"Change from {arm_label(reference)} against model size"
    return chosen_figures("size-effects", title, caption, panels, data_sets(study.rows))


def plain_reference(arms: set[str]) -> str:
    """Vanilla, or where it is not among the arms the first of them."""
    return CONTROL if CONTROL in arms or not arms else sorted_arms(arms)[0]
