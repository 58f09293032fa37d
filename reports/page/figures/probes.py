"""What the features know: accuracy over depth, layer x timestep maps side by side,
and their differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.draw.content import Figure, by_place, figure
from reports.draw.theme import sorted_arms
from reports.page.figures.distance import SPREAD, lines, note_of, panel, title_of
from reports.study.groups import by_size, groups, metric_label, of_group, places, summarise

if TYPE_CHECKING:
    import pandas as pd

# One arm's map: accuracy per block and noise level (None where not measured), the blocks, the noise
# levels.
Map = tuple[list[list[float | None]], list[int], list[float]]


def over_depth(rows: pd.DataFrame) -> list[Figure]:
    """Mean over the measured noise levels against the block, a line an arm."""
    final = rows[rows["final"]]
    found = groups(final, per_block=True)
    panels = []
    for group in found:
        for size, part in by_size(of_group(final, group)):
            # first a mean over t within each run, so that the spread is that of runs
            names = ["parameters", "flops", "hours", "real", "stderr", "related"]
            others = {name: (name, "first") for name in names}
            per_run = part.groupby(["arm", "run", "block"], as_index=False).agg(
                value=("value", "mean"), **others
            )
            series = lines(summarise(per_run, ["arm", "block"]), "block")
            if series:
                blocks = sorted(int(block) for block in part["block"].unique())
                x = {"label": "block", "log": False, "values": blocks}
                panels.append(((group.data, size), panel(group, found, size, x, series, [])))
    caption = (
        "Finished runs, features of the EMA weights, "
        f"averaged over the measured noise levels. {SPREAD}"
    )
    return by_place("depth", "What the blocks know", caption, panels, places(final))


def maps(rows: pd.DataFrame) -> list[Figure]:
    """One map an arm, all of a figure on one colour scale; the largest size is open,
    the others are folded.
    """
    figures: list[Figure] = []
    caption = (
        "Mean over seeds of the finished runs. Blocks count from 1; "
        "t = 1 is noise. One colour scale for all arms."
    )
    for name, title, label, tables in _tables(rows):
        values = _values(tables)
        panels = [
            _panel(arm, arm, table, min(values), max(values), label)
            for arm, table in tables.items()
        ]
        figures += figure(
            f"maps-{name}", f"Layer × timestep maps: {title}", caption, panels, folded=bool(figures)
        )
    return figures


def differences(rows: pd.DataFrame, reference: str = "vanilla") -> list[Figure]:
    """Each arm's map minus the reference arm's, on a scale symmetric about zero."""
    figures: list[Figure] = []
    caption = f"Map of each arm minus the map of {reference}: purple is lower, orange is higher."
    for name, title, label, tables in _tables(rows):
        if reference not in tables:
            continue
        changed = {
            arm: _minus(table, tables[reference])
            for arm, table in tables.items()
            if arm != reference
        }
        values = [abs(value) for value in _values(changed)]
        if values:
            most = max(max(values), 1e-6)
            panels = [
                _panel(arm, f"{arm} − {reference}", table, -most, most, f"difference of {label}")
                | {"diverging": True}
                for arm, table in changed.items()
            ]
            title = f"Differences from {reference}: {title}"
            figures += figure(f"differences-{name}", title, caption, panels, folded=bool(figures))
    return figures


def _minus(table: Map, base: Map) -> Map:
    known = {
        (block, level): base[0][i][j]
        for i, block in enumerate(base[1])
        for j, level in enumerate(base[2])
    }

    def change(value: float | None, place: tuple[int, float]) -> float | None:
        other = known.get(place)
        return None if value is None or other is None else value - other

    cells, blocks, levels = table
    return (
        [
            [change(cells[i][j], (block, level)) for j, level in enumerate(levels)]
            for i, block in enumerate(blocks)
        ],
        blocks,
        levels,
    )


def _values(tables: dict[str, Map]) -> list[float]:
    return [
        value
        for cells, _, _ in tables.values()
        for line in cells
        for value in line
        if value is not None
    ]


def _tables(rows: pd.DataFrame) -> list[tuple[str, str, str, dict[str, Map]]]:
    """(name, title, label, {arm: map}) for each metric of blocks and levels and each size,
    from the largest.
    """
    final = rows[rows["final"] & rows["t"].notna()]
    found = groups(final, per_block=True)
    out = []
    for index, group in enumerate(found):
        for size, part in reversed(by_size(of_group(final, group))):
            title = f"{title_of(group, size)} ({note_of(group, found)})"
            tables = {}
            for arm in sorted_arms(part["arm"]):
                table = part[part["arm"] == arm].pivot_table(
                    index="block", columns="t", values="value", aggfunc="mean"
                )
                if table.size:
                    cells = [
                        [None if value != value else float(value) for value in line]
                        for line in table.to_numpy()
                    ]
                    tables[arm] = (
                        cells,
                        [int(block) for block in table.index],
                        [float(t) for t in table.columns],
                    )
            if _values(tables):
                out.append((f"{index}-{size}", title, metric_label(group.metric), tables))
    return out


def _panel(arm: str, title: str, table: Map, low: float, high: float, label: str) -> dict[str, Any]:
    cells, blocks, levels = table
    x, y = {"label": "noise level t", "values": levels}, {"label": "block", "values": blocks}
    place = {"kind": "heat", "arm": arm, "title": title, "x": x, "y": y}
    return place | {"cells": cells, "low": low, "high": high, "label": label}
