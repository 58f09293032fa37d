"""Tables as plain data: from rows and runs to headings and cells that the page sorts, the PDF prints and the CSV holds.

    table = {"id", "title", "note", "columns": [{"label", "number"}], "rows": [[cell, ...]]}

A cell is {"text", "sort", "arm"}: what is read, what is sorted by (a number or a text), the arm that it names.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from reports.axes import number
from reports.figures.cost import PARTS
from reports.figures.distance import encoder_strengths, title_of
from reports.runs import Run, Study, flat, mapping
from reports.summary import (
    QUALITY,
    Group,
    by_size,
    distances,
    groups,
    metric_label,
    of_group,
    pooled_deviation,
    summarise,
)
from reports.theme import sorted_arms

if TYPE_CHECKING:
    import pandas as pd

Cell = dict[str, Any]
MOST_DIFFERING = 6  # configuration keys that get a column of their own in the table of runs


def cell(value: Any, digits: int = 4) -> Cell:
    """A number with so many significant digits, or a text; None is written as a dash and sorted last."""
    if value is None or (isinstance(value, float) and value != value):
        return {"text": "–", "sort": None}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"text": str(value), "sort": str(value)}
    return {"text": f"{value:,}" if isinstance(value, int) else number(value, digits), "sort": value}


def arm_cell(arm: str) -> Cell:
    return {"text": arm, "sort": arm, "arm": arm}


def columns(*labels: str) -> list[dict[str, Any]]:
    """Headings; a leading # marks a column of numbers."""
    return [{"label": label.lstrip("#"), "number": label.startswith("#")} for label in labels]


def results_tables(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One table for each comparable set of distances, with what must stand beside a distance: spread, floor, copies."""
    final = rows[rows["final"]]
    found = distances(final)
    return [_results(final, group, f"results-{index}") for index, group in enumerate(found)]


def _results(final: pd.DataFrame, group: Group, name: str) -> dict[str, Any]:
    part = of_group(final, group)
    quality = _quality(final, part)
    beside = [metric for metric in QUALITY if any(key[2] == metric for key in quality)]
    lines = []
    for size, of_size in by_size(part):
        records = {record["arm"]: record for record in summarise(of_size, ["arm"])}
        floor, freedom = pooled_deviation(of_size)
        base = records.get("vanilla", {}).get("mean")
        for arm in sorted_arms(records):
            record = records[arm]
            change = (
                100 * (record["mean"] / base - 1) if record["mean"] is not None and base and arm != "vanilla" else None
            )
            note = record["related"] and "related to the arm's encoder"
            note += f"{'; ' if note else ''}{record['failed']} without a value" if record["failed"] else ""
            lines.append([
                arm_cell(arm),
                {"text": size, "sort": record["parameters"]},
                cell(record["mean"]),
                cell(record["sd"], 2),
                cell(record["n"]),
                {"text": "–" if change is None else f"{change:+.1f} %", "sort": change},
                {"text": "–" if floor is None else f"{100 * floor:.2g} % (df {freedom})", "sort": floor},
                cell(record["real"], 3),
                *(cell(quality.get((arm, size, metric)), 3) for metric in beside),
                cell(record["flops"], 3),
                cell(note),
            ])  # fmt: skip
    protocol = next(iter(part["protocol"]), None)
    note = (
        f"{metric_label(group.metric)}, {group.direction}. Mean and standard deviation (SD) over n seeds of finished "
    )
    note += "runs; noise floor: the deviation of the log, pooled over the arms of a size, with its degrees of freedom. "
    note += f"Protocol {group.protocol_id}: {_protocol_text(protocol)}."
    return {
        "id": name,
        "title": f"{title_of(group)} · after {group.images_total:,} images",
        "note": note,
        "columns": columns(
            "arm", "size", "#mean", "#SD", "#n", "#against vanilla", "#noise floor", "#held-out real",
            *(f"#{metric.replace('_', ' ')}" for metric in beside), "#FLOPs", "note",
        ),
        "rows": lines,
    }  # fmt: skip


def _quality(final: pd.DataFrame, part: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """{(arm, size, metric): mean} of what is said beside a distance, of the same runs."""
    chosen = final[final["metric"].isin(QUALITY) & final["run"].isin(part["run"].unique())]
    means = chosen.groupby(["arm", "size", "metric"])["value"].mean()
    return {key: float(value) for key, value in means.items() if value == value}  # type: ignore[misc]


def _protocol_text(protocol: Any) -> str:
    if not isinstance(protocol, dict):
        return "not recorded"
    return ", ".join(f"{key} {value}" for key, value in sorted(flat(protocol).items()) if value not in (None, ""))


def probe_table(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Best block and noise level of every arm on the mean over seeds, with the error of a proportion."""
    final = rows[rows["final"]]
    found = groups(final, per_block=True)
    lines = []
    for group in found:
        for size, part in by_size(of_group(final, group)):
            records = summarise(part.assign(t=part["t"].fillna(-1.0)), ["arm", "block", "t"])
            for arm in sorted_arms(record["arm"] for record in records):
                own = [record for record in records if record["arm"] == arm and record["mean"] is not None]
                if not own:
                    continue
                best = (max if group.higher_is_better else min)(own, key=lambda record: record["mean"])
                lines.append([
                    arm_cell(arm), {"text": size, "sort": best["parameters"]}, cell(group.metric),
                    cell(int(best["block"])), cell(best["t"] if best["t"] >= 0 else None, 2),
                    cell(best["mean"]), cell(best["sd"], 2), cell(best["n"]),
                    cell(best["stderr"], 2), cell(best["related"]),
                ])  # fmt: skip
    if not lines:
        return []
    note = "The best of all measured blocks and noise levels, chosen on the mean over seeds, is a little optimistic."
    heads = columns("arm", "size", "metric", "#block", "#t", "#mean", "#SD", "#n", "#binomial error", "note")
    return [{"id": "probes", "title": "Best place to probe", "note": note, "columns": heads, "rows": lines}]


def encoder_table(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Strength of each encoder by its own measures, and the line that raw pixels draw."""
    strengths = encoder_strengths(rows)
    pixels = rows.loc[rows["metric"] == "pixel_linear_probe", "value"].dropna()
    names = sorted({name for values in strengths.values() for name in values})
    if not names:
        return []
    lines = [
        [
            cell(name),
            cell(strengths.get("encoder_linear_probe", {}).get(name)),
            cell(strengths.get("encoder_structure", {}).get(name)),
        ]
        for name in names
    ]
    if len(pixels):
        lines.append([cell("raw pixels"), cell(float(pixels.mean())), cell(None)])
    heads = columns("encoder", "#linear probe (accuracy)", "#spatial structure")
    note = "Measured on the encoder's frozen features; one below the raw pixels knows less than its input shows."
    return [{"id": "encoders", "title": "Strength of the encoders", "note": note, "columns": heads, "rows": lines}]


def arms_table(study: Study) -> dict[str, Any]:
    """Blocks, head, encoder and cost of each arm and size."""
    first: dict[tuple[str, str, str], list[Run]] = {}
    for run in study.runs.values():
        key = (str(run.description.get("data")), run.arm, str(run.description.get("size")))
        first.setdefault(key, []).append(run)
    arms = {arm: position for position, arm in enumerate(sorted_arms(key[1] for key in first))}
    lines = []
    for key in sorted(first, key=lambda key: (key[0], first[key][0].description.get("width") or 0, arms[key[1]])):
        data, arm, size = key
        run, members = first[key][0], first[key]
        blocks = mapping(run.description.get("blocks"))
        parameters, flops = (mapping(run.cost.get(name)) for name in ("parameters", "flops_per_image"))
        total = flops.get("total")
        extra = [f"{part} {100 * flops[part] / total:.0f} %" for part in PARTS[1:] if total and flops.get(part)]
        lines.append([
            arm_cell(arm), cell(data), cell(size),
            cell(" → ".join(f"{who} {block}" for who, block in blocks.items()) or "none"),
            cell(run.description.get("head") or "none"),
            cell(run.description.get("encoder") or "none"), cell(parameters.get("backbone")),
            cell(parameters.get("heads")),
            cell(total, 3), cell(", ".join(extra) or "none"),
            cell(run.cost.get("encoder_training_flops") or None, 3),
            cell(_mean([member.cost.get("seconds_per_step") for member in members]), 3),
            cell(_scaled(run.cost.get("peak_memory_bytes"), 2**20), 4), cell(len(members)),
            cell(run.cost.get("not_counted") or ""),
        ])  # fmt: skip
    return {
        "id": "arms",
        "title": "Arms",
        "note": "Blocks count from 1. FLOPs: one training image, forward and backward, all parts; time is measured.",
        "columns": columns(
            "arm", "data", "size", "blocks", "head", "encoder", "#parameters", "#head parameters", "#FLOPs / image",
            "of which", "#encoder's own training (FLOPs)", "#s / step", "#peak memory (MiB)", "#runs", "not counted",
        ),
        "rows": lines,
    }  # fmt: skip


def _mean(values: list[Any]) -> float | None:
    known = [float(value) for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None


def _scaled(value: Any, unit: float) -> float | None:
    return float(value) / unit if isinstance(value, int | float) else None


def runs_table(study: Study) -> dict[str, Any]:
    """Every run: state, cost, environment and the configuration keys in which the runs differ."""
    spent = study.rows.groupby("run")[["flops", "hours"]].max().to_dict("index")
    environments = _environments(study)
    differing = _differing(study)
    lines = []
    for run in study.runs.values():
        settings = flat(run.configuration)
        lines.append([
            {"text": run.id, "sort": run.id}, arm_cell(run.arm), cell(run.description.get("size")),
            cell(run.description.get("seed")), cell(run.state), cell(run.status.get("images")),
            *(cell(spent.get(run.id, {}).get(name), 3) for name in ("flops", "hours")),
            cell(run.cost.get("seconds_per_step"), 3), cell(_scaled(run.cost.get("peak_memory_bytes"), 2**20), 4),
            cell(environments[json.dumps(run.environment, sort_keys=True)][0]),
            *(cell(str(settings.get(key, "–"))) for key in differing),
        ])  # fmt: skip
    return {
        "id": "runs",
        "title": "Runs",
        "note": "Every run folder that this page is made from.",
        "columns": columns(
            "run", "arm", "size", "#seed", "state", "#images", "#FLOPs", "#hours", "#s / step", "#peak memory (MiB)",
            "environment", *differing,
        ),
        "rows": lines,
    }  # fmt: skip


def _environments(study: Study) -> dict[str, tuple[str, dict[str, Any], int]]:
    """Distinct environments: JSON -> (short name, content, number of runs), the most used first."""
    counted = Counter(json.dumps(run.environment, sort_keys=True) for run in study.runs.values())
    ordered = sorted(counted, key=lambda text: (-counted[text], text))
    return {text: (f"E{index + 1}", json.loads(text), counted[text]) for index, text in enumerate(ordered)}


def environments_table(study: Study) -> dict[str, Any]:
    lines = [
        [
            cell(name),
            cell(count),
            cell("; ".join(f"{key} {value}" for key, value in sorted(flat(content).items())) or "not recorded"),
        ]
        for name, content, count in _environments(study).values()
    ]
    return {
        "id": "environments",
        "title": "Environments",
        "note": "",
        "columns": columns("name", "#runs", "what"),
        "rows": lines,
    }


# Keys that other columns show, or that change no number.
_SHOWN = ("seed", "name", "runs", "cache", "method.", "size", "encoder", "data.name", "compute")


def _differing(study: Study) -> list[str]:
    """Configuration keys whose values differ between runs, beyond what the other columns show."""
    values: dict[str, set[str]] = {}
    for run in study.runs.values():
        for key, value in flat(run.configuration).items():
            values.setdefault(key, set()).add(str(value))
    return [key for key in sorted(values) if len(values[key]) > 1 and not key.startswith(_SHOWN)][:MOST_DIFFERING]


def configuration_table(study: Study) -> dict[str, Any]:
    """What all runs have in common."""
    settings = [flat(run.configuration) for run in study.runs.values() if run.configuration]
    common = dict(settings[0]) if settings else {}
    for other in settings[1:]:
        common = {key: value for key, value in common.items() if key in other and other[key] == value}
    return {
        "id": "configuration",
        "title": "Configuration that all runs share",
        "note": "What differs between runs is in the tables of arms and runs.",
        "columns": columns("key", "value"),
        "rows": [[cell(key), cell(str(value))] for key, value in sorted(common.items())],
    }


def without_empty_columns(table: dict[str, Any]) -> dict[str, Any]:
    """The table without columns in which no row says anything."""
    kept = [
        index
        for index in range(len(table["columns"]))
        if any(row[index]["text"] not in ("", "–") for row in table["rows"])
    ]
    heads = [table["columns"][index] for index in kept]
    return table | {"columns": heads, "rows": [[row[index] for index in kept] for row in table["rows"]]}


# What closes every page, in this order.
APPENDIX = (arms_table, runs_table, environments_table, configuration_table)
