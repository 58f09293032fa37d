"""Fitted scaling laws over the measured sizes and along the compute-optimal frontier, with what was
measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.draw.axes import number, rounded
from reports.draw.content import Axis, Figure, Point, Series, figures
from reports.laws.arms import Fitted
from reports.laws.fits import Law
from reports.laws.joint import Joint
from reports.page.figures.distance import AXES, arm_lines, group_panel
from reports.study.groups import summarise

STEPS = 25  # along a curve: more cannot be seen


def law_figure(found: Sequence[Fitted]) -> list[Figure]:
    """A panel for each set and axis of which an arm has a law."""
    groups = [one.group for one in found]
    panels = []
    for one in found:
        if one.laws:
            series = arm_lines(summarise(one.rows, ["arm", "size"]), one.axis)
            curves = [
                Series(arm, _curve(law, one.points[arm][0]), markers=False)
                for arm, law in one.laws.items()
            ]
            x = Axis(AXES[one.axis], log=True)
            panels.append(group_panel(one.group, groups, "", x, series, curves=curves))
    caption = (
        "y = E + A N^-a in parameters N, and in training FLOPs, with the 95 % band of the curve "
        "(parametric bootstrap), between the sizes that were measured. "
        "Markers are means over seeds, whiskers one standard deviation over seeds."
    )
    return figures("laws", "Fitted scaling laws", caption, panels)


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
                        tip=f"{arm} {row['size']}: {number(float(row['value']), 4)} after "
                        f"{number(float(row['images']))} images",
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
            panels.append(
                group_panel(one.group, groups, "", x, series, guides=guides, curves=curves)
            )
    caption = (
        "Coloured curves: the compute-optimal frontier of the joint law y = E + A N^-a + B D^-b, "
        "with its 95 % band. Markers: the measured lower envelope, what no other size or snapshot "
        "of the arm beats at as few FLOPs. Thin lines: each size, mean over seeds."
    )
    return figures("frontier", "Compute-optimal frontier", caption, panels)


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
