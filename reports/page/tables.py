"""Tables as plain data: from rows and runs to headings and cells that the page sorts,
the PDF prints and the CSV holds.

    table = {"id", "title", "note", "columns": [{"label", "number"}], "rows": [[cell, ...]]}

A cell is {"text", "sort", "arm"}: what is read, what is sorted by (a number or a text), the arm
that it names.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from reports.draw.axes import number, rounded
from reports.draw.theme import sorted_arms
from reports.page.figures.distance import title_of
from reports.study.groups import (
    QUALITY,
    Group,
    by_size,
    distances,
    floor_text,
    groups,
    is_related,
    log_means,
    metric_label,
    of_group,
    pooled_deviation,
    summarise,
)
from reports.study.runs import Study
from reports.study.strengths import (
    MEASURES,
    Strength,
    encoder_parameters,
    encoder_strengths,
    pixel_strengths,
)

if TYPE_CHECKING:
    import pandas as pd

Cell = dict[str, Any]
Beside = tuple[str, str, str]  # arm, size, metric
MEANINGS = {
    "label_agreement": (
        " Label agreement: share of samples that a classifier reads as the class "
        "that was asked for."
    ),
    "copy_rate": (
        " Copy rate: distance of a sample to its nearest training picture over that of a "
        "held-out picture, by their "
        "medians: about 1 for new pictures, 0 for copies."
    ),
}


def cell(value: Any, digits: int = 4) -> Cell:
    """A number with so many significant digits, or a text;
    None is written as a dash and sorted last.
    """
    if value is None or (isinstance(value, float) and value != value):
        return {"text": "–", "sort": None}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {"text": str(value), "sort": str(value)}
    return {
        "text": f"{value:,}" if isinstance(value, int) else number(value, digits),
        "sort": rounded(value),
    }


def arm_cell(arm: str) -> Cell:
    return {"text": arm, "sort": arm, "arm": arm}


def columns(*labels: str) -> list[dict[str, Any]]:
    """Headings; a leading # marks a column of numbers."""
    return [{"label": label.lstrip("#"), "number": label.startswith("#")} for label in labels]


def results_tables(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One table for each comparable set of distances, with what must stand beside a distance:
    spread, floor, copies.
    """
    final = rows[rows["final"]]
    found = distances(final)
    return [_results(final, group, f"results-{index}") for index, group in enumerate(found)]


def _results(final: pd.DataFrame, group: Group, name: str) -> dict[str, Any]:
    part = of_group(final, group)
    quality, related = _quality(final, part)
    beside = [metric for metric in QUALITY if any(key[2] == metric for key in quality)]
    lines = []
    for size, of_size in by_size(part):
        records = {record["arm"]: record for record in summarise(of_size, ["arm"])}
        floor, freedom = pooled_deviation(of_size)
        logs = log_means(of_size)
        for arm in sorted_arms(records):
            record = records[arm]
            compared = arm != "vanilla" and {arm, "vanilla"} <= logs.keys()
            change = 100 * math.expm1(logs[arm][0] - logs["vanilla"][0]) if compared else None
            kin = [group.metric] if record["related"] else []
            kin += [metric.replace("_", " ") for metric in beside if (arm, size, metric) in related]
            words = [f"related: {', '.join(kin)}"] if kin else []
            words += [f"{record['failed']} without a value"] if record["failed"] else []
            lines.append(
                [
                    arm_cell(arm),
                    {"text": size, "sort": rounded(record["parameters"])},
                    cell(record["mean"]),
                    cell(record["sd"], 2),
                    cell(record["n"]),
                    {
                        "text": "–" if change is None else f"{change:+.1f} %",
                        "sort": rounded(change),
                    },
                    {
                        "text": "–" if floor is None else f"{floor_text(floor)} (df {freedom})",
                        "sort": rounded(floor),
                    },
                    cell(record["real"], 3),
                    *(cell(quality.get((arm, size, metric)), 3) for metric in beside),
                    cell(record["flops"], 3),
                    cell("; ".join(words)),
                ]
            )
    note = (
        f"{metric_label(group.metric)}, "
        f"{group.direction}. Mean and deviation (SD) over n seeds of finished runs. "
        "Against vanilla: of the means of the log. Noise floor: "
        "the deviation of the log, pooled over the arms of a "
        "size, with its degrees of freedom. Related: to the arm's encoder. "
        f"Protocol {group.protocol_id} is written out at the end."
    )
    note += "".join(MEANINGS[metric] for metric in beside if metric in MEANINGS)
    return {
        "id": name,
        "title": f"{title_of(group)} · after {group.images_total:,} images",
        "note": note,
        "columns": columns(
            "arm",
            "size",
            "#mean",
            "#SD",
            "#n",
            "#against vanilla",
            "#noise floor",
            "#held-out real",
            *(f"#{metric.replace('_', ' ')}" for metric in beside),
            "#FLOPs",
            "note",
        ),
        "rows": lines,
    }


def _quality(final: pd.DataFrame, part: pd.DataFrame) -> tuple[dict[Beside, float], set[Beside]]:
    """Means of what is said beside a distance, of the same runs,
    and which of them are related to the arm's encoder.
    """
    keys = ["arm", "size", "metric"]
    chosen = final[final["metric"].isin(QUALITY) & final["run"].isin(part["run"].unique())]
    means: Any = chosen.groupby(keys)["value"].mean().dropna()
    related = set(chosen.loc[is_related(chosen), keys].itertuples(index=False, name=None))
    return {key: float(value) for key, value in means.items()}, related


def probe_table(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Best block and noise level of every arm on the mean over seeds,
    with the error of a proportion.
    """
    final = rows[rows["final"]]
    found = groups(final, per_block=True)
    lines = []
    for group in found:
        for size, part in by_size(of_group(final, group)):
            records = summarise(part.assign(t=part["t"].fillna(-1.0)), ["arm", "block", "t"])
            for arm in sorted_arms(record["arm"] for record in records):
                own = [
                    record
                    for record in records
                    if record["arm"] == arm and record["mean"] is not None
                ]
                if not own:
                    continue
                best = (max if group.higher_is_better else min)(
                    own, key=lambda record: record["mean"]
                )
                lines.append(
                    [
                        arm_cell(arm),
                        {"text": size, "sort": rounded(best["parameters"])},
                        cell(group.metric),
                        cell(int(best["block"])),
                        cell(best["t"] if best["t"] >= 0 else None, 2),
                        cell(best["mean"]),
                        cell(best["sd"], 2),
                        cell(best["n"]),
                        cell(best["stderr"], 2),
                        cell(best["related"]),
                    ]
                )
    if not lines:
        return []
    note = (
        "The best of all measured blocks and noise levels, chosen on the mean over seeds, "
        "is a little optimistic."
    )
    heads = columns(
        "arm", "size", "metric", "#block", "#t", "#mean", "#SD", "#n", "#binomial error", "note"
    )
    return [
        {
            "id": "probes",
            "title": "Best place to probe",
            "note": note,
            "columns": heads,
            "rows": lines,
        }
    ]


def encoder_table(study: Study) -> list[dict[str, Any]]:
    """Strength of each encoder by its own measures and its size,
    and the line that raw pixels draw.
    """
    strengths = encoder_strengths(study.rows)
    parts = [strengths.get(name, {}) for name in MEASURES]
    if not any(parts):
        return []
    parts.append(encoder_parameters(study.runs.values()))
    pixels = pixel_strengths(study.rows)
    lines, notes = [], []
    for data in sorted({data for part in parts for data in part}):
        for encoder in sorted({encoder for part in parts for encoder in part.get(data, {})}):
            found = [part.get(data, {}).get(encoder) for part in parts]
            notes += [one.note for one in found if one and one.note]
            lines.append([cell(encoder), cell(data), *(_strength(one) for one in found)])
        if data in pixels:
            notes += filter(None, [pixels[data].note])
            lines.append(
                [cell("raw pixels"), cell(data), _strength(pixels[data]), cell(None), cell(None)]
            )
    heads = columns(
        "encoder", "data", "#linear probe (accuracy)", "#spatial structure", "#parameters"
    )
    note = (
        "Measured on the encoder's frozen features; "
        "one below the raw pixels knows less than its input shows."
    )
    note = " ".join([note, *(f"{words[:1].upper()}{words[1:]}." for words in dict.fromkeys(notes))])
    return [
        {
            "id": "encoders",
            "title": "Strength of the encoders",
            "note": note,
            "columns": heads,
            "rows": lines,
        }
    ]


def _strength(found: Strength | None) -> Cell:
    return cell(found and found.value)


def without_common_columns(table: dict[str, Any]) -> dict[str, Any]:
    """The table without columns in which all of several rows say the same,
    which is then said once in the note.
    """
    if len(table["rows"]) < 2:
        return table
    texts = [[cell["text"] for cell in column] for column in zip(*table["rows"], strict=True)]
    kept = [
        index
        for index, column in enumerate(texts)
        if "arm" in table["rows"][0][index] or len(set(column)) > 1
    ]
    common = [
        f"{head['label']} {column[0]}"
        for index, (head, column) in enumerate(zip(table["columns"], texts, strict=True))
        if index not in kept and column[0] not in ("", "–")
    ]
    note = f"{table['note']} The same for all: {', '.join(common)}." if common else table["note"]
    return _chosen_columns(table | {"note": note.strip()}, kept)


def without_empty_columns(table: dict[str, Any]) -> dict[str, Any]:
    """The table without columns in which no row says anything."""
    kept = [
        index
        for index in range(len(table["columns"]))
        if any(row[index]["text"] not in ("", "–") for row in table["rows"])
    ]
    return _chosen_columns(table, kept)


def _chosen_columns(table: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    heads = [table["columns"][index] for index in kept]
    return table | {
        "columns": heads,
        "rows": [[row[index] for index in kept] for row in table["rows"]],
    }
