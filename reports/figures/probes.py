"""What the features know: accuracy over depth, layer x timestep maps side by side, and their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.figures import figure
from reports.figures.distance import SPREAD, _series, several_of, title_of
from reports.summary import groups, metric_label, of_group, summarise
from reports.theme import sorted_arms

if TYPE_CHECKING:
    import pandas as pd


def over_depth(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Mean over the measured noise levels against the block, a line an arm."""
    final = rows[rows["final"]]
    found = groups(final, per_block=True)
    panels = []
    for group in found:
        for size, part in of_group(final, group).groupby("size", sort=False):
            per_run = part.groupby(["arm", "run", "block"], as_index=False).agg(
                value=("value", "mean"), parameters=("parameters", "first"), flops=("flops", "first"),
                hours=("hours", "first"), real=("real", "mean"), stderr=("stderr", "mean"), related=("related", "first"),
            )  # fmt: skip
            series = _series(summarise(per_run, ["arm", "block"]), "block")
            if any(line["points"] for line in series):
                panels.append({
                    "kind": "line",
                    "title": f"{title_of(group, part, several_of(found))} · {size}",
                    "x": {"label": "block", "log": False},
                    "y": {"label": f"{metric_label(group.metric)}, mean over t", "log": False},
                    "series": series,
                })
    caption = f"Finished runs, features of the EMA weights, averaged over the measured noise levels. {SPREAD}"
    return figure("depth", "What the blocks know", caption, panels)


def maps(rows: pd.DataFrame) -> dict[str, Any] | None:
    """One map an arm, all on one colour scale."""
    panels = []
    for group, size, tables, part, several in _tables(rows):
        values = [value for cells, _, _ in tables.values() for line in cells for value in line if value is not None]
        if not values:
            continue
        for arm, (cells, blocks, levels) in tables.items():
            panels.append(
                _panel(arm, f"{arm} · {size}", cells, blocks, levels, min(values), max(values), metric_label(group.metric))
            )
    caption = "Mean over seeds of the finished runs; block numbers count from 1, t = 1 is noise. One colour scale for all."
    return figure("maps", "Layer x timestep maps", caption, panels)


def differences(rows: pd.DataFrame, reference: str = "vanilla") -> dict[str, Any] | None:
    """Each arm's map minus the reference arm's, on a scale symmetric about zero."""
    panels = []
    for group, size, tables, _, _ in _tables(rows):
        if reference not in tables or len(tables) < 2:
            continue
        base, blocks, levels = tables[reference]
        known = {(block, level): base[i][j] for i, block in enumerate(blocks) for j, level in enumerate(levels)}
        changed = {}
        for arm, (cells, arm_blocks, arm_levels) in tables.items():
            if arm != reference:
                changed[arm] = ([
                    [_minus(cells[i][j], known.get((block, level))) for j, level in enumerate(arm_levels)]
                    for i, block in enumerate(arm_blocks)
                ], arm_blocks, arm_levels)  # fmt: skip
        values = [abs(value) for cells, _, _ in changed.values() for line in cells for value in line if value is not None]
        if not values:
            continue
        most = max(max(values), 1e-6)
        for arm, (cells, arm_blocks, arm_levels) in changed.items():
            panel = _panel(arm, f"{arm} − {reference} · {size}", cells, arm_blocks, arm_levels, -most, most,
                           f"difference of {metric_label(group.metric)}")  # fmt: skip
            panels.append(panel | {"diverging": True})
    caption = f"Map of each arm minus the map of {reference}; orange: lower, purple: higher."
    return figure("differences", f"Differences from {reference}", caption, panels)


def _minus(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _tables(rows: pd.DataFrame) -> list[tuple]:
    """(group, size, {arm: (cells per block, blocks, levels)}, rows, several) for probe metrics with blocks and levels."""
    final = rows[rows["final"]]
    found = groups(final, per_block=True)
    out = []
    for group in found:
        for size, part in of_group(final, group).groupby("size", sort=False):
            part = part[part["t"].notna()]
            tables = {}
            for arm in sorted_arms(part["arm"]):
                table = part[part["arm"] == arm].pivot_table(index="block", columns="t", values="value", aggfunc="mean")
                cells = [[None if value != value else float(value) for value in line] for line in table.to_numpy()]
                if cells:
                    tables[arm] = (cells, [int(block) for block in table.index], [float(t) for t in table.columns])
            if tables:
                out.append((group, size, tables, part, several_of(found)))
    return out


def _panel(
    arm: str, title: str, cells: list, blocks: list[int], levels: list[float], low: float, high: float, label: str
) -> dict[str, Any]:
    return {
        "kind": "heat", "arm": arm, "title": title, "cells": cells, "low": low, "high": high, "label": label,
        "x": {"label": "noise level t", "values": levels}, "y": {"label": "block", "values": blocks},
    }  # fmt: skip
