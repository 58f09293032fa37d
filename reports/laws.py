"""Scaling laws of the arms on a page: y = E + A N^-a, what it foretells, and how arms compare by it."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.axes import number
from reports.figures.distance import title_of
from reports.fits import Law, Refusal, fit, seed_deviation
from reports.law_comparison import Crossing, crossing_point, effective_parameters, predict_largest
from reports.summary import Group, distances, of_group
from reports.tables import arm_cell, cell, columns
from reports.theme import sorted_arms

if TYPE_CHECKING:
    import pandas as pd

LOSS = "heldout_loss"


def law_tables(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One table a comparable set, held-out loss first; arms that cannot be fitted are listed with the reason."""
    final = rows[rows["final"] & rows["parameters"].notna() & (rows["value"] > 0)]
    found = sorted(distances(final), key=lambda group: group.metric != LOSS)
    wide = [group for group in found if of_group(final, group)["size"].nunique() > 1]
    return [_table(group, of_group(final, group), f"laws-{index}") for index, group in enumerate(wide)]


def _table(group: Group, rows: pd.DataFrame, name: str) -> dict[str, Any]:
    laws: dict[str, Law] = {}
    lines, refusals = [], {}
    points = {
        arm: (part["parameters"].to_numpy(float), part["value"].to_numpy(float)) for arm, part in rows.groupby("arm")
    }
    pooled = _pooled(list(points.values()))
    for arm in sorted_arms(rows["arm"]):
        n, y = points[arm]
        try:
            # laws that are compared have each its own bootstrap: with one seed their noise would be the same
            laws[arm] = fit(n, y, seed=zlib.crc32(arm.encode()), pooled=pooled)
        except Refusal as reason:
            refusals[arm] = str(reason)
            continue
        lines.append(_line(arm, laws[arm], laws.get("vanilla"), n, y, pooled))
    note = (
        "y = E + A N^-a in the parameters N of the backbone, 95 % intervals. Effective parameters: how many times "
        "larger vanilla would have to be for the value of the arm's largest model; crossing: where the two laws meet."
    )
    for reason in dict.fromkeys(refusals.values()):
        arms = ", ".join(arm for arm, other in refusals.items() if other == reason)
        note += f" Not fitted ({arms}): {reason}."
    heads = (
        "arm",
        "#E",
        "",
        "#A",
        "",
        "#a",
        "",
        "largest, foretold",
        "#measured",
        "effective parameters",
        "crossing at N",
    )
    named = [head or "95 % interval" for head in heads]
    return {
        "id": name,
        "title": f"Scaling laws: {title_of(group)}",
        "note": note,
        "columns": columns(*named),
        "rows": lines,
    }


def _pooled(points: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, int] | None:
    """Deviation of log y over seeds, pooled over the sizes of all arms, and its degrees of freedom; None without."""
    found = [seed_deviation(n, None, np.log(y)) for n, y in points]
    df = sum(one for _, one in found)
    return (math.sqrt(sum(one * deviation**2 for deviation, one in found) / df), df) if df else None


def _line(
    arm: str, law: Law, baseline: Law | None, n: Any, y: Any, pooled: tuple[float, int] | None
) -> list[dict[str, Any]]:
    line = [arm_cell(arm)]
    for name in ("E", "A", "a"):
        # an E that no measurement could tell from none is written as 0
        value, low, high = (0.0 if abs(x) < 1e-6 * y.min() else float(x) for x in (law[name], *law.interval(name)))
        line += [cell(value), cell(_between(low, high))]
    try:
        foretold = predict_largest(n, y, pooled=pooled)
        told = f"{number(foretold.predicted, 4)} ({_between(foretold.low, foretold.high)})"
        line += [cell(told), cell(foretold.measured)]
    except Refusal as reason:
        line += [cell(f"no: {reason}"), cell(None)]
    if baseline is None or baseline is law:
        return [*line, cell(None), cell(None)]
    largest, smallest = float(n.max()), float(n.min())
    multiplier, crossing = (
        effective_parameters(law, baseline, largest),
        crossing_point(law, baseline, smallest, largest),
    )
    return [*line, cell(_crossing(multiplier, " times")), cell(_crossing(crossing, ""))]


def _between(low: float, high: float) -> str:
    return f"{number(low, 4)} to {'unbounded' if math.isinf(high) else number(high, 4)}"


def _crossing(found: Crossing, unit: str) -> str:
    """A number with its interval, or that there is none, and in how many of the bootstrap's samples there is one."""
    if found.value is None:
        return f"none (in {100 * (1 - found.share):.0f} % of samples)"
    span = "" if found.low is None or found.high is None else f" ({_between(found.low, found.high)})"
    share = "" if found.share == 1 else f"; there is none in {100 * (1 - found.share):.0f} % of samples"
    return f"{number(found.value)}{unit}{span}{share}"
