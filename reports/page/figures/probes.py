"""What the features know: accuracy over depth, layer x timestep maps side by side, and their
differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.draw.panels import Axis, Figure, HeatPanel, Place, Shown, chosen_figures
from reports.draw.theme import arm_label
from reports.page.figures.distance import SPREAD, arm_lines, group_panel, metric_of
from reports.study.contrasts import CONTROL
from reports.study.groups import by_size, groups, of_group, places, sorted_arms, summarise

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ArmMap:
    """Accuracy of one arm per block and noise level, None where it was not measured."""

    cells: Sequence[Sequence[float | None]]
    blocks: Sequence[int]
    levels: Sequence[float]

    @property
    def values(self) -> list[float]:
        """The numbers that there are."""
        return [value for line in self.cells for value in line if value is not None]

    def minus(self, base: ArmMap) -> ArmMap:
        """The differences at the places that both have."""
        known = {
            (block, level): base.cells[i][j]
            for i, block in enumerate(base.blocks)
            for j, level in enumerate(base.levels)
        }

        def change(value: float | None, other: float | None) -> float | None:
            return None if value is None or other is None else value - other

        cells = [
            [
                change(self.cells[i][j], known.get((block, level)))
                for j, level in enumerate(self.levels)
            ]
            for i, block in enumerate(self.blocks)
        ]
        return ArmMap(cells, self.blocks, self.levels)


@dataclass(frozen=True)
class _Maps:
    """The maps of all arms for one metric and size."""

    place: Place
    shown: Shown
    label: str
    by_arm: Mapping[str, ArmMap]


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
            series = arm_lines(summarise(per_run, ["arm", "block"]), "block")
            if series:
                blocks = sorted(int(block) for block in part["block"].unique())
                panel = group_panel(group, found, size, Axis("block", values=blocks), series)
                panels.append(((group.data, size), metric_of(group, found), panel))
    caption = (
        "Finished runs, features of the EMA weights, "
        f"averaged over the measured noise levels. {SPREAD}"
    )
    return chosen_figures("depth", "What the blocks know", caption, panels, places(final))


def maps(rows: pd.DataFrame) -> list[Figure]:
    """One map an arm, all of a metric and size on one colour scale."""
    panels = []
    for found in _maps(rows):
        values = _values(found.by_arm.values())
        for arm, one in found.by_arm.items():
            panel = _panel(arm, arm_label(arm), one, min(values), max(values), found.label)
            panels.append((found.place, found.shown, panel))
    caption = (
        "Mean over seeds of the finished runs. Blocks count from 1; "
        "t = 1 is noise. One colour scale for all arms."
    )
    order = places(rows[rows["final"]])
    return chosen_figures("maps", "Layer × timestep maps", caption, panels, order, beside=())


def differences(rows: pd.DataFrame, reference: str = CONTROL) -> list[Figure]:
    """Each arm's map minus the reference arm's, on a scale symmetric about zero."""
    panels = []
    name = arm_label(reference)
    for found in _maps(rows):
        if reference not in found.by_arm:
            continue
        base = found.by_arm[reference]
        changed = {arm: one.minus(base) for arm, one in found.by_arm.items() if arm != reference}
        values = [abs(value) for value in _values(changed.values())]
        most = max(*values, 1e-6) if values else 0.0
        for arm, one in changed.items() if values else ():
            label, title = f"difference of {found.label}", f"{arm_label(arm)} − {name}"
            panel = _panel(arm, title, one, -most, most, label, diverging=True)
            panels.append((found.place, found.shown, panel))
    caption = f"Map of each arm minus the map of {name}: purple is lower, orange is higher."
    title, order = f"Differences from {name}, by layer and timestep", places(rows[rows["final"]])
    return chosen_figures("differences", title, caption, panels, order, folded=True, beside=())


def _values(maps: Iterable[ArmMap]) -> list[float]:
    return [value for one in maps for value in one.values]


def _maps(rows: pd.DataFrame) -> list[_Maps]:
    """The maps of each metric of blocks and levels and each size, from the largest."""
    final = rows[rows["final"] & rows["t"].notna()]
    found = groups(final, per_block=True)
    out = []
    for group in found:
        for size, part in reversed(by_size(of_group(final, group))):
            by_arm = {}
            for arm in sorted_arms(part["arm"]):
                table = part[part["arm"] == arm].pivot_table(
                    index="block", columns="t", values="value", aggfunc="mean"
                )
                if table.size:
                    cells = [
                        [None if value != value else float(value) for value in line]
                        for line in table.to_numpy()
                    ]
                    blocks, levels = (
                        [int(b) for b in table.index],
                        [float(t) for t in table.columns],
                    )
                    by_arm[arm] = ArmMap(cells, blocks, levels)
            if _values(by_arm.values()):
                shown = metric_of(group, found)
                out.append(_Maps((group.data, size), shown, group.facts.axis, by_arm))
    return out


def _panel(
    arm: str, title: str, one: ArmMap, low: float, high: float, label: str, diverging: bool = False
) -> HeatPanel:
    x, y = Axis("noise level t", values=one.levels), Axis("block", values=one.blocks)
    return HeatPanel(arm, title, x, y, one.cells, low, high, label, diverging)
