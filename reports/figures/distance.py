"""Distances against model size, compute, images and hours, and against the strength of an arm's encoder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reports.figures import figure
from reports.summary import Group, distances, of_group, summarise
from reports.theme import sorted_arms

if TYPE_CHECKING:
    import pandas as pd

SPREAD = "Markers are means over seeds, whiskers one standard deviation over seeds."
AXES = {
    "parameters": ("parameters of the backbone", True),
    "flops": ("training compute (FLOPs)", True),
    "hours": ("training time (hours on the run's own device)", True),
    "images": ("training images", True),
}


def point(record: Mapping[str, Any], x: float | None) -> dict[str, Any] | None:
    """A point with whiskers of one deviation, or None where there is no value."""
    if record["mean"] is None or x is None or not math.isfinite(x):
        return None
    spread = record["sd"] or 0.0
    mean = record["mean"]
    return {"x": x, "y": mean, "low": mean - spread, "high": mean + spread, "n": record["n"]}


def y_axis(group: Group, points: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Logarithmic where the values span more than a factor of three."""
    values = [entry["y"] for entry in points if entry["y"] > 0]
    return {"label": group.label, "log": bool(values) and max(values) / min(values) > 3 and not group.higher_is_better}


def real_rule(part: pd.DataFrame, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The held-out real pictures' own value as a dotted line."""
    real = part["real"].dropna()
    return [{"label": "held-out real pictures", "y": float(real.mean())}] if len(real) and points else []


def title_of(group: Group, part: pd.DataFrame, several: set[str]) -> str:
    """What sets this panel apart from the others."""
    words = [group.metric, group.data]
    if "protocol_id" in several:
        words.append(f"protocol {group.protocol_id}")
    if "images_total" in several:
        words.append(f"{group.images_total:,} images")
    return " · ".join(words)


def several_of(found: list[Group]) -> set[str]:
    """Which fields a panel's title must name, because groups of one metric and data differ in them."""
    by_metric: dict[tuple[str, str], list[Group]] = {}
    for group in found:
        by_metric.setdefault((group.metric, group.data), []).append(group)
    return {
        name
        for members in by_metric.values()
        for name in ("protocol_id", "images_total")
        if len({getattr(group, name) for group in members}) > 1
    }


def against_size(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Final value over the sizes, a line an arm."""
    final = rows[rows["final"]]
    found = distances(final)
    panels = []
    for group in found:
        part = of_group(final, group)
        records = summarise(part, ["arm", "size"])
        series = _series(records, "parameters")
        points = [entry for line in series for entry in line["points"]]
        if not points:
            continue
        marks = {record["size"]: record["parameters"] for record in records if record["parameters"]}
        panels.append({
            "kind": "line",
            "title": title_of(group, part, several_of(found)),
            "x": {"label": AXES["parameters"][0], "log": True, "marks": sorted((x, size) for size, x in marks.items())},
            "y": y_axis(group, points),
            "series": series,
            "rules": real_rule(part, points),
        })
    caption = f"Value of the finished runs against model size. {SPREAD}"
    return figure("size", "Distance against model size", caption, panels)


def against(rows: pd.DataFrame, axis: str) -> dict[str, Any] | None:
    """axis: "images", "flops" or "hours". Every snapshot for each size; sizes have panels of their own."""
    found = distances(rows)
    panels = []
    for group in found:
        of_sizes = of_group(rows, group)
        for size, part in of_sizes.groupby("size", sort=False):
            records = summarise(part, ["arm", "images"])
            series = _series(records, axis)
            points = [entry for line in series for entry in line["points"]]
            if not points:
                continue
            panels.append({
                "kind": "line",
                "title": f"{title_of(group, part, several_of(found))} · {size}",
                "x": {"label": AXES[axis][0], "log": True},
                "y": y_axis(group, points),
                "series": series,
                "rules": real_rule(part, points),
                "parameters": part["parameters"].mean(),
            })
    label = {"images": "training images", "flops": "training compute", "hours": "training time"}[axis]
    caption = f"Every snapshot of every run, one panel a size. {SPREAD}"
    return figure(axis, f"Distance against {label}", caption, panels)


def over_sizes(rows: pd.DataFrame, axis: str) -> dict[str, Any] | None:
    """axis: "flops" or "hours". Finished runs of all sizes in one panel: what a given budget buys."""
    final = rows[rows["final"]]
    found = distances(final)
    panels = []
    for group in found:
        part = of_group(final, group)
        records = summarise(part, ["arm", "size"])
        series = _series(records, axis)
        points = [entry for line in series for entry in line["points"]]
        if points:
            panels.append({
                "kind": "line",
                "title": title_of(group, part, several_of(found)),
                "x": {"label": AXES[axis][0], "log": True},
                "y": y_axis(group, points),
                "series": series,
                "rules": real_rule(part, points),
            })
    label = {"flops": "training compute", "hours": "training time"}[axis]
    caption = f"Finished runs of all sizes against everything spent on them, teacher and encoder included. {SPREAD}"
    return figure(f"sizes-{axis}", f"Distance against {label}", caption, panels)


def against_encoder(rows: pd.DataFrame, strength: Mapping[str, float]) -> dict[str, Any] | None:
    """Final value over the encoders' own probe accuracy; arms without an encoder are horizontal lines with their spread.

    strength: accuracy of each encoder by name. Encoders without one cannot be placed and are left to the table.
    """
    final = rows[rows["final"]]
    found = distances(final)
    panels = []
    for group in found:
        for size, part in of_group(final, group).groupby("size", sort=False):
            records = summarise(part, ["arm", "method", "encoder"])
            placed = [record for record in records if record["encoder"] in strength]
            by_method: dict[str, list[dict[str, Any]]] = {}
            for record in placed:
                entry = point(record, strength[record["encoder"]])
                if entry:
                    tip = f"{record['arm']}: {entry['y']:.4g}, n={record['n']}, encoder accuracy {entry['x']:.3f}"
                    by_method.setdefault(record["method"], []).append(entry | {"tip": tip, "arm": record["arm"]})
            if not by_method:
                continue
            series = [
                {"arm": entry["arm"], "label": entry["arm"], "points": [entry]}
                for method in sorted(by_method)
                for entry in sorted(by_method[method], key=lambda entry: entry["x"])
            ]
            free = {record["arm"]: record for record in records if record["encoder"] in ("none", "", None)}
            rules = [
                {"arm": arm, "label": arm, "y": line["y"], "low": line["low"], "high": line["high"]}
                for arm in sorted_arms(free)
                if (line := point(free[arm], 0.0)) is not None
            ]
            points = [entry for line in series for entry in line["points"]]
            panels.append({
                "kind": "line",
                "title": f"{title_of(group, part, several_of(found))} · {size}",
                "x": {"label": "probe accuracy of the encoder itself (share)", "log": False},
                "y": y_axis(group, [*points, *rules]),
                "series": series,
                "rules": rules,
            })
    caption = (
        f"Finished runs aligned with an encoder against that encoder's own accuracy. {SPREAD} Horizontal lines with bands "
        "of one standard deviation: arms that use no encoder."
    )
    return figure("encoders", "Strength of the encoder against distance", caption, panels)


def _series(records: list[dict[str, Any]], axis: str) -> list[dict[str, Any]]:
    """A line an arm, points by x."""
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        x = record.get(axis)
        entry = point(record, float(x) if x is not None else None)
        if entry:
            size = f" {record['size']}" if "size" in record else ""
            entry["tip"] = f"{record['arm']}{size}: {entry['y']:.5g} ± {record['sd'] or 0:.2g}, n={record['n']}"
            by_arm.setdefault(record["arm"], []).append(entry)
    return [
        {"arm": arm, "label": arm, "points": sorted(by_arm[arm], key=lambda entry: entry["x"])} for arm in sorted_arms(by_arm)
    ]
