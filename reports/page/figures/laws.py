"""Fitted scaling laws over the measured sizes, with what was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.draw.axes import rounded
from reports.draw.content import Axis, Figure, Point, Series, figures
from reports.laws.arms import Fitted
from reports.laws.fits import Law
from reports.page.figures.distance import AXES, arm_lines, group_panel
from reports.study.groups import summarise

STEPS = 25  # along a curve: more cannot be seen


def law_figure(found: Sequence[Fitted]) -> list[Figure]:
    """A panel for each set of which an arm has a law."""
    groups = [one.group for one in found]
    panels = []
    for one in found:
        if one.laws:
            series = arm_lines(summarise(one.rows, ["arm", "size"]), "parameters")
            curves = [
                Series(arm, _curve(law, one.points[arm][0]), markers=False)
                for arm, law in one.laws.items()
            ]
            x = Axis(AXES["parameters"], log=True)
            panels.append(group_panel(one.group, groups, "", x, series, curves=curves))
    caption = (
        "y = E + A N^-a, with the 95 % band of the curve (parametric bootstrap), "
        "between the sizes that were measured. "
        "Markers are means over seeds, whiskers one standard deviation over seeds."
    )
    return figures("laws", "Fitted scaling laws", caption, panels)


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
