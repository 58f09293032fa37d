"""Fitted scaling laws over the measured sizes, with what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.draw.axes import rounded
from reports.draw.content import Figure, figure
from reports.laws.arms import Fitted
from reports.laws.fits import Law
from reports.page.figures.distance import AXES, lines, panel
from reports.study.groups import summarise

STEPS = 25  # along a curve: more cannot be seen


def law_figure(found: Sequence[Fitted]) -> list[Figure]:
    """A panel for each set of which an arm has a law."""
    groups = [one.group for one in found]
    panels = []
    for one in found:
        if one.laws:
            series = lines(summarise(one.rows, ["arm", "size"]), "parameters")
            x = {"label": AXES["parameters"], "log": True}
            curves = [
                {"arm": arm, "points": _curve(law, one.points[arm][0])}
                for arm, law in one.laws.items()
            ]
            panels.append(panel(one.group, groups, "", x, series, []) | {"curves": curves})
    caption = (
        "y = E + A N^-a, with the 95 % band of the curve (parametric bootstrap), "
        "between the sizes that were measured. "
        "Markers are means over seeds, whiskers one standard deviation over seeds."
    )
    return figure("laws", "Fitted scaling laws", caption, panels)


def _curve(law: Law, n: np.ndarray) -> list[dict[str, Any]]:
    points = []
    for at in np.geomspace(n.min(), n.max(), STEPS):
        low, high = law.predict_interval(float(at))
        point = {"x": float(at), "y": law.predict(float(at)), "low": low, "high": high}
        points.append({name: rounded(value) for name, value in point.items()})
    return points
