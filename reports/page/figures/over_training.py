"""Results along training: the change from vanilla at equal images, FLOPs and hours, and the values
themselves.

Means are drawn where every run of an arm was measured, so that no bend of a line is the bend of one
seed. Between snapshots hours are linear in the images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from reports.draw.axes import number, signed
from reports.draw.panels import (
    Axis,
    Figure,
    LinePanel,
    Place,
    Point,
    Series,
    Shown,
    chosen_figures,
)
from reports.draw.theme import arm_label
from reports.findings.changes import changes
from reports.page.figures.ablation import plain_reference
from reports.page.figures.distance import (
    AXES,
    FLOOR,
    SPENT,
    arm_lines,
    group_note,
    group_panel,
    metric_of,
    real_rule,
)
from reports.study.cells import Comparable
from reports.study.contrasts import percent, pooled_variance
from reports.study.groups import (
    Group,
    Summary,
    by_size,
    distances,
    of_group,
    places,
    sorted_arms,
    summarise,
)
from reports.study.runs import StudyResults

if TYPE_CHECKING:
    import pandas as pd

CHANGE, VALUES = "change from", "values"
Panels = list[tuple[Place, Shown, LinePanel]]


def results_over_training(study: StudyResults) -> list[Figure]:
    """Every snapshot of every run: what is spent, the size, the metric, and whether the change from
    vanilla or the value itself is shown are a reader's choice.
    """
    rows = study.rows.assign(hours=hours_along(study.rows))
    found = distances(rows)
    reference = plain_reference(set(rows["arm"]))
    panels: Panels = []
    for group in found:
        part = of_group(rows, group)
        compared = study.cells(group) if len(study.final) else None
        for size, of_size in by_size(part):
            means = _whole(of_size)
            for axis in SPENT:
                shown = {"over": SPENT[axis], **metric_of(group, found)}
                if compared is not None:
                    change = _change_panel(compared, found, size, of_size, axis, reference)
                    words = {"shown": f"{CHANGE} {arm_label(reference)}"}
                    panels += [((group.data, size), shown | words, change)] if change else []
                values = _value_panel(study, group, found, size, of_size, means, axis)
                words = {"shown": VALUES}
                panels += [((group.data, size), shown | words, values)] if values else []
    # what is chosen first: images, and the change where there is one
    order = [f"{CHANGE} {arm_label(reference)}", VALUES]
    axes = list(SPENT.values())
    panels.sort(key=lambda one: (order.index(one[1]["shown"]), axes.index(one[1]["over"])))
    # what is not shown is not explained
    kinds = {one[1]["shown"] for one in panels}
    of_changes = (
        f"Change from {arm_label(reference)}: of the mean logarithm, at as many images, FLOPs or "
        "hours; whiskers over images are 95 % intervals over shared seeds, as in the verdicts, and "
        "arms of one snapshot stand side by side. "
        f"{FLOOR} "
    )
    of_values = (
        "Values: means over seeds, where every run of the arm was measured, whiskers one standard "
        "deviation. "
    )
    caption = (
        f"Every snapshot. {of_changes if order[0] in kinds else ''}"
        f"{of_values if VALUES in kinds else ''}On a falling learning rate a snapshot is not what "
        "a shorter run would have ended with. A triangle on the FLOPs axis marks where the "
        "training of an arm's own encoder ends and its curve begins."
    )
    return chosen_figures(
        "training-results", "Results over training", caption, panels, places(rows)
    )


def hours_along(rows: pd.DataFrame) -> pd.Series:
    """Hours of each row. Snapshots between two lines of a log were given the hours of one line:
    those go along a straight line over the images, from the snapshot before, or from nothing.
    """
    import pandas as pd

    known = rows[rows["hours"].notna()].drop_duplicates(["run", "images"])
    found: dict[tuple[str, float], float] = {}
    for run, part in known.sort_values("images").groupby("run"):
        images, hours = part["images"].to_numpy(float), part["hours"].to_numpy(float)
        last = np.append(np.diff(hours) > 0, True)  # of a stretch of equal hours
        straight = np.interp(images, np.append(0.0, images[last]), np.append(0.0, hours[last]))
        found |= {(str(run), at): value for at, value in zip(images, straight, strict=True)}
    keys = zip(rows["run"].astype(str), rows["images"].astype(float), strict=True)
    return pd.Series([found.get(key, math.nan) for key in keys], index=rows.index, dtype=float)


# The values themselves ----------------------------------------------------------------------------


def _value_panel(
    study: StudyResults,
    group: Group,
    found: Collection[Group],
    size: str,
    part: pd.DataFrame,
    means: Sequence[Summary],
    axis: str,
) -> LinePanel | None:
    series = arm_lines(means, axis)
    if not series:
        return None
    panel = group_panel(group, found, size, Axis(AXES[axis], log=True), series, real_rule(part))
    panel = replace(panel, beside=axis == "images")
    return _with_starts(panel, study, group.data, size) if axis == "flops" else panel


def _whole(rows: pd.DataFrame) -> list[Summary]:
    """Means of the snapshots that every run of an arm has."""
    runs: dict[str, set[str]] = {}
    for arm, run in zip(rows["arm"].tolist(), rows["run"].tolist(), strict=True):
        runs.setdefault(str(arm), set()).add(run)
    return [one for one in summarise(rows, ["arm", "images"]) if one.n == len(runs[one.arm])]


def _with_starts(panel: LinePanel, study: StudyResults, data: str, size: str) -> LinePanel:
    """Where each arm's encoder was trained."""
    spent: dict[str, float] = {}
    for run in study.runs.values():
        flops = run.cost.get("encoder_training_flops")
        if (run.data, run.size) == (data, size) and isinstance(flops, int | float) and flops > 0:
            spent[run.arm] = float(flops)
    arms = [series.arm for series in panel.series if series.arm in spent]
    return replace(panel, starts=[(arm, spent[arm]) for arm in arms])


# The change from a reference ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Curve:
    """Of an arm, where all of its runs were measured: images, what was spent, mean logarithm."""

    images: np.ndarray
    spent: np.ndarray
    logs: np.ndarray


def _change_panel(
    compared: Comparable,
    found: Collection[Group],
    size: str,
    part: pd.DataFrame,
    axis: str,
    reference: str,
) -> LinePanel | None:
    """The change over what was spent, None where the reference or two snapshots are missing."""
    runs = _logs(compared, size)
    curves = _curves(runs, part, axis)
    if reference not in curves or len(curves) < 2:
        return None
    points = (
        _at_images(compared, size, reference, runs)
        if axis == "images"
        else {arm: _at_spent(arm, curve, curves[reference]) for arm, curve in curves.items()}
    )
    series = [
        Series(arm, points[arm])
        for arm in sorted_arms(points)
        if arm != reference and len(points[arm]) > 1
    ]
    if not series:
        return None
    related = any(point.related for line in series for point in line.points)
    return LinePanel(
        title=compared.group.title(size),
        note=group_note(compared.group, found, related),
        x=Axis(AXES[axis], log=True),
        y=Axis(f"change from {arm_label(reference)} (%)"),
        series=series,
        floor=_floor(runs, curves[reference]),
        beside=axis == "images",
    )


Runs = Mapping[str, Mapping[int, Mapping[float, float]]]  # arm, seed, images: logarithm


def _logs(compared: Comparable, size: str) -> Runs:
    return {
        arm: {
            seed: dict(zip(curve.images.tolist(), curve.values.tolist(), strict=True))
            for seed, curve in of_arm.items()
        }
        for (arm, at), of_arm in compared.curves.items()
        if at == size and of_arm
    }


def _curves(runs: Runs, part: pd.DataFrame, axis: str) -> dict[str, _Curve]:
    """Mean curves, at the images that all runs of an arm have."""
    spent: dict[tuple[str, float], list[float]] = {}
    if axis != "images":
        for arm, at, x in zip(
            *(part[name].tolist() for name in ("arm", "images", axis)), strict=True
        ):
            spent.setdefault((str(arm), float(at)), []).append(x)
    curves = {}
    for arm, seeds in runs.items():
        images = sorted(set.intersection(*(set(one) for one in seeds.values())))
        logs = [float(np.mean([one[at] for one in seeds.values()])) for at in images]
        xs = [_mean(spent.get((arm, at), ())) if axis != "images" else at for at in images]
        kept = [i for i, x in enumerate(xs) if math.isfinite(x) and x > 0]
        if kept:
            curves[arm] = _Curve(*(np.array(of)[kept] for of in (images, xs, logs)))
    return curves


def _mean(values: Sequence[float]) -> float:
    """Of the numbers that there are, nan of none."""
    known = [x for x in values if x == x]
    return math.fsum(known) / len(known) if known else math.nan


def _at_images(
    compared: Comparable, size: str, reference: str, runs: Runs
) -> dict[str, list[Point]]:
    """Of each arm, with the interval of a verdict, where all runs of the arm were measured."""
    points: dict[str, list[Point]] = {}
    whole = {arm: set.intersection(*(set(one) for one in of.values())) for arm, of in runs.items()}
    for images in sorted(whole[reference]):
        values = {
            (arm, size): {seed: one[images] for seed, one in runs[arm].items()}
            for arm, there in whole.items()
            if images in there
        }
        for change in changes(compared, size, reference, values):
            at, low, high = change.numbers
            if math.isfinite(at):
                tip = f"{arm_label(change.arm)} after {number(images)} images: {signed(at)} %"
                tip += "" if low is None or high is None else f" ({signed(low)} to {signed(high)})"
                point = Point(images, at, low, high, change.n, tip, change.related)
                points.setdefault(change.arm, []).append(point)
    return points


def _at_spent(arm: str, own: _Curve, base: _Curve) -> list[Point]:
    """At what was spent, where the reference has spent as much: linear in its logarithm."""
    inside = (own.spent >= base.spent[0]) & (own.spent <= base.spent[-1])
    points = []
    for x, log in zip(own.spent[inside], own.logs[inside], strict=True):
        change = percent(float(log - np.interp(math.log(x), np.log(base.spent), base.logs)))
        tip = f"{arm_label(arm)} at {number(float(x))}: {signed(change)} %"
        points.append(Point(float(x), change, tip=tip))
    return [point for point in points if math.isfinite(point.y)]


def _floor(runs: Runs, base: _Curve) -> list[Point]:
    """By how much one run scatters at each snapshot of the reference, pooled over the arms."""
    points = []
    for images, x in zip(base.images, base.spent, strict=True):
        of_arms = [np.array([one[images] for one in seeds.values() if images in one])
                   for seeds in runs.values()]  # fmt: skip
        variance, freedom = pooled_variance([values for values in of_arms if len(values)])
        half = percent(math.sqrt(variance))
        if freedom and math.isfinite(half):
            points.append(Point(float(x), 0.0, -half, half))
    return points
