"""The joint laws of the arms on a page: y = E + A N^-a + B D^-b over sizes and images.

found = joint_laws(study.rows, study.runs)
found[0].laws["vanilla"], found[0].frontier("vanilla"), found[0].refusals

D may be how far a run came only where that snapshot is what a shorter run would have ended with:
the learning rate is constant after a warm-up of so many steps, and the weights are an EMA. Under a
schedule that ends with the run a snapshot before the end still has a high learning rate, and D
would get the credit of the schedule: of such runs the end alone counts, and they must end at
several D. Snapshots of one run share its luck (reports.laws.noise).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.core.store.runs import RunRecord
from reports.laws.arms import LOSS
from reports.laws.fits import BOOTSTRAP, BOOTSTRAP_SEED, Law, Refusal, fit_power_law
from reports.laws.frontier import ImageCost, frontier_law, lower_envelope
from reports.laws.noise import seed_noise
from reports.study.groups import Group, distances, is_related, of_group, sorted_arms

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Joint:
    """The joint laws of one metric over sizes and images, whatever the runs' ends.

    rows: what may be fitted, snapshots and ends; costs: FLOPs an image of each arm; refusals: why
    an arm has no law.
    """

    group: Group
    rows: pd.DataFrame
    related: set[str]
    costs: dict[str, ImageCost] = field(default_factory=dict)
    laws: dict[str, Law] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)

    def frontier(self, arm: str) -> Law:
        """y over FLOPs at the best N and D, of an arm that has a law."""
        return frontier_law(self.laws[arm], self.costs[arm])

    def means(self, arm: str) -> pd.DataFrame:
        """Means over the seeds at each size and D: parameters, flops, value, and whether `best`:
        no other one of the arm beats it at as few FLOPs.
        """
        rows = self.rows[self.rows["arm"] == arm]
        table = rows.groupby(["size", "images"], as_index=False)[
            ["parameters", "flops", "value"]
        ].mean()
        best = lower_envelope(table["flops"].to_numpy(float), table["value"].to_numpy(float))
        return table.assign(best=np.isin(np.arange(len(table)), best)).sort_values(
            ["parameters", "images"]
        )


def why_no_shorter_run(run: RunRecord) -> str:
    """Why the snapshots of a run are not what shorter runs would have ended with, "" where they
    are.
    """
    optimizer, ema = (run.configuration.get(part) for part in ("optimizer", "ema"))
    if not optimizer or not ema:
        return "config.json says nothing of the learning rate"
    if optimizer.get("schedule") != "constant":
        return f"optimizer.schedule={optimizer.get('schedule')} ends with the run"
    if optimizer.get("warmup_share") is not None:
        return f"optimizer.warmup_share={optimizer['warmup_share']} is a share of the run"
    return "" if ema.get("decay") else "ema.decay=0 leaves the noise of a constant learning rate in"


def joint_laws(rows: pd.DataFrame, runs: Mapping[str, RunRecord]) -> list[Joint]:
    """One for each metric, protocol and batch that has more than one size, held-out loss first."""
    chosen = rows[(rows["state"] == "complete") & rows["parameters"].notna() & (rows["value"] > 0)]
    chosen = chosen[chosen["flops"] > 0]
    # what may stand for a run that ended there
    reasons = {name: why_no_shorter_run(run) for name, run in runs.items()}
    reason = chosen["run"].map(reasons).fillna("nothing is known of its settings")
    warmups = {name: _warmup_images(run) for name, run in runs.items()}
    warm = chosen["run"].map(warmups).fillna(0).astype(float)  # a mapped column of none is text
    usable = chosen[chosen["final"] | ((reason == "") & (chosen["images"] > warm))]
    firsts = chosen.assign(reason=reason).groupby("arm")["reason"].first()
    whys = {str(arm): str(why) for arm, why in firsts.items()}
    # sets that differ in images alone are one
    parts: dict[tuple[str, str, str, int], list[Group]] = {}
    for group in sorted(distances(usable), key=lambda group: group.metric != LOSS):
        key = (group.data, group.metric, group.protocol_id, group.batch)
        parts.setdefault(key, []).append(group)
    found = []
    for sets in parts.values():
        taken = [of_group(usable, group).index for group in sets]
        part = usable.loc[np.concatenate(taken)]
        if part["size"].nunique() > 1:
            found.append(_fitted(sets[0], part.sort_values(["run", "images"]), whys))
    return found


def _warmup_images(run: RunRecord) -> float:
    steps = (run.configuration.get("optimizer") or {}).get("warmup_steps") or 0
    return float(steps * (run.batch or 0))


def _fitted(group: Group, rows: pd.DataFrame, whys: Mapping[str, str]) -> Joint:
    found = Joint(group, rows, set(rows.loc[is_related(rows), "arm"].astype(str)))
    names = rows["arm"].astype(str).to_numpy()
    n, d, y, flops = (
        rows[column].to_numpy(float) for column in ("parameters", "images", "value", "flops")
    )
    labels = {name: rows[name].astype(str).tolist() for name in ("arm", "size", "seed", "run")}
    ends = list(zip(labels["size"], rows["images_total"], strict=True))
    noise = seed_noise(
        np.log(y), ends, labels["size"],
        arms=labels["arm"], seeds=labels["seed"], runs=labels["run"], images=d,
    )  # fmt: skip
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    luck = noise.draw(rng, BOOTSTRAP) if noise else None
    for index, arm in enumerate(sorted_arms(names)):
        here = names == arm
        runs = rows["run"].to_numpy()[here]
        own, drawn = (
            (noise.only(here), luck[:, here]) if noise and luck is not None else (None, None)
        )
        try:
            law = fit_power_law(
                n[here], y[here], d[here], seed=index, noise=own, luck=drawn, runs=runs
            )
        except Refusal as reason:
            why = whys.get(arm)
            found.refusals[arm] = (
                f"snapshots are no shorter runs ({why}): train runs to their own ends at several "
                "images, or with optimizer.schedule=constant"
                if why and rows.loc[here, "images"].nunique() < 4
                else str(reason)
            )
            continue
        found.laws[arm] = law
        found.costs[arm] = ImageCost.fitted(n[here], flops[here] / d[here])
    return found
