"""From the rows of a group to numbers an arm, a size and a seed: what verdicts are computed from.

    for cells in comparable(rows, "distance"):
        cells.final["selfflow", "nano"]      # {seed: log distance at the end of training}
        cells.contrast({("selfflow", "nano"): 1.0, ("vanilla", "nano"): -1.0})

A *cell* is an arm at a size. Only finished runs enter; what cannot be used (no value, two runs with
one seed) is left out and named in `notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.core import numbers
from bench.core.metrics import facts_of
from reports.study.ceiling import CEILED, saturated
from reports.study.contrasts import ArmSize, Estimate, contrast, shared_seeds
from reports.study.groups import Group, by_size, groups, of_group

if TYPE_CHECKING:
    import pandas as pd

LOGARITHMIC = ("distance", "loss")  # families of metrics that are compared by their logarithm
# what cells are made of, and those of probes beside it
COLUMNS = ("run", "seed", "final", "encoder", "related", "streams", "schedule")
NUMBERS = ("value", "images", "flops")
OF_PROBES = ("stderr", "details", "n")

_Places = np.ndarray  # lines of a table [n]


@dataclass(frozen=True)
class Curve:
    """Snapshots of one run, ascending: images and FLOPs spent, and the logarithm of the value."""

    images: np.ndarray
    flops: np.ndarray
    values: np.ndarray


@dataclass
class Comparable:
    """The cells of one group; a cell's dictionaries are by seed.

    sizes: from the smallest backbone to the largest, with their parameters; final: logarithms or
    accuracies; curves: of the same runs; streams: what a seed's pictures, noise and times depend on
    beside the seed; schedules: of the learning rate; binomial: variance of an accuracy because its
    pictures are a sample; correct: share of right answers for each picture [pictures], where it was
    kept; related: cells whose metric is not independent of the arm's encoder; saturated: why
    nothing better or worse can be said of a cell; notes: what was left out of a cell.
    """

    group: Group
    sizes: tuple[str, ...] = ()
    parameters: dict[str, float] = field(default_factory=dict)
    final: dict[ArmSize, dict[int, float]] = field(default_factory=dict)
    curves: dict[ArmSize, dict[int, Curve]] = field(default_factory=dict)
    streams: dict[ArmSize, dict[int, str]] = field(default_factory=dict)
    schedules: dict[ArmSize, set[str]] = field(default_factory=dict)
    binomial: dict[ArmSize, float] = field(default_factory=dict)
    correct: dict[ArmSize, np.ndarray] = field(default_factory=dict)
    related: set[ArmSize] = field(default_factory=set)
    saturated: dict[ArmSize, str] = field(default_factory=dict)
    encoders: dict[str, str] = field(default_factory=dict)
    notes: dict[ArmSize, list[str]] = field(default_factory=dict)

    def arms(self, size: str) -> list[str]:
        """Arms that have a finished run of a size."""
        return [arm for arm, other in self.final if other == size]

    def paired(self, cells: Collection[ArmSize]) -> bool:
        """Whether runs of one seed of these cells saw the same pictures, noise and times: by
        design, whatever their values say.
        """
        known = [self.streams[cell] for cell in cells if cell in self.streams]
        seeds = shared_seeds(known) if known else []
        return all(len({of_cell[seed] for of_cell in known}) == 1 for seed in seeds)

    def contrast(
        self,
        weights: Mapping[ArmSize, float],
        values: Mapping[ArmSize, Mapping[int, float]] | None = None,
        beside: Collection[ArmSize] = (),
        known_variance: float = 0.0,
    ) -> Estimate:
        """The contrast of final values, or of other values of the same runs."""
        cells = self.final if values is None else values
        return contrast(weights, cells, beside, self.paired(weights), known_variance)


def comparable(
    rows: pd.DataFrame, measure: str, blocks: tuple[float, float] = (0.0, 1.0)
) -> list[Comparable]:
    """The groups of a measure: "distance", "loss" (both families of metrics), or a number by its
    name: a share of samples, or a probe by block, averaged over a part of the depth and all noise
    levels. Metrics in their order; of one, the group of most runs first.
    """
    chosen = rows[rows["state"] == "complete"]
    per_block = facts_of(measure).per_block
    named = [
        name
        for name in chosen["metric"].unique()
        if measure == (facts_of(str(name)).family if measure in LOGARITHMIC else name)
    ]
    chosen = chosen[chosen["metric"].isin(named)]
    if per_block:
        place = chosen["block"] / chosen["depth"].astype(float)
        chosen = chosen[(place > blocks[0]) & (place <= blocks[1])]
    found = [
        cells(rows, chosen, group)
        for group in groups(chosen, per_block)
        if of_group(chosen, group)["final"].any()
    ]

    def position(made: Comparable) -> tuple[tuple[int, str], int, str]:
        runs = sum(map(len, made.final.values()))
        return made.group.facts.position, -runs, made.group.protocol_id

    return sorted(found, key=position)


def cells(study: pd.DataFrame, rows: pd.DataFrame, group: Group) -> Comparable:
    """The cells of one group of rows; study: all rows, among them the copy rates of its runs."""
    part = of_group(rows, group)
    sizes = {size: float(of_size["parameters"].mean()) for size, of_size in by_size(part)}
    made = Comparable(group, tuple(sizes), sizes)
    # hundreds of small tables would take minutes: columns in numpy, and the places of each cell
    names = COLUMNS + OF_PROBES if group.per_block else COLUMNS
    columns = {name: part[name].to_numpy() for name in names}
    columns |= {name: part[name].to_numpy(float) for name in NUMBERS}
    found: dict[ArmSize, list[int]] = {}
    for place, cell in enumerate(zip(part["arm"].tolist(), part["size"].tolist(), strict=True)):
        found.setdefault(cell, []).append(place)
    for cell, places in sorted(found.items()):
        _fill(made, cell, columns, np.array(places))
    if group.facts.family in CEILED:
        made.saturated = saturated(made.final, part, study)
    return made


def _fill(made: Comparable, cell: ArmSize, columns: Mapping[str, np.ndarray], at: _Places) -> None:
    arm, size = cell
    notes = made.notes.setdefault(cell, [])
    final = at[columns["final"][at].astype(bool)]
    final = final[np.argsort(columns["seed"][final], kind="stable")]
    runs = _by_name(columns["run"], final)
    seed_of = {run: int(columns["seed"][places[0]]) for run, places in runs.items()}
    seeds = Counter(seed_of.values())
    if seeds and max(seeds.values()) > 1:
        seed = max(seeds, key=lambda one: seeds[one])
        notes.append(f"{arm} at {size} has two runs of seed {seed} that differ in something else")
        return
    # what is the same for all of its runs
    encoder = [one for one in columns["encoder"][final] if isinstance(one, str)]
    if encoder and encoder[0] not in ("", "none"):
        made.encoders[arm] = encoder[0]
    if any(columns["related"][final]):
        made.related.add(cell)
    # a number a run: the last one or its logarithm, or the mean accuracy of its places
    of_probes, logarithmic = made.group.per_block, made.group.facts.family in LOGARITHMIC
    values: dict[int, float] = {}
    curves: dict[int, Curve] = {}
    streams: dict[int, str] = {}
    correct = []
    all_places = _by_name(columns["run"], at) if logarithmic else {}
    for run, places in runs.items():
        measured = columns["value"][places]
        usable = np.isfinite(measured) & ((measured > 0) | (not logarithmic))
        if not usable.all():
            notes.append(f"{run} has no usable {made.group.metric} and is left out")
            continue
        seed = seed_of[run]
        last = measured.mean() if of_probes else measured[-1]
        values[seed] = float(np.log(last) if logarithmic else last)
        streams[seed] = str(columns["streams"][places[0]])
        if of_probes:
            correct.append(_correct(columns["details"][places], columns["n"][places]))
        elif logarithmic:
            curves[seed] = _curve(columns, all_places[run])
    if not values:
        return
    made.final[cell], made.streams[cell] = values, streams
    made.schedules[cell] = set(map(str, columns["schedule"][final]))
    if not of_probes:
        made.curves[cell] = curves
        return
    # places of one model answer the same pictures: the mean of their errors bounds the error of
    # their mean
    made.binomial[cell] = float(np.nan_to_num(columns["stderr"][final].astype(float)).mean() ** 2)
    if all(one is not None and one.shape == correct[0].shape for one in correct):
        made.correct[cell] = np.mean(correct, axis=0)


def _by_name(names: np.ndarray, at: _Places) -> dict[str, _Places]:
    """The places of each name, in the order of `at`."""
    found: dict[str, list[int]] = {}
    for place in at:
        found.setdefault(str(names[place]), []).append(place)
    return {name: np.array(places) for name, places in found.items()}


def _curve(columns: Mapping[str, np.ndarray], at: _Places) -> Curve:
    """The curve of one run: of each snapshot the first value that has a logarithm."""
    values = columns["value"][at]
    at = at[(values > 0) & np.isfinite(values)]
    _, first = np.unique(columns["images"][at], return_index=True)
    at = at[first]
    return Curve(columns["images"][at], columns["flops"][at], np.log(columns["value"][at]))


def _correct(details: np.ndarray, n: np.ndarray) -> np.ndarray | None:
    """Right answers of each held-out picture, mean over places, from `details.correct` (bits as
    hexadecimal).
    """
    out = []
    for one, count in zip(details, n, strict=True):
        if not isinstance(one, dict):
            return None
        try:
            out.append(numbers.unpack(one["correct"], int(count)))
        except (KeyError, TypeError, ValueError):
            return None
    return np.mean(out, axis=0) if out and len({len(one) for one in out}) == 1 else None
