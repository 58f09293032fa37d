"""Results against model size, against what was spent on finished runs, and against the strength of
an arm's encoder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.core.metrics import Facts, facts_of
from reports.draw.axes import number
from reports.draw.panels import (
    Axis,
    Figure,
    LinePanel,
    Place,
    Point,
    Rule,
    Series,
    Shown,
    chosen_figures,
)
from reports.draw.theme import arm_label, encoder_name, options_label
from reports.study.groups import (
    Group,
    Summary,
    places,
    sorted_arms,
    summarise,
)
from reports.study.runs import StudyResults
from reports.study.strengths import MeasuredStrength, encoder_strengths

if TYPE_CHECKING:
    import pandas as pd

SPREAD = "Markers are means over seeds, whiskers one standard deviation over seeds."
FLOOR = "Grey band: by how much one run scatters, which decides nothing."
FAR = 5  # times below the least point: where a line of held-out pictures is drawn no more
RELATED = "open markers: related to the arm's encoder"
AXES = {
    "parameters": "parameters of the backbone",
    "flops": "training compute (FLOPs)",
    "hours": "training time (hours on its device)",
    "images": "training images",
}
SPENT = {"images": "images", "flops": "FLOPs", "hours": "hours"}  # as selectors name them
# Arms without an encoder that are compared with those of all encoders.
BESIDE_ENCODERS = ("vanilla", "selfflow")
_HASH = re.compile(r"[0-9a-f]{8,64}")  # of files: which one it is, a reader cannot see
ORDERS = {"encoder_linear_probe": "linear probe", "encoder_structure": "spatial structure"}


# What the panels of this page are made of ---------------------------------------------------------


def summary_point(summary: Summary, x: float | None) -> Point | None:
    """A point with whiskers of one deviation and a tooltip, or None without a value or a place."""
    if summary.mean is None or x is None or not math.isfinite(x):
        return None
    mean, spread = summary.mean, summary.sd or 0.0
    name = arm_label(summary.arm)
    where = f"{name} {summary.size}" if summary.size else name
    tip = f"{where}: {number(mean, 4)} ± {number(spread, 2)}, n={summary.n}"
    tip += f", related: {summary.related}" if summary.related else ""
    related = bool(summary.related)
    return Point(float(x), mean, mean - spread, mean + spread, summary.n, tip, related)


def arm_lines(summaries: Sequence[Summary], axis: str) -> list[Series]:
    """A series for each arm, points in the order of `axis`, a field of `Summary`."""
    by_arm: dict[str, list[Point]] = {}
    for summary in summaries:
        if point := summary_point(summary, getattr(summary, axis)):
            by_arm.setdefault(summary.arm, []).append(point)
    return [
        Series(arm, sorted(by_arm[arm], key=lambda point: point.x)) for arm in sorted_arms(by_arm)
    ]


def group_panel(
    group: Group,
    found: Collection[Group],
    size: str,
    x: Axis,
    series: Sequence[Series],
    rules: Sequence[Rule] = (),
    guides: Sequence[Sequence[tuple[float, float]]] = (),
    curves: Sequence[Series] = (),
) -> LinePanel:
    """A line panel of a group (one of `found`), logarithmic where the values span more than a
    factor of three. A rule far below all points is said and not drawn: it would make one line of
    all.
    """
    points = [point for line in series for point in line.points]
    least = min(point.y for point in points)
    far = [rule for rule in rules if not rule.arm and 0 < FAR * rule.y < least]
    rules = [rule for rule in rules if rule not in far]
    shown = [point.y for point in points] + [rule.y for rule in rules]
    spans = all(value > 0 for value in shown) and max(shown) / min(shown) > 3
    y = Axis(group.facts.axis, log=spans and not group.higher_is_better)
    words = [group_note(group, found, any(point.related for point in points))]
    words += [f"{rule.label}: {number(rule.y, 2)}, far below" for rule in far]
    note = " · ".join(words)
    return LinePanel(group.title(size), x, y, series, rules, note, guides, curves)


def group_note(group: Group, found: Collection[Group], related: bool = False) -> str:
    """The direction, and the protocol and the budget where other groups of the same metric differ
    in them.

    related: whether an arm of the panel is marked as aligned with what the metric looks through.
    """
    others = [other for other in found if (other.metric, other.data) == (group.metric, group.data)]
    words = [group.facts.direction]
    words += told_apart(group, others)
    if len({other.images_total for other in others}) > 1:
        words.append(f"{group.images_total:,} images")
    if len({other.batch for other in others}) > 1:
        words.append(f"batch {group.batch}")
    if related:
        words.append(RELATED)
    return " · ".join(words)


def told_apart(group: Group, others: Iterable[Group]) -> list[str]:
    """What the group's protocol has and those of the others lack, in words, the fewest that tell it
    from each of them: ["to local M"]; with which encoder a metric compares comes first.
    """
    own = dict(group.protocol)
    left = {one.protocol_id: dict(one.protocol) for one in others}
    left.pop(group.protocol_id, None)
    words = []
    keys = {key for one in (own, *left.values()) for key in one}
    hashed = {key for key in keys if _HASH.fullmatch(own.get(key, ""))}
    for key in sorted(keys, key=lambda key: (key != "encoder", key in hashed, key)):
        values = sorted({one.get(key, "none") for one in (own, *left.values())})
        value = own.get(key, "none")
        unlike = {name: one for name, one in left.items() if one.get(key, "none") != value}
        if not unlike:
            continue
        left = {name: one for name, one in left.items() if name not in unlike}
        name = key.rpartition(".")[2].replace("_", " ")
        if key == "encoder":
            words.append(f"to {encoder_name(value)}")
        elif key in hashed:
            words.append(f"{name} {values.index(value) + 1} of {len(values)}")
        else:
            words.append(f"{name} {value}")
    return [*words, *([f"protocol {group.protocol_id}"] if left else [])]


def metric_of(group: Group, found: Collection[Group]) -> Shown:
    """What a panel of a group shows, for its figure's selector: the metric, told apart from others
    of its name by encoder, protocol and budget.
    """
    label = group.facts.label
    others = [one for one in found if (one.metric, one.data) == (group.metric, group.data)]
    if len(others) > 1:
        own = group_note(group, found).partition(" · ")[2]
        # "CKNNA to local M", "fd_pixels (65,536 images)"
        label += f" {own}" if own.startswith("to ") else f" ({own})" if own else ""
    return {"metric": label}


def real_rule(part: pd.DataFrame) -> list[Rule]:
    """The held-out real pictures' own value as a dotted line."""
    real = part["real"].dropna()
    what = {facts_of(str(one)).real for one in part["metric"]}
    held_out = "held-out real pictures" if what == {Facts.real} else ", ".join(sorted(what))
    return [Rule(held_out, float(real.mean()))] if len(real) else []


# The figures --------------------------------------------------------------------------------------


def against_size(study: StudyResults) -> list[Figure]:
    """Final value over the sizes, a line an arm; nothing where there is one size only."""
    found = study.distances
    panels = []
    for group in found:
        part = study.part(group)
        series = arm_lines(summarise(part, ["arm", "size"]), "parameters")
        if series and part["size"].nunique() > 1:
            x = size_axis(part)
            panel = replace(group_panel(group, found, "", x, series, real_rule(part)), beside=True)
            panels.append(((group.data, ""), metric_of(group, found), panel))
    caption = f"Finished runs. {SPREAD}"
    return chosen_figures(
        "size", "Results against model size", caption, panels, data_sets(study.rows)
    )


def data_sets(rows: pd.DataFrame) -> list[Place]:
    """The places of figures over all sizes."""
    return [(str(data), "") for data in sorted(rows["data"].unique())]


def size_axis(rows: pd.DataFrame) -> Axis:
    """Parameters on a logarithmic axis, the sizes named."""
    of_sizes: dict[str, list[float]] = {}
    for size, parameters in zip(rows["size"].tolist(), rows["parameters"].tolist(), strict=True):
        if parameters == parameters:
            of_sizes.setdefault(str(size), []).append(float(parameters))
    marks = sorted((sum(found) / len(found), size) for size, found in of_sizes.items())
    return Axis(AXES["parameters"], log=True, marks=marks)


def spent_over_sizes(study: StudyResults) -> list[Figure]:
    """Finished runs of all sizes in one panel, over FLOPs and over hours: what a budget buys."""
    panels = [*_spent(study, "flops"), *_spent(study, "hours")]
    caption = f"Finished runs of all sizes; teacher, heads and encoder are counted. {SPREAD}"
    title = "What a budget buys, over all sizes"
    return chosen_figures("sizes-spent", title, caption, panels, data_sets(study.rows))


def _spent(study: StudyResults, axis: str) -> list[tuple[Place, Shown, LinePanel]]:
    found = study.distances
    panels = []
    for group in found:
        part = study.part(group)
        series = arm_lines(summarise(part, ["arm", "size"]), axis)
        if series and part["size"].nunique() > 1:
            x = Axis(AXES[axis], log=True)
            panel = group_panel(group, found, "", x, series, real_rule(part))
            shown = {"over": SPENT[axis], **metric_of(group, found)}
            panels.append(((group.data, ""), shown, panel))
    return panels


def against_encoder(study: StudyResults) -> list[Figure]:
    """Final value over the encoders' own strength, of two at least; `BESIDE_ENCODERS` are lines
    with their spread.
    """
    found = study.distances
    panels = []
    for measure, strengths in encoder_strengths(study.rows).items():
        for group in found:
            for size, part in study.by_size(group):
                strength = strengths.get(group.data, {})
                panel = _encoder_panel(group, found, size, part, measure, strength)
                shown = {"ordered by": ORDERS.get(measure, measure), **metric_of(group, found)}
                panels += [((group.data, size), shown, panel)] if panel else []
    caption = (
        f"Finished runs. {SPREAD} A marker is an arm, "
        "placed by the measured strength of its own encoder; "
        "horizontal lines with bands of one standard deviation are Vanilla and "
        "Self-Flow, which use none."
    )
    title = "Results against the strength of the encoder"
    return chosen_figures("encoder", title, caption, panels, places(study.final))


def _encoder_panel(
    group: Group,
    found: Collection[Group],
    size: str,
    part: pd.DataFrame,
    measure: str,
    strength: Mapping[str, MeasuredStrength],
) -> LinePanel | None:
    columns = ["arm", "method", "encoder"]
    summaries = {one.arm: one for one in summarise(part.fillna({"encoder": "none"}), columns)}
    series, rules = [], []
    by_method: dict[str, list[tuple[float, float]]] = {}  # with its options
    for arm in sorted_arms(summaries):
        summary = summaries[arm]
        if summary.encoder in strength:
            if point := summary_point(summary, strength[summary.encoder].value):
                named = replace(point, name=_beside(arm, summary.encoder))
                series.append(Series(arm, [named]))
                if "(" not in summary.encoder:  # one that is made of another is no step of a ladder
                    by_method.setdefault(arm.partition("/")[0], []).append((point.x, point.y))
        elif arm in BESIDE_ENCODERS and (point := summary_point(summary, 0.0)):
            rules.append(Rule(arm_label(arm), point.y, point.low, point.high, arm))
    if len({summaries[line.arm].encoder for line in series}) < 2:
        return None
    guides = [sorted(points) for points in by_method.values() if len(points) > 1]
    x = Axis(facts_of(measure).axis)
    return group_panel(group, found, size, x, series, rules, guides)


def _beside(arm: str, encoder: str) -> str:
    """What stands beside the marker of an arm: its encoder, and the options of its method."""
    options = arm.partition("/")[0].partition("(")[2].removesuffix(")")
    return " ".join(filter(None, (encoder_name(encoder), options_label(options))))
