"""Distances against model size, compute, images and hours,
and against the strength of an arm's encoder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reports.draw.axes import number
from reports.draw.content import Figure, by_place, figure
from reports.draw.theme import sorted_arms
from reports.study.groups import (
    Group,
    by_size,
    distances,
    metric_label,
    of_group,
    places,
    summarise,
)
from reports.study.strengths import Strength, encoder_strengths

if TYPE_CHECKING:
    import pandas as pd

SPREAD = "Markers are means over seeds, whiskers one standard deviation over seeds."
RELATED = "open markers: related to the arm's encoder"
AXES = {
    "parameters": "parameters of the backbone",
    "flops": "training compute (FLOPs)",
    "hours": "training time (hours on the run's own device)",
    "images": "training images",
}
BESIDE_ENCODERS = (
    "vanilla",
    "selfflow",
)  # arms without an encoder that are compared with those of all encoders
STRENGTHS = {
    "encoder_linear_probe": "linear probe of the encoder itself (accuracy)",
    "encoder_structure": "spatial structure of the encoder's features",
}


def point(record: Mapping[str, Any], x: float | None, place: str = "") -> dict[str, Any] | None:
    """A point with whiskers of one deviation and a tooltip,
    or None where there is no value or no place.
    """
    if record["mean"] is None or x is None or not math.isfinite(x):
        return None
    mean, spread = record["mean"], record["sd"] or 0.0
    tip = f"{record['arm']}{place}: {number(mean, 4)} ± {number(spread, 2)}, n={record['n']}"
    tip += f", related: {record['related']}" if record["related"] else ""
    ends = {"low": mean - spread, "high": mean + spread}
    return {
        "x": float(x),
        "y": mean,
        **ends,
        "n": record["n"],
        "tip": tip,
        "related": bool(record["related"]),
    }


def lines(records: list[dict[str, Any]], axis: str) -> list[dict[str, Any]]:
    """A series for each arm of the records, points in the order of `axis`."""
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        entry = point(record, record.get(axis), f" {record['size']}" if "size" in record else "")
        if entry:
            by_arm.setdefault(record["arm"], []).append(entry)
    return [
        {"arm": arm, "points": sorted(by_arm[arm], key=lambda entry: entry["x"])}
        for arm in sorted_arms(by_arm)
    ]


def panel(
    group: Group,
    found: Iterable[Group],
    size: str,
    x: dict[str, Any],
    series: list[dict[str, Any]],
    rules: list[dict[str, Any]],
) -> dict[str, Any]:
    """A line panel of a group (one of `found`);
    logarithmic where the values span more than a factor of three.
    """
    shown = [entry["y"] for line in series for entry in line["points"]] + [
        rule["y"] for rule in rules
    ]
    positive = [value for value in shown if value > 0]
    log = (
        len(positive) == len(shown)
        and max(positive) / min(positive) > 3
        and not group.higher_is_better
    )
    y = {"label": metric_label(group.metric), "log": log}
    related = any(entry["related"] for line in series for entry in line["points"])
    head = {"kind": "line", "title": title_of(group, size), "note": note_of(group, found, related)}
    return head | {"x": x, "y": y, "series": series, "rules": rules}


def real_rule(part: pd.DataFrame) -> list[dict[str, Any]]:
    """The held-out real pictures' own value as a dotted line."""
    real = part["real"].dropna()
    return [{"label": "held-out real pictures", "y": float(real.mean())}] if len(real) else []


def title_of(group: Group, size: str = "") -> str:
    """Metric, data and size."""
    return " · ".join(word for word in (group.metric, group.data, size) if word)


def note_of(group: Group, found: Iterable[Group], related: bool = False) -> str:
    """The direction, and the protocol and the budget where other groups of
    the same metric differ in them.

    related: whether an arm of the panel is marked as aligned with what the metric looks through.
    """
    others = [other for other in found if (other.metric, other.data) == (group.metric, group.data)]
    words = [group.direction]
    if len({other.protocol_id for other in others}) > 1:
        named = len({other.encoder for other in others}) == len(
            {other.protocol_id for other in others}
        )
        words.append(f"to {group.encoder}" if named else f"protocol {group.protocol_id}")
    if len({other.images_total for other in others}) > 1:
        words.append(f"{group.images_total:,} images")
    if related:
        words.append(RELATED)
    return " · ".join(words)


def against_size(rows: pd.DataFrame) -> list[Figure]:
    """Final value over the sizes, a line an arm; nothing where there is one size only."""
    final = rows[rows["final"]]
    found = distances(final)
    panels = []
    for group in found:
        part = of_group(final, group)
        series = lines(summarise(part, ["arm", "size"]), "parameters")
        if series and part["size"].nunique() > 1:
            sizes = {str(size): of_size["parameters"].mean() for size, of_size in by_size(part)}
            marks = [(float(place), size) for size, place in sizes.items() if place == place]
            x = {"label": AXES["parameters"], "log": True, "marks": marks}
            panels.append(panel(group, found, "", x, series, real_rule(part)))
    return figure("size", "Distance against model size", f"Finished runs. {SPREAD}", panels)


def against(rows: pd.DataFrame, axis: str) -> list[Figure]:
    """axis: "images", "flops" or "hours". Every snapshot; each size has a figure of its own."""
    found = distances(rows)
    panels = []
    for group in found:
        for size, part in by_size(of_group(rows, group)):
            series = lines(summarise(part, ["arm", "images"]), axis)
            if series:
                x = {"label": AXES[axis], "log": True}
                panels.append(
                    ((group.data, size), panel(group, found, size, x, series, real_rule(part)))
                )
    title = {"images": "training images", "flops": "training compute", "hours": "training time"}[
        axis
    ]
    caption = f"Every snapshot of every run, unfinished ones too. {SPREAD}"
    return by_place(axis, f"Distance against {title}", caption, panels, places(rows))


def over_sizes(rows: pd.DataFrame, axis: str) -> list[Figure]:
    """axis: "flops" or "hours". Finished runs of all sizes in one panel:
    what a given budget buys.
    """
    final = rows[rows["final"]]
    found = distances(final)
    panels = []
    for group in found:
        part = of_group(final, group)
        series = lines(summarise(part, ["arm", "size"]), axis)
        if series and part["size"].nunique() > 1:
            panels.append(
                panel(group, found, "", {"label": AXES[axis], "log": True}, series, real_rule(part))
            )
    title = {"flops": "everything spent on a run", "hours": "time, all sizes"}[axis]
    caption = f"Finished runs of all sizes; teacher, heads and encoder are counted. {SPREAD}"
    return figure(f"sizes-{axis}", f"Distance against {title}", caption, panels)


def against_encoder(rows: pd.DataFrame) -> list[Figure]:
    """Final value over the encoders' own strength, of two at least;
    `BESIDE_ENCODERS` are lines with their spread.
    """
    final = rows[rows["final"]]
    found = distances(final)
    figures = []
    for measure, strength in encoder_strengths(rows).items():
        panels = []
        for group in found:
            for size, part in by_size(of_group(final, group)):
                drawn = _encoder_panel(
                    group, found, size, part, STRENGTHS[measure], strength.get(group.data, {})
                )
                panels += [((group.data, size), drawn)] if drawn else []
        caption = (
            f"Finished runs. {SPREAD} A marker is an arm, "
            "placed by the measured strength of its own encoder; "
            "horizontal lines with bands of one standard deviation are vanilla and "
            "Self-Flow, which use none."
        )
        title = "Strength of the encoder against distance"
        if measure == "encoder_structure":
            title = "Spatial structure of the encoder against distance"
        figures += by_place(measure, title, caption, panels, places(final))
    return figures


def _encoder_panel(
    group: Group,
    found: list[Group],
    size: str,
    part: pd.DataFrame,
    label: str,
    strength: Mapping[str, Strength],
) -> dict[str, Any] | None:
    records = {
        record["arm"]: record
        for record in summarise(part.fillna({"encoder": "none"}), ["arm", "method", "encoder"])
    }
    series, rules = [], []
    by_method: dict[str, list[tuple[float, float]]] = {}
    for arm in sorted_arms(records):
        record = records[arm]
        if record["encoder"] in strength:
            entry = point(record, strength[record["encoder"]].value)
            if entry:
                series.append({"arm": arm, "points": [entry]})
                by_method.setdefault(record["method"], []).append((entry["x"], entry["y"]))
        elif arm in BESIDE_ENCODERS:
            entry = point(record, 0.0)
            rules += (
                [{"arm": arm, "label": arm, **{key: entry[key] for key in ("y", "low", "high")}}]
                if entry
                else []
            )
    if len({records[line["arm"]]["encoder"] for line in series}) < 2:
        return None
    guides = [sorted(places) for places in by_method.values() if len(places) > 1]
    return panel(group, found, size, {"label": label, "log": False}, series, rules) | {
        "guides": guides
    }
