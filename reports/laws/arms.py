"""Scaling laws of the arms on a page: y = E + A N^-a, what it foretells, how arms compare by it.

found = fitted_laws(study.rows)      # one Fitted for each comparable set of distances
law_tables(found)
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from reports.draw.axes import number
from reports.draw.table import Cell, Table, arm_cell, cell, columns
from reports.laws.comparison import Crossing, crossing_point, effective_parameters, predict_largest
from reports.laws.fits import Law, Noise, Refusal, fit_power_law, size_noise
from reports.study.groups import Group, distances, is_related, of_group, sorted_arms

if TYPE_CHECKING:
    import pandas as pd

LOSS = "heldout_loss"


@dataclass
class Fitted:
    """The laws of one comparable set of distances over sizes.

    rows: of the finished runs; points: N and y of each arm's; related: arms of whose encoder the
    metric is not independent; refusals: why an arm has no law.
    """

    group: Group
    rows: pd.DataFrame
    noise: Noise
    points: dict[str, tuple[np.ndarray, np.ndarray]]
    related: set[str]
    laws: dict[str, Law] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)


def fitted_laws(rows: pd.DataFrame) -> list[Fitted]:
    """The comparable sets that have more than one size, held-out loss first."""
    final = rows[rows["final"] & rows["parameters"].notna() & (rows["value"] > 0)]
    found = sorted(distances(final), key=lambda group: group.metric != LOSS)
    parts = [(group, of_group(final, group)) for group in found]
    return [_fitted(group, part) for group, part in parts if part["size"].nunique() > 1]


def _fitted(group: Group, rows: pd.DataFrame) -> Fitted:
    by_arm = {str(arm): part for arm, part in rows.groupby("arm")}
    points = {
        arm: (by_arm[arm]["parameters"].to_numpy(float), by_arm[arm]["value"].to_numpy(float))
        for arm in sorted_arms(by_arm)
    }
    related = set(rows.loc[is_related(rows), "arm"].astype(str))
    found = Fitted(group, rows, _noise(rows), points, related)
    for arm, (n, y) in points.items():
        try:
            # laws that are compared have each its own bootstrap: with one seed their noise would
            # be the same
            found.laws[arm] = fit_power_law(n, y, seed=zlib.crc32(arm.encode()), noise=found.noise)
        except Refusal as reason:
            found.refusals[arm] = str(reason)
    return found


def _noise(rows: pd.DataFrame) -> Noise:
    """The deviation at each N, pooled over the arms of its size class, which may differ a little in
    parameters.
    """
    placed = rows.assign(place=rows.groupby("size")["parameters"].transform("mean"))
    parts = [
        (part["place"].to_numpy(float), None, np.log(part["value"].to_numpy(float)))
        for _, part in placed.groupby("arm", sort=True)
    ]
    found = size_noise(parts)
    pairs = zip(placed["parameters"], placed["place"], strict=True)
    return {float(n): found[float(place)] for n, place in pairs} if found else {}


def law_tables(found: Sequence[Fitted]) -> list[Table]:
    """For each set the laws, with the reason where an arm cannot be fitted, and the arms compared
    by them in pairs.
    """
    tables = []
    for index, one in enumerate(found):
        tables.append(_table(one, f"laws-{index}"))
        tables += [_pairs(one, f"law-pairs-{index}")] if len(one.laws) > 1 else []
    return tables


def _table(found: Fitted, name: str) -> Table:
    note = "y = E + A N^-a in the parameters N of the backbone, 95 % intervals."
    for reason in dict.fromkeys(found.refusals.values()):
        arms = ", ".join(arm for arm, other in found.refusals.items() if other == reason)
        note += f" Not fitted ({arms}): {reason}."
    heads = ("arm", "#E", "", "#A", "", "#a", "", "largest, foretold", "#measured", "note")
    return Table(
        name,
        f"Scaling laws: {found.group.title()}",
        note,
        columns(*(head or "95 % interval" for head in heads)),
        [_line(found, arm) for arm in found.laws],
    )


def _line(found: Fitted, arm: str) -> list[Cell]:
    law, (n, y) = found.laws[arm], found.points[arm]
    line = [arm_cell(arm)]
    for name in ("E", "A", "a"):
        # an E that no measurement could tell from none is written as 0
        value, low, high = (
            0.0 if abs(x) < 1e-6 * y.min() else float(x) for x in (law[name], *law.interval(name))
        )
        line += [cell(value), cell(_between(low, high))]
    try:
        foretold = predict_largest(n, y, noise=found.noise)
        text = f"{number(foretold.predicted, 4)} ({_between(foretold.low, foretold.high)})"
        line += [cell(text), cell(foretold.measured)]
    except Refusal as reason:
        line += [cell(f"no: {reason}"), cell(None)]
    return [*line, cell(_related_text(found, arm))]


def _related_text(found: Fitted, *arms: str) -> str:
    related = [arm for arm in arms if arm in found.related]
    who = ", ".join(related)
    return f"{found.group.metric} related to the encoder of {who}" if related else ""


def _pairs(found: Fitted, name: str) -> Table:
    """Every arm against vanilla, and every other pair, the one that comes first on the page against
    the later one.
    """
    others = [arm for arm in found.laws if arm != "vanilla"]
    pairs = [(arm, "vanilla") for arm in others if "vanilla" in found.laws]
    lines = []
    for arm, other in [*pairs, *itertools.combinations(others, 2)]:
        sizes, of_other = (found.points[one][0] for one in (arm, other))
        times = effective_parameters(found.laws[arm], found.laws[other], float(sizes.max()))
        least, most = max(sizes.min(), of_other.min()), min(sizes.max(), of_other.max())
        met = (
            crossing_point(found.laws[arm], found.laws[other], least, most)
            if least < most
            else None
        )
        crossing = cell(crossing_text(met) if met else None)
        related = cell(_related_text(found, arm, other))
        lines.append([arm_cell(arm), arm_cell(other), cell(times_text(times)), crossing, related])
    note = (
        "Effective parameters: how many times larger a model of the second arm would have to be "
        "for the value of the first one's largest; no number is finite where the second one's E "
        "is above that value. Crossing: where the two laws meet between the sizes that both have. "
        "95 % intervals; samples are those of the bootstrap."
    )
    heads = columns("arm", "against", "effective parameters", "crossing at N", "note")
    return Table(name, f"Scaling laws compared: {found.group.title()}", note, heads, lines)


def times_text(found: Crossing) -> str:
    """ "1.8 times (1.3 to 2.9)", or the lower limit where no finite number is large enough."""
    never = f"no finite number in {100 * (1 - found.share):.0f} % of samples"
    if found.value is None:
        known = found.low is not None and math.isfinite(found.low)
        return f"{never}; more than {number(found.low)} times" if known else never
    return _with_interval(found, f"{number(found.value)} times") + (
        f"; {never}" if found.share < 1 else ""
    )


def crossing_text(found: Crossing) -> str:
    """ "410k (200k to 900k)", or that the laws do not meet."""
    apart = f"they do not meet in {100 * (1 - found.share):.0f} % of samples"
    if found.value is None:
        return apart
    return _with_interval(found, number(found.value)) + (f"; {apart}" if found.share < 1 else "")


def _with_interval(found: Crossing, value: str) -> str:
    return (
        value
        if found.low is None or found.high is None
        else f"{value} ({_between(found.low, found.high)})"
    )


def _between(low: float, high: float) -> str:
    return f"{number(low, 4)} to {'unbounded' if math.isinf(high) else number(high, 4)}"
