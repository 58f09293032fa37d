"""Effect of each arm against one reference arm, at one size and over the sizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from reports.draw.content import Figure, by_place, figure
from reports.draw.theme import sorted_arms
from reports.page.figures.distance import AXES, note_of, title_of
from reports.study.groups import (
    by_size,
    distances,
    is_related,
    log_means,
    of_group,
    places,
    pooled_deviation,
)

if TYPE_CHECKING:
    import pandas as pd


def effects(rows: pd.DataFrame) -> list[Figure]:
    """A figure a size, a panel a distance: change of the mean log distance in
    percent with a 95 % Student interval.
    """
    final = rows[rows["final"]]
    found = distances(final)
    panels = []
    reference = reference_arm(set(final["arm"]))
    for group in found:
        for size, part in by_size(of_group(final, group)):
            lines, floor = _lines(part, reference)
            if lines:
                drawn = {
                    "kind": "forest",
                    "title": title_of(group, size),
                    "note": note_of(group, found, any(line["related"] for line in lines)),
                    "x": {"label": f"change from {reference} (%), left is better"},
                    "floor": None if floor is None else 100 * math.expm1(floor),
                    "rows": lines,
                }
                panels.append(((group.data, size), drawn))
    caption = (
        f"Difference of mean log distance from {reference}, in percent, "
        "with a 95 % Student interval from the "
        "deviation pooled over arms of a size. Grey band: "
        "that deviation, the noise floor. One seed gives no interval."
    )
    return by_place(
        "effects", f"What each arm changes, against {reference}", caption, panels, places(final)
    )


def over_sizes(rows: pd.DataFrame) -> list[Figure]:
    """The same changes over the sizes, a line an arm:
    whether an advantage grows or shrinks with the model.
    """
    final = rows[rows["final"]]
    found = distances(final)
    reference = reference_arm(set(final["arm"]))
    panels = []
    for group in found:
        by_arm: dict[str, list[dict[str, Any]]] = {}
        for size, part in by_size(of_group(final, group)):
            for line in _lines(part, reference)[0]:
                place = {
                    "x": float(part["parameters"].mean()),
                    "y": line["value"],
                    "low": line["low"],
                    "high": line["high"],
                }
                tip = f"{line['arm']} {size}: {line['note']}"
                place |= {"n": line["n"], "tip": tip, "related": line["related"]}
                by_arm.setdefault(line["arm"], []).append(place)
        if any(len(points) > 1 for points in by_arm.values()):
            panels.append(
                {
                    "kind": "line",
                    "title": title_of(group),
                    "note": note_of(
                        group,
                        found,
                        any(one["related"] for points in by_arm.values() for one in points),
                    ),
                    "x": {"label": AXES["parameters"], "log": True},
                    "y": {"label": f"change from {reference} (%)", "log": False},
                    "series": [{"arm": arm, "points": by_arm[arm]} for arm in sorted_arms(by_arm)],
                    "rules": [{"arm": reference, "label": reference, "y": 0.0}],
                }
            )
    caption = (
        f"Difference of mean log distance from {reference}, in percent, "
        "finished runs. Whiskers are 95 % Student "
        "intervals from the deviation pooled over the arms of a size."
    )
    return figure("size-effects", f"Change from {reference} against model size", caption, panels)


def reference_arm(arms: set[str]) -> str:
    """Self-Flow when its switches are among the arms (the question is then what each part does),
    else vanilla.
    """
    if "selfflow" in arms and any(arm.startswith("selfflow(") for arm in arms):
        return "selfflow"
    return "vanilla" if "vanilla" in arms or not arms else sorted_arms(arms)[0]


def _lines(part: pd.DataFrame, reference: str) -> tuple[list[dict[str, Any]], float | None]:
    from scipy.stats import t

    means = log_means(part)
    if reference not in means:
        return [], None
    deviation, freedom = pooled_deviation(part)
    base, base_n = means[reference]
    related = set(part.loc[is_related(part), "arm"])
    lines = []
    for arm in sorted_arms(means):
        if arm == reference:
            continue
        mean, n = means[arm]
        change = mean - base
        half = None
        if deviation is not None:
            half = float(t.ppf(0.975, freedom)) * deviation * math.sqrt(1 / n + 1 / base_n)
        low, high = (
            (None, None)
            if half is None
            else (100 * math.expm1(change - half), 100 * math.expm1(change + half))
        )
        value = 100 * math.expm1(change)
        note = (
            f"{value:+.2f} %"
            + ("" if low is None else f", {low:+.2f} to {high:+.2f}")
            + f", n={n} and {base_n}"
        )
        line = {
            "arm": arm,
            "label": arm,
            "value": value,
            "low": low,
            "high": high,
            "note": note,
            "n": n,
        }
        lines.append(line | {"related": arm in related})
    return lines, deviation
