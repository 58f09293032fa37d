"""Runs that may be compared: from the table of result rows to numbers an arm, a size and a seed.

    for table in comparable(rows, "distance"):
        table.final["selfflow", "nano"]      # log distance of each seed at the end of training

A table holds rows of one data set, metric, protocol, budget (images) and batch, of finished runs;
rows of unlike ones never meet. What cannot be used (no value, two runs with one seed) is left out
and named in `notes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from bench.core import numbers

if TYPE_CHECKING:
    import pandas as pd

Cell = tuple[str, str]  # arm, size
STRATUM = ["data", "metric", "protocol_id", "images_total", "batch"]
PREFERRED = ("fid", "fd_local", "fd_pixels")  # others follow by name


@dataclass(frozen=True)
class Curve:
    """Snapshots of one run, ascending: images and FLOPs spent, and the log distance there."""

    images: np.ndarray
    flops: np.ndarray
    values: np.ndarray


@dataclass
class Table:
    """Comparable runs.

    sizes: from the smallest backbone to the largest; final: values [seeds] of a cell, log distances
    or accuracies; curves: of the same runs in the same order; binomial: variance of an accuracy
    because its pictures are a sample; correct: share of right answers for each picture [pictures],
    where it was kept; related: cells whose metric is not independent of the arm's encoder; notes:
    what was left out of a cell.
    """

    data: str
    metric: str
    protocol_id: str
    images: int
    batch: float
    sizes: tuple[str, ...] = ()
    final: dict[Cell, np.ndarray] = field(default_factory=dict)
    curves: dict[Cell, list[Curve]] = field(default_factory=dict)
    binomial: dict[Cell, float] = field(default_factory=dict)
    correct: dict[Cell, np.ndarray] = field(default_factory=dict)
    related: set[Cell] = field(default_factory=set)
    encoders: dict[str, str] = field(default_factory=dict)
    notes: dict[Cell, list[str]] = field(default_factory=dict)

    def arms(self, size: str) -> list[str]:
        """Arms that have a finished run of a size."""
        return [arm for arm, other in self.final if other == size]

    @property
    def position(self) -> tuple[int, str]:
        """Sort key of its metric."""
        return (
            PREFERRED.index(self.metric) if self.metric in PREFERRED else len(PREFERRED),
            self.metric,
        )


def is_distance(metric: str) -> bool:
    """Whether a metric is a Fréchet distance, of which logarithms are compared."""
    return metric in ("fid", "sfid") or metric.startswith("fd_")


def comparable(
    rows: pd.DataFrame, measure: str, blocks: tuple[float, float] = (0.0, 1.0)
) -> list[Table]:
    """Tables of a measure: "distance", or a probe by block,
    averaged over a part of the depth and all noise levels.
    """
    if measure == "distance":
        chosen = rows[
            rows["metric"].map(lambda name: is_distance(str(name))) & rows["block"].isna()
        ]
    else:
        place = rows["block"] / rows["depth"].astype(float)
        chosen = rows[(rows["metric"] == measure) & (place > blocks[0]) & (place <= blocks[1])]
    chosen = chosen[chosen["state"] == "complete"]
    tables = []
    for key, part in chosen.groupby(STRATUM, sort=True, dropna=False):
        data, metric, protocol_id, images, batch = cast(tuple, key)
        if images != images or not part["final"].any():
            continue
        table = Table(
            str(data),
            str(metric),
            str(protocol_id),
            int(images),
            float(batch if batch is not None else "nan"),
        )
        by_parameters = part.groupby("size", sort=True)["parameters"].mean()
        table.sizes = tuple(
            str(size) for size in by_parameters.fillna(0).sort_values(kind="stable").index
        )
        for (arm, size), cell in part.groupby(["arm", "size"], sort=True):
            _fill(table, (str(arm), str(size)), cell, measure)
        tables.append(table)
    return sorted(
        tables,
        key=lambda table: (
            *table.position,
            -sum(map(len, table.final.values())),
            table.protocol_id,
        ),
    )


def _fill(table: Table, cell: Cell, rows: pd.DataFrame, measure: str) -> None:
    notes = table.notes.setdefault(cell, [])
    final = rows[rows["final"].astype(bool)]
    runs_of_seed = final.groupby("seed")["run"].nunique()
    if (runs_of_seed > 1).any():
        notes.append(
            f"{cell[0]} at {cell[1]} has two runs of seed {runs_of_seed.idxmax()} that "
            "differ in something else"
        )
        return
    encoder = final["encoder"].dropna()
    if len(encoder) and encoder.iloc[0] not in ("", "none"):
        table.encoders[cell[0]] = str(encoder.iloc[0])
    if final["related"].map(bool).any():
        table.related.add(cell)
    values, curves, correct = [], [], []
    curve_of = _curves(rows) if measure == "distance" else {}
    for run, of_run in final.sort_values("seed").groupby("run", sort=False):
        numbers = of_run["value"].to_numpy(float)
        usable = np.isfinite(numbers) & ((numbers > 0) | (measure != "distance"))
        if not usable.all():
            notes.append(f"{run} has no usable {table.metric} and is left out")
            continue
        values.append(float(np.log(numbers[-1]) if measure == "distance" else numbers.mean()))
        if measure == "distance":
            curves.append(curve_of[str(run)])
        else:
            correct.append(_correct(of_run))
    if not values:
        return
    table.final[cell] = np.array(values)
    if measure == "distance":
        table.curves[cell] = curves
        return
    # places of one model answer the same pictures: the mean of their errors bounds the error of
    # their mean
    table.binomial[cell] = float(final["stderr"].fillna(0.0).mean() ** 2)
    if all(one is not None and one.shape == correct[0].shape for one in correct):
        table.correct[cell] = np.mean(correct, axis=0)


def _curves(rows: pd.DataFrame) -> dict[str, Curve]:
    """Curve of each run; in numpy, as thousands of small tables would take seconds."""
    rows = rows[(rows["value"] > 0) & np.isfinite(rows["value"])].sort_values(["run", "images"])
    if not len(rows):
        return {}
    runs = rows["run"].to_numpy()
    images, flops, values = (rows[name].to_numpy(float) for name in ("images", "flops", "value"))
    names, starts = np.unique(runs, return_index=True)
    out = {}
    for name, start, end in zip(names, starts, [*starts[1:], len(runs)], strict=True):
        _, first = np.unique(images[start:end], return_index=True)
        at = start + first
        out[str(name)] = Curve(images[at], flops[at], np.log(values[at]))
    return out


def _correct(rows: pd.DataFrame) -> np.ndarray | None:
    """Right answers of each held-out picture, mean over places,
    from `details.correct` (bits as hexadecimal).
    """
    out = []
    for details, n in zip(rows["details"], rows["n"], strict=True):
        try:
            out.append(numbers.unpack(details["correct"], int(n)))
        except (KeyError, TypeError, ValueError):
            return None
    return np.mean(out, axis=0) if out and len({len(one) for one in out}) == 1 else None
