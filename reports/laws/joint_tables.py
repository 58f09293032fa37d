"""Tables of scaling laws over sizes and images: the laws, the compute-optimal frontier, and arms
compared along it.

found = joint_tables(joint_laws(study.rows, study.runs))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reports.draw.axes import number
from reports.draw.table import Table, arm_cell, cell, columns
from reports.laws.comparison import crossing_point, effective_multiplier
from reports.laws.fits import percentiles
from reports.laws.frontier import optimum
from reports.laws.joint import Joint
from reports.laws.words import (
    between,
    crossing_text,
    each_pair,
    missed_text,
    refused_text,
    related_text,
    times_text,
)

BUDGETS = (0.1, 1.0, 10.0)  # of the largest that was measured
BEYOND = "beyond what was measured"


def joint_tables(found: Sequence[Joint]) -> list[Table]:
    """For each metric the joint laws, the frontier and the arms compared along it; where no arm of
    any metric has a law, one table that says why.
    """
    fitted = [one for one in found if one.laws]
    if not fitted:
        return [_joint(found[0], "joint-laws-0")] if found else []
    tables = []
    for index, one in enumerate(fitted):
        tables += [_joint(one, f"joint-laws-{index}"), _frontier(one, f"frontier-{index}")]
        tables += [_frontier_pairs(one, f"frontier-pairs-{index}")] if len(one.laws) > 1 else []
    return tables


def _joint(found: Joint, name: str) -> Table:
    note = (
        "y = E + A N^-a + B D^-b in parameters N and training images D, 95 % intervals. "
        "Snapshots of a run share its luck: the deviation of a run is that of what they share, "
        "the deviation of a snapshot that of the rest."
    )
    if not found.laws:
        note = "y = E + A N^-a + B D^-b in parameters N and training images D."
    lines = []
    for arm, law in found.laws.items():
        values = [f"{number(law[one], 4)} ({between(*law.interval(one))})" for one in law.names]
        rest = math.sqrt(max(law.deviation**2 - law.run_deviation**2, 0.0))
        deviations = [f"{100 * value:.2g} %" for value in (law.run_deviation, rest)]
        related = related_text(found.group.metric, found.related, arm)
        lines.append([arm_cell(arm), *map(cell, (*values, *deviations, related))])
    heads = columns(
        "arm", "E", "A", "a", "B", "b", "deviation of a run", "deviation of a snapshot", "note"
    )
    title = f"Scaling laws in N and D: {found.group.title() if found.laws else found.group.data}"
    note += missed_text(found.laws) + refused_text(found.refusals)
    return Table(name, title, note, heads, lines)


def _frontier(found: Joint, name: str) -> Table:
    """Budgets, what was measured within them, and what the joint law would choose."""
    lines = []
    for arm, law in found.laws.items():
        means, cost = found.means(arm), found.costs[arm]
        for share in BUDGETS:
            budget = share * float(means["flops"].max())
            within = means[means["flops"] <= budget * (1 + 1e-9)]
            line = [arm_cell(arm), cell(budget, 3)]
            if share <= 1 and len(within):
                best = within.iloc[int(within["value"].to_numpy(float).argmin())]
                line += [cell(str(best["size"])), cell(float(best["value"]))]
            else:
                line += [cell(None), cell(None)]
            point = optimum(law.values[None], cost, budget)
            drawn = optimum(law.samples, cost, budget)
            for value, samples in zip(point, drawn, strict=True):
                line.append(cell(f"{number(float(value[0]))} ({between(*percentiles(samples))})"))
            outside = share > 1 or is_beyond(found, arm, budget)
            lines.append([*line, cell(BEYOND if outside else "")])
    note = (
        "The best N and D for a budget of training FLOPs by the joint law, teacher, heads and "
        "encoder counted, beside the best that was measured within the budget. 95 % intervals."
    )
    heads = columns(
        "arm",
        "#FLOPs",
        "best size measured",
        "#its value",
        "best N",
        "best D",
        "value there",
        "note",
    )
    return Table(name, f"Compute-optimal frontier: {found.group.title()}", note, heads, lines)


def is_beyond(found: Joint, arm: str, budget: float) -> bool:
    """Whether the best N or D for a budget lies outside of what was trained."""
    best_n, best_d, _ = optimum(found.laws[arm].values[None], found.costs[arm], budget)
    means = found.means(arm)
    pairs = ((best_n, means["parameters"]), (best_d, means["images"]))
    return not all(of.min() <= float(best[0]) <= of.max() for best, of in pairs)


def _frontier_pairs(found: Joint, name: str) -> Table:
    """How many times the FLOPs of the first arm the second one needs at their best N and D."""
    lines = []
    for arm, other in each_pair(found.laws):
        first, second = found.frontier(arm), found.frontier(other)
        flops = [found.means(one)["flops"].to_numpy(float) for one in (arm, other)]
        budget = float(min(one.max() for one in flops))
        least = float(np.max([one.min() for one in flops]))
        times = effective_multiplier(first, second, budget)
        met = crossing_point(first, second, least, budget)
        words = [related_text(found.group.metric, found.related, arm, other)]
        words += [BEYOND] * any(is_beyond(found, one, budget) for one in (arm, other))
        note_of_pair = "; ".join(word for word in words if word)
        texts = (times_text(times), crossing_text(met), note_of_pair)
        lines.append([arm_cell(arm), arm_cell(other), cell(budget, 3), *map(cell, texts)])
    note = (
        "How many times the first arm's FLOPs the second one needs for the same value, each at its "
        "own best N and D. Crossing: where the two frontiers meet, said where 97.5 % of the "
        "bootstrap samples cross. 95 % intervals."
    )
    heads = columns("arm", "against", "#at FLOPs", "times the FLOPs", "crossing at FLOPs", "note")
    title = f"Compute-optimal frontiers compared: {found.group.title()}"
    return Table(name, title, note, heads, lines)
