"""Which rows may be compared, in which order they are shown; their means, spread and noise floor.

    for group in distances(final):                      # numbers that may share a table and a panel
        for size, part in by_size(of_group(final, group)):
            summarise(part, ["arm"]), pooled_deviation(part)

A *group* holds rows of one data set, metric, protocol and budget (training images and batch). Rows
of unlike groups never meet, in tables, figures and verdicts alike. How a metric is called, its
place among others and its direction are its facts (bench.core.metrics). The spread is the standard
deviation over seeds (n - 1), never over snapshots. Two noise floors are shown, on the log for
distances: the deviation of one run, pooled over the arms of one group and size, and that of the
difference of two runs of one seed, which share their luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.metrics import Facts, facts_of
from bench.core.store.files import flatten
from reports.study.contrasts import percent, pooled_variance, shared_seeds, two_way_variance

if TYPE_CHECKING:
    import pandas as pd

MEANS = ("parameters", "flops", "hours", "real", "stderr")  # beside the value
USUAL_ARMS = ("vanilla", "selfflow", "dual_timestep", "repa")


# Order --------------------------------------------------------------------------------------------


def sorted_arms(arms: Iterable[str]) -> list[str]:
    """The order of arms everywhere: the usual ones first, each with its variants, then by name."""

    def position(arm: str) -> tuple[int, int, str]:
        usual = USUAL_ARMS.index(arm) if arm in USUAL_ARMS else len(USUAL_ARMS)
        families = (i for i, name in enumerate(USUAL_ARMS) if arm.startswith(name))
        return (min(usual, next(families, len(USUAL_ARMS))), usual, arm)

    return sorted(set(arms), key=position)


def by_size(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each size, from the smallest backbone to the largest."""
    parts = [(str(size), part) for size, part in rows.groupby("size", sort=True, dropna=False)]

    def position(item: tuple[str, pd.DataFrame]) -> tuple[float, str]:
        size, part = item
        return float(np.nan_to_num(part["parameters"].to_numpy(float)).mean()), size

    return sorted(parts, key=position)


def places(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(data, size) of the rows, of each data set the largest first: what most verdicts are on."""
    return [
        (str(data), size)
        for data, part in rows.groupby("data")
        for size, _ in reversed(by_size(part))
    ]


# Groups -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """One set of comparable numbers.

    images_total, batch: the budget, 0 for a batch that was not recorded; per_block: of features
    read in a block, and not of the whole model; protocol: its entries, names joined by dots.
    """

    data: str
    metric: str
    protocol_id: str
    images_total: int
    batch: int
    higher_is_better: bool
    per_block: bool = False
    protocol: tuple[tuple[str, str], ...] = ()

    @property
    def facts(self) -> Facts:
        """What is known of its metric; the direction is that of its rows."""
        return replace(facts_of(self.metric), higher_is_better=self.higher_is_better)

    def title(self, size: str = "") -> str:
        """Metric, data and size."""
        return " · ".join(word for word in (self.facts.label, self.data, size) if word)


def groups(rows: pd.DataFrame, per_block: bool = False) -> list[Group]:
    """Comparable sets among the rows; per_block: of probes instead of whole-model metrics.

    The distances by which verdicts judge come first: those unrelated to every arm. Of one metric,
    the set of most runs.
    """
    # the sets, counted in runs
    chosen = rows[rows["block"].notna()] if per_block else rows[rows["block"].isna()]
    key = ["data", "metric", "protocol_id", "images_total", "batch", "higher_is_better"]
    counted = (
        chosen.assign(related=is_related(chosen), batch=_batch(chosen))
        .groupby(key, sort=True)
        .agg(runs=("run", "nunique"), related=("related", "any"), protocol=("protocol", "first"))
        .reset_index()
    )
    # each with its place in the order
    found: list[tuple[tuple[object, ...], Group]] = []
    for row in counted.to_dict("records"):
        protocol = row["protocol"]
        group = Group(
            data=str(row["data"]),
            metric=str(row["metric"]),
            protocol_id=str(row["protocol_id"]),
            images_total=int(row["images_total"]),
            batch=int(row["batch"]),
            higher_is_better=bool(row["higher_is_better"]),
            per_block=per_block,
            protocol=tuple((key, str(value)) for key, value in sorted(flatten(protocol).items()))
            if isinstance(protocol, dict)
            else (),
        )
        judged_by = group.facts.is_distance and not row["related"]
        most = (-row["runs"], -group.images_total, group.protocol_id, group.batch)
        position = (not judged_by, group.facts.position, group.data, *most)
        found.append((position, group))
    return [group for _, group in sorted(found, key=lambda item: item[0])]


def distances(rows: pd.DataFrame) -> list[Group]:
    """Groups of metrics that say how good the pictures or the model are: everything that is better
    when lower.
    """
    return [
        group
        for group in groups(rows)
        if not group.higher_is_better and group.facts.family != "quality"
    ]


def of_group(rows: pd.DataFrame, group: Group) -> pd.DataFrame:
    """The rows of one group."""
    # by the metric first: of hundreds of metrics little is left to compare
    part = rows[rows["metric"] == group.metric]
    keep = (part["protocol_id"] == group.protocol_id) & (part["data"] == group.data)
    keep &= (part["block"].notna() == group.per_block) & (_batch(part) == group.batch)
    return part[keep & (part["images_total"] == group.images_total)]


def is_related(rows: pd.DataFrame) -> pd.Series:
    """Of each row, whether its metric is not independent of the encoder of its arm."""
    return rows["related"].fillna("") != ""


def _batch(rows: pd.DataFrame) -> pd.Series:
    """0 where it was not recorded: such rows are comparable with each other."""
    import pandas as pd

    return pd.to_numeric(rows["batch"], errors="coerce").fillna(0)


# Means and spread ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """Mean, deviation over runs (sd, n - 1) and number n of the rows of one arm at one place.

    failed: rows without a value; parameters to stderr: means over the same rows; related: the first
    reason among them. size to encoder: what the rows were told apart by, empty where they were not.
    """

    mean: float | None
    sd: float | None
    n: int
    failed: int
    parameters: float | None
    flops: float | None
    hours: float | None
    real: float | None
    stderr: float | None
    related: str
    arm: str
    size: str = ""
    images: float | None = None
    block: float | None = None
    t: float | None = None
    method: str = ""
    encoder: str = ""


def summarise(rows: pd.DataFrame, by: Sequence[str]) -> list[Summary]:
    """A summary for each combination of the columns `by`, fields of `Summary` with the arm."""
    # a page asks thousands of times, of a few dozen rows each: without pandas, whose groups take
    # milliseconds to begin with
    columns = {name: rows[name].to_numpy(float) for name in ("value", *MEANS)}
    related, *keys = ([None if x != x else x for x in rows[name]] for name in ("related", *by))
    places: dict[tuple[object, ...], list[int]] = {}
    for place, key in enumerate(zip(*keys, strict=True)):
        places.setdefault(key, []).append(place)
    # in the order of each column, what is missing last
    ranks = [
        {x: rank for rank, x in enumerate(sorted({x for x in column if x is not None}))}
        for column in keys
    ]

    def position(key: tuple[object, ...]) -> list[int]:
        return [of.get(x, len(of)) for of, x in zip(ranks, key, strict=True)]

    out = []
    for key in sorted(places, key=position):
        at = places[key]
        values = columns["value"][at]
        values = values[~np.isnan(values)]
        means: dict[str, Any] = {name: _mean(columns[name][at]) for name in MEANS}
        means |= dict(zip(by, key, strict=True))
        out.append(
            Summary(
                mean=_mean(values),
                sd=_deviation(values),
                n=len(values),
                failed=len(at) - len(values),
                related=next((str(related[i]) for i in at if related[i]), ""),
                **means,
            )
        )
    return out


def _mean(values: np.ndarray) -> float | None:
    """Of those that there are, exactly rounded, so that their order does not matter."""
    known = values[~np.isnan(values)]
    try:
        return math.fsum(known) / len(known) if len(known) else None
    except OverflowError:  # a sum beyond what a number holds
        return math.inf


def _deviation(values: np.ndarray) -> float | None:
    """Of a sample, n - 1; None of one value."""
    with np.errstate(over="ignore"):
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def pooled_deviation(rows: pd.DataFrame) -> tuple[float | None, int]:
    """Deviation of the log of one run over seeds, pooled over arms (0.02 reads 2 %), and its
    degrees of freedom. None where no arm has two seeds.
    """
    variance, freedom = pooled_variance(
        [np.array(list(values.values())) for values in _logs(rows).values()]
    )
    return (math.sqrt(variance), freedom) if freedom else (None, 0)


def paired_deviation(rows: pd.DataFrame) -> float | None:
    """Deviation of the difference of two runs of one seed, from the seeds that all arms have; None
    where fewer than two arms share two.
    """
    logs = list(_logs(rows).values())
    seeds = shared_seeds(logs) if len(logs) > 1 else []
    if len(seeds) < 2:
        return None
    variance, _ = two_way_variance(np.array([[one[seed] for seed in seeds] for one in logs]))
    return math.sqrt(2 * variance)


def floor_text(deviation: float) -> str:
    """A deviation of the log as one reads it: 0.1 is "10.5 %", as in the verdicts."""
    return f"{percent(deviation):.1f} %"


def log_means(rows: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """{arm: (mean of the logarithm of its positive values, how many)}."""
    return {
        arm: (float(np.mean(list(values.values()))), len(values))
        for arm, values in _logs(rows).items()
    }


def _logs(rows: pd.DataFrame) -> dict[str, dict[int, float]]:
    """{arm: {seed: logarithm of its value}}, arms without a positive one left out."""
    values = rows["value"].to_numpy(float)
    names, seeds = (rows[name].to_numpy() for name in ("arm", "seed"))
    positive = np.flatnonzero(values > 0)
    found: dict[str, dict[int, float]] = {}
    for place, log in zip(positive, np.log(values[positive]), strict=True):
        found.setdefault(str(names[place]), {})[int(seeds[place])] = log
    return dict(sorted(found.items()))
