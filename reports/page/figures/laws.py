"""Fitted scaling laws over the measured sizes and along the compute-optimal frontier, with what was
measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.draw.axes import number, rounded
from reports.draw.panels import Axis, Figure, Point, Series, chosen_figures
from reports.draw.theme import arm_label
from reports.laws.arms import Fitted
from reports.laws.fits import Law
from reports.laws.joint import Joint
from reports.page.figures.distance import AXES, arm_lines, group_panel, metric_of
from reports.study.groups import Group, summarise

STEPS = 25  # along a curve: more cannot be seen


def law_figure(found: Sequence[Fitted], order: Sequence[Group]) -> list[Figure]:
    """A panel for each set, in that order, and axis of which an arm has a law."""
    groups = [one.group for one in found]
    panels = []
    for one in sorted(found, key=lambda one: order.index(one.group)):
        if one.laws:
            series = arm_lines(summarise(one.rows, ["arm", "size"]), one.axis)
            curves = [
                Series(arm, _curve(law, one.points[arm][0]), markers=False)
                for arm, law in one.laws.items()
            ]
            x = Axis(AXES[one.axis], log=True)
            panel = group_panel(one.group, groups, "", x, series, curves=curves)
            over = {"over": {"parameters": "parameters"}.get(one.axis, "FLOPs")}
            panels.append(((one.group.data, ""), over | dict(metric_of(one.group, groups)), panel))
    caption = (
        "y = E + A N^-a in parameters N, and in training FLOPs, with the 95 % band of the curve "
        "(parametric bootstrap), between the sizes that were measured. "
        "Markers are means over seeds, whiskers one standard deviation over seeds."
    )
    sets = [(data, "") for data in sorted({one.group.data for one in found})]
    return chosen_figures("laws", "Fitted scaling laws", caption, panels, sets)


def frontier_figure(found: Sequence[Joint]) -> list[Figure]:
    """A panel for each metric of which runs may be read along the way: every size's own line, the
    measured lower envelope, and the frontier of the joint law.
    """
    groups = [one.group for one in found]
    panels = []
    for one in found:
        if one.laws:
            series, guides = [], []
            for arm in one.laws:
                means = one.means(arm)
                for _, of_size in means.groupby("parameters"):
                    spots = zip(of_size["flops"], of_size["value"], strict=True)
                    guides.append([(float(x), float(y)) for x, y in spots])
                best = means[means["best"]].sort_values("flops")
                points = [
                    Point(
                        float(row["flops"]), float(row["value"]),
                        tip=f"{arm_label(arm)} {row['size']}: {number(float(row['value']), 4)} "
                        f"after {number(float(row['images']))} images",
                    )
                    for row in best.to_dict("records")
                ]  # fmt: skip
                series.append(Series(arm, points))
            curves = [
                Series(
                    arm, _curve(one.frontier(arm), one.means(arm)["flops"].to_numpy(float)), False
                )
                for arm in one.laws
            ]
            x = Axis(AXES["flops"], log=True)
            panel = group_panel(one.group, groups, "", x, series, guides=guides, curves=curves)
            panels.append(((one.group.data, ""), metric_of(one.group, groups), panel))
    caption = (
        "Coloured curves: the compute-optimal frontier of the joint law y = E + A N^-a + B D^-b, "
        "with its 95 % band. Markers: the measured lower envelope, what no other size or snapshot "
        "of the arm beats at as few FLOPs. Thin lines: each size, mean over seeds."
    )
    sets = [(data, "") for data in sorted({one.group.data for one in found})]
    return chosen_figures("frontier", "Compute-optimal frontier", caption, panels, sets)


def _curve(law: Law, n: np.ndarray) -> list[Point]:
    points = []
    for at in np.geomspace(n.min(), n.max(), STEPS):
        low, high = law.predict_interval(float(at))
        points.append(
            Point(_rounded(at), _rounded(law.predict(float(at))), _rounded(low), _rounded(high))
        )
    return points


def _rounded(value: float) -> float:
    return rounded(float(value))
