"""What a study can show, before it is run: from how much finished runs of its sizes scatter.

for line in what_it_can_show(rows, "digits", {"nano": [("selfflow", 0), ("vanilla", 0), ...]}):
    print(line)

python -m bench.sweep study=demo dry_run=true
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bench.core.metrics import facts_of
from reports.findings.claims import SHARES
from reports.findings.outcomes import unit_of
from reports.findings.power import POWER, detectable
from reports.findings.sentences import size_text
from reports.study.cells import LOGARITHMIC, Comparable, comparable
from reports.study.contrasts import LEAST_DF, LEAST_SEEDS, shared_seeds, two_way_variance

if TYPE_CHECKING:
    import pandas as pd

PlannedArms = Mapping[str, Iterable[tuple[str, int]]]  # of a size: arm and seed of every run
MORE = 2  # how many times the seeds, beside what is planned


def what_it_can_show(rows: pd.DataFrame, data: str, planned: PlannedArms) -> list[str]:
    """A line a size and measure: the smallest difference of two arms that the planned seeds find
    four times in five, and that twice as many would.

    rows: of finished runs, of whatever study; where none of a size share two seeds, the line says
    what is needed to know.
    """
    known = [
        runs
        for measure in (*LOGARITHMIC, *_shares(rows))
        for runs in comparable(rows, measure)
        if runs.group.data == data
    ]
    lines = []
    for size, runs in planned.items():
        seeds_of: dict[str, set[int]] = {}
        for arm, seed in runs:
            seeds_of.setdefault(arm, set()).add(seed)
        seeds = len(set.intersection(*seeds_of.values())) if seeds_of else 0
        arms = len(seeds_of)
        if arms < 2 or seeds < LEAST_SEEDS or (arms - 1) * (seeds - 1) < LEAST_DF:
            lines.append(
                f"{size}: {arms} arm{'s' * (arms != 1)} of {seeds} shared "
                f"seed{'s' * (seeds != 1)} give no verdict inside a size "
                f"({LEAST_SEEDS} seeds and {LEAST_DF} degrees of freedom are needed)"
            )
            continue
        told: set[str] = set()
        for one in known:
            if (scatter := pair_deviation(one, size)) and one.group.metric not in told:
                told.add(one.group.metric)
                line = _line(scatter, arms, seeds, unit_of(one))
                lines.append(f"{size}, {one.group.metric}: {line}")
        if not told:
            lines.append(
                f"{size}: what {seeds} seeds can show is known once two arms have two seeds each"
            )
    return lines


def _shares(rows: pd.DataFrame) -> list[str]:
    return [name for name in sorted(rows["metric"].unique()) if facts_of(name).family == SHARES]


def pair_deviation(runs: Comparable, size: str) -> float | None:
    """Deviation of the difference of two runs of one seed at a size, from all arms that share the
    most seeds; None where no two share two.
    """
    cells = {cell: values for cell, values in runs.final.items() if cell[1] == size}
    most = max((len(values) for values in cells.values()), default=0)
    whole = [values for values in cells.values() if len(values) == most]
    seeds = shared_seeds(whole) if len(whole) > 1 else []
    if len(seeds) < 2:
        return None
    variance, _ = two_way_variance(np.array([[one[seed] for seed in seeds] for one in whole]))
    return math.sqrt(2 * variance)


def _line(scatter: float, arms: int, seeds: int, unit: str) -> str:
    # two arms and vanilla where that has six degrees of freedom, else all arms
    lenders = min(3, arms) if (min(3, arms) - 1) * (seeds - 1) >= LEAST_DF else arms
    now, more = (
        size_text(detectable(scatter, n, (lenders - 1) * (n - 1)), unit)
        for n in (seeds, MORE * seeds)
    )
    return (
        f"a difference of {now} between two arms is found in {POWER:.0%} of studies of {seeds} "
        f"seeds, {more} with {MORE * seeds} (a pair of one seed scatters by "
        f"{size_text(scatter, unit)} in finished runs)"
    )
