"""Scaling laws of the arms on a page: y = E + A N^-a, in parameters and in counted training FLOPs.

found = fitted_laws(study.rows)      # two Fitted for each comparable set of distances
law_tables(found)                    # reports.laws.tables
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.core.model.sizes import SIZES
from reports.laws.comparison import CommonE, Points, common_e
from reports.laws.fits import (
    BOOTSTRAP,
    BOOTSTRAP_SEED,
    LEAST_SIZES,
    Law,
    Refusal,
    fit_power_law,
)
from reports.laws.noise import Noise, seed_noise
from reports.study.groups import Group, distances, is_related, of_group, sorted_arms

if TYPE_CHECKING:
    import pandas as pd

LOSS = "heldout_loss"
SYMBOLS = {"parameters": "N", "flops": "C"}  # columns of rows that a law is in


@dataclass
class Fitted:
    """The laws of one comparable set of distances over sizes.

    axis: "parameters" or "flops"; rows: of the finished runs; points: N (or C) and y of each arm's;
    noise: of all points, one arm after the other, None with one seed or too few sizes; related:
    arms of whose encoder the metric is not independent; refusals: why an arm has no law; common:
    the test of one E, where two arms have a law.
    """

    group: Group
    axis: str
    rows: pd.DataFrame
    points: Mapping[str, Points]
    noise: Noise | None
    related: set[str]
    laws: dict[str, Law] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    common: CommonE | None = None

    def noise_of(self, arm: str) -> Noise | None:
        """That of the points of one arm."""
        return self.noise.only(self.mask(arm)) if self.noise else None

    def mask(self, *arms: str) -> np.ndarray:
        """Which of all points are of these arms."""
        return np.concatenate([np.full(len(n), arm in arms) for arm, (n, _) in self.points.items()])


def fitted_laws(rows: pd.DataFrame) -> list[Fitted]:
    """The comparable sets that have more than one size, held-out loss first, in parameters and then
    in FLOPs.
    """
    final = rows[rows["final"] & rows["parameters"].notna() & (rows["value"] > 0)]
    sets = sorted(distances(final), key=lambda group: group.metric != LOSS)
    parts = [(group, of_group(final, group)) for group in sets]
    return [
        _fitted(group, part, axis)
        for group, part in parts
        if part["size"].nunique() > 1
        for axis in SYMBOLS
        if part[axis].notna().all()
    ]


def _fitted(group: Group, rows: pd.DataFrame, axis: str) -> Fitted:
    # of an arm at a size one N: seeds of it differ in no more than a rounding
    placed = rows.assign(place=rows.groupby(["arm", "size"])[axis].transform("mean"))
    by_arm = {str(arm): part for arm, part in placed.groupby("arm")}
    ordered = [by_arm[arm] for arm in sorted_arms(by_arm)]
    points = {
        str(part["arm"].iloc[0]): (part["place"].to_numpy(float), part["value"].to_numpy(float))
        for part in ordered
    }
    related = set(rows.loc[is_related(rows), "arm"].astype(str))
    log_y = np.log(np.concatenate([y for _, y in points.values()]))
    arms, sizes, seeds = (
        [str(value) for part in ordered for value in part[name]] for name in ("arm", "size", "seed")
    )
    # where no arm has sizes enough for a law, nothing is drawn
    enough = any(len(np.unique(n)) >= LEAST_SIZES for n, _ in points.values())
    noise = seed_noise(log_y, sizes, sizes, arms=arms, seeds=seeds) if enough else None
    found = Fitted(group, axis, rows, points, noise, related)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    luck = noise.draw(rng, BOOTSTRAP) if noise else None
    for index, (arm, (n, y)) in enumerate(points.items()):
        own = luck[:, found.mask(arm)] if luck is not None else None
        try:
            # with one seed nothing says what arms share: each law has a bootstrap of its own
            found.laws[arm] = fit_power_law(n, y, seed=index, noise=found.noise_of(arm), luck=own)
        except Refusal as reason:
            few = len(np.unique(n)) < LEAST_SIZES
            found.refusals[arm] = str(reason) + (_further_sizes(by_arm[arm]) if few else "")
    if noise and luck is not None and len(found.laws) > 1:
        here = found.mask(*found.laws)
        own_points = {arm: points[arm] for arm in found.laws}
        found.common = common_e(own_points, noise.only(here), luck[:, here], found.laws)
    return found


def _further_sizes(rows: pd.DataFrame) -> str:
    """Sizes of the table that an arm lacks, the nearest to its own first, in words."""
    parameters, depth, width = (
        rows[name].to_numpy(float) for name in ("parameters", "depth", "width")
    )
    per_block = float(np.median(parameters / (depth * width**2)))
    known, ends = set(rows["size"]), np.log([parameters.min(), parameters.max()])
    lacking = {
        name: float(np.abs(np.log(per_block * size.depth * size.width**2) - ends).min())
        for name, size in SIZES.items()
        if name not in known
    }
    nearest = sorted(lacking, key=lambda name: lacking[name])[:3]
    return f"; sizes that would help: {', '.join(nearest)}" if nearest else ""
