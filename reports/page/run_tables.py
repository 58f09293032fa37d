"""Tables that close every page: the arms, every run, the protocols of its numbers, environments and
configuration.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from bench.core.store.files import flatten
from bench.core.store.runs import RunRecord
from reports.draw.table import Table, arm_cell, cell, columns
from reports.page.figures.cost import PARTS
from reports.study.groups import sorted_arms
from reports.study.runs import StudyResults, mapping

MOST_DIFFERING = 6  # configuration keys that get a column of their own in the table of runs


def arms_table(study: StudyResults) -> Table:
    """Blocks, head, encoder and cost of each arm and size."""
    # the runs of each line; lines in the order of data, width and arm
    members: dict[tuple[str, str, str], list[RunRecord]] = {}
    for run in study.runs.values():
        members.setdefault((run.data, run.arm, run.size), []).append(run)
    arms = sorted_arms(arm for _, arm, _ in members)

    def position(key: tuple[str, str, str]) -> tuple[str, int, int]:
        return key[0], members[key][0].width, arms.index(key[1])

    # a line: what its first run is, and the means of what was measured
    lines = []
    for data, arm, size in sorted(members, key=position):
        runs = members[data, arm, size]
        run = runs[0]
        blocks = run.blocks or {}
        parameters, flops = (
            mapping(run.cost.get(name)) for name in ("parameters", "flops_per_image")
        )
        total = flops.get("total")
        extra = [
            f"{part} {100 * flops[part] / total:.0f} %"
            for part in PARTS[1:]
            if total and flops.get(part)
        ]
        lines.append([
            arm_cell(arm), cell(data), cell(size),
            cell(" → ".join(f"{who} {block}" for who, block in blocks.items()) or "none"),
            cell(run.head or "none"),
            cell(run.encoder or "none"), cell(parameters.get("backbone")),
            cell(parameters.get("heads")),
            cell(total, 3), cell(", ".join(extra) or "none"),
            cell(run.cost.get("encoder_training_flops") or None, 3),
            cell(_mean([one.cost.get("seconds_per_step") for one in runs]), 3),
            cell(_scaled(run.cost.get("peak_memory_bytes"), 2**20), 4), cell(len(runs)),
            cell(run.cost.get("not_counted") or ""),
        ])  # fmt: skip
    heads = columns(
        *("arm", "data", "size", "blocks", "head", "encoder", "#parameters", "#of the head"),
        *("#FLOPs / image", "of which", "#encoder training (FLOPs)", "#s / step", "#peak MiB"),
        *("#runs", "not counted"),
    )
    note = (
        "Blocks count from 1. FLOPs: "
        "one training image, forward and backward, all parts; time is measured."
    )
    return Table("arms", "Arms", note, heads, lines).without_common_columns()


def _mean(values: Iterable[object]) -> float | None:
    known = [float(value) for value in values if isinstance(value, int | float)]
    return sum(known) / len(known) if known else None


def _scaled(value: object, unit: float) -> float | None:
    return float(value) / unit if isinstance(value, int | float) else None


def runs_table(study: StudyResults) -> Table:
    """Every run: state, cost, environment and the configuration keys in which the runs differ."""
    spent = study.rows.groupby("run")[["flops", "hours"]].max().to_dict("index")
    environments = _environments(study)
    differing = _differing(study)
    lines = []
    for run in study.runs.values():
        settings = run.settings
        lines.append(
            [
                cell(run.id),
                arm_cell(run.arm),
                cell(run.size),
                cell(run.seed),
                cell(run.state),
                cell(run.status.get("images")),
                *(cell(spent.get(run.id, {}).get(name), 3) for name in ("flops", "hours")),
                cell(run.cost.get("seconds_per_step"), 3),
                cell(_scaled(run.cost.get("peak_memory_bytes"), 2**20), 4),
                cell(environments[json.dumps(run.environment, sort_keys=True)][0]),
                *(cell(str(settings.get(key, "–"))) for key in differing),
            ]
        )
    heads = columns(
        *("run", "arm", "size", "#seed", "state", "#images", "#FLOPs", "#hours", "#s / step"),
        *("#peak memory (MiB)", "environment", *differing),
    )
    return Table("runs", "Runs", "Every run folder that this page is made from.", heads, lines)


def _environments(study: StudyResults) -> dict[str, tuple[str, dict[str, object], int]]:
    """Distinct environments: JSON -> (short name, content, number of runs), the most used first."""
    counted = Counter(json.dumps(run.environment, sort_keys=True) for run in study.runs.values())
    ordered = sorted(counted, key=lambda text: (-counted[text], text))
    return {
        text: (f"E{index + 1}", json.loads(text), counted[text])
        for index, text in enumerate(ordered)
    }


def environments_table(study: StudyResults) -> Table:
    """What the runs ran on."""
    lines = [
        [cell(name), cell(count), cell(_in_words(content) or "not recorded")]
        for name, content, count in _environments(study).values()
    ]
    return Table("environments", "Environments", "", columns("name", "#runs", "what"), lines)


def protocols_table(study: StudyResults) -> Table:
    """Every protocol that a number of the page was measured under, in full."""
    import pandas as pd

    rows = study.rows
    known = rows[
        pd.Series(
            [isinstance(protocol, dict) for protocol in rows["protocol"]],
            index=rows.index,
            dtype=bool,
        )
    ]
    first = known.drop_duplicates(["metric", "protocol_id"]).sort_values(["metric", "protocol_id"])
    lines = [
        [cell(line["protocol_id"]), cell(line["metric"]), cell(_in_words(line["protocol"]))]
        for line in first.to_dict("records")
    ]
    heads = columns("protocol", "metric", "what")
    note = "Numbers are compared only under the same protocol."
    return Table("protocols", "Protocols", note, heads, lines)


def _in_words(tree: dict[str, object]) -> str:
    return "; ".join(
        f"{key} {value}" for key, value in sorted(flatten(tree).items()) if value not in (None, "")
    )


# Keys that other columns show, or that change no number.
_SHOWN = ("seed", "name", "runs", "cache", "method.", "size", "encoder", "data.name", "compute")


def _differing(study: StudyResults) -> list[str]:
    """Configuration keys whose values differ between runs, beyond what the other columns show."""
    values: dict[str, set[str]] = {}
    for run in study.runs.values():
        for key, value in run.settings.items():
            values.setdefault(key, set()).add(str(value))
    return [key for key in sorted(values) if len(values[key]) > 1 and not key.startswith(_SHOWN)][
        :MOST_DIFFERING
    ]


def configuration_table(study: StudyResults) -> Table:
    """What all runs have in common."""
    settings = [run.settings for run in study.runs.values() if run.configuration]
    common = dict(settings[0]) if settings else {}
    for other in settings[1:]:
        common = {
            key: value for key, value in common.items() if key in other and other[key] == value
        }
    return Table(
        "configuration",
        "Configuration that all runs share",
        "What differs between runs is in the tables of arms and runs.",
        columns("key", "value"),
        [[cell(key), cell(str(value))] for key, value in sorted(common.items())],
    )


# What closes every page, in this order.
APPENDIX = (arms_table, runs_table, protocols_table, environments_table, configuration_table)
