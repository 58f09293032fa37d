"""Mean, spread and noise floor of the arms: the numbers under every table and figure.

A *group* holds rows that may be compared: the same data, metric, protocol and number of training
images. Rows of unlike protocols never share a panel or a table. The spread is the standard
deviation over seeds (n - 1), never over snapshots. The noise floor is that deviation pooled over
the arms of one group and size, on the log for distances.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.study.comparable import is_distance
from reports.study.contrasts import pooled_variance

if TYPE_CHECKING:
    import pandas as pd

GROUP = ["data", "metric", "protocol_id", "images_total"]
# The order in which metrics are shown; others follow by name.
PREFERRED = ("fid", "fd_local", "heldout_loss", "fd_pixels", "sfid", "kid", "linear_probe", "knn")
QUALITY = ("label_agreement", "copy_rate", "precision", "recall")
UNITS = {
    "heldout_loss": "held-out loss (MSE)",
    "fid": "FID",
    "sfid": "sFID",
    "kid": "KID",
    "is": "Inception score",
    "linear_probe": "linear probe (accuracy)",
    "probe_linear": "linear probe (accuracy)",
    "knn": "kNN (accuracy)",
    "cknna": "CKNNA",
    "label_agreement": "label agreement (share)",
    "copy_rate": "copy rate (ratio)",
}


KINDS = {
    "data": str,
    "metric": str,
    "protocol_id": str,
    "images_total": int,
    "higher_is_better": bool,
}


@dataclass(frozen=True)
class Group:
    """One set of comparable numbers."""

    data: str
    metric: str
    protocol_id: str
    images_total: int
    higher_is_better: bool
    per_block: bool = False  # of features read in a block, and not of the whole model
    encoder: str = ""  # with which the metric compares, where its protocol names one

    @property
    def direction(self) -> str:
        """What a reader should hope for."""
        return "higher is better" if self.higher_is_better else "lower is better"


def metric_label(metric: str) -> str:
    """A metric's name as axes and headings write it."""
    return UNITS.get(metric, f"{metric} (Fréchet distance)" if metric.startswith("fd_") else metric)


def metric_position(metric: str) -> tuple[int, str]:
    """Sort key of metrics."""
    return (PREFERRED.index(metric) if metric in PREFERRED else len(PREFERRED), metric)


def groups(rows: pd.DataFrame, per_block: bool = False) -> list[Group]:
    """Comparable sets among the rows; per_block: of probes instead of whole-model metrics.

    The distances by which verdicts judge come first: those unrelated to every arm. Of one metric,
    the set of most runs.
    """
    chosen = rows[rows["block"].notna()] if per_block else rows[rows["block"].isna()]
    counted = (
        chosen.assign(related=is_related(chosen))
        .groupby([*GROUP, "higher_is_better"], sort=True)
        .agg(runs=("run", "nunique"), related=("related", "any"), protocol=("protocol", "first"))
        .reset_index()
    )
    found = [
        (
            Group(
                **{name: kind(row[name]) for name, kind in KINDS.items()},
                per_block=per_block,
                encoder=str(row["protocol"].get("encoder", ""))
                if isinstance(row["protocol"], dict)
                else "",
            ),
            row,
        )
        for row in counted.to_dict("records")
    ]

    def position(item: tuple[Group, dict]) -> tuple:
        group, row = item
        judged_by = is_distance(group.metric) and not row["related"]
        name = metric_position(group.metric)
        return (
            not judged_by,
            name,
            group.data,
            -row["runs"],
            -group.images_total,
            group.protocol_id,
        )

    return [group for group, _ in sorted(found, key=position)]


def is_related(rows: pd.DataFrame) -> pd.Series:
    """Of each row, whether its metric is kin to the encoder of its arm."""
    return rows["related"].fillna("") != ""


def distances(rows: pd.DataFrame) -> list[Group]:
    """Groups of metrics that say how good the pictures or the model are:
    everything that is better when lower.
    """
    return [
        group
        for group in groups(rows)
        if not group.higher_is_better and group.metric not in QUALITY
    ]


def of_group(rows: pd.DataFrame, group: Group) -> pd.DataFrame:
    """The rows of one group."""
    keep = (rows["metric"] == group.metric) & (rows["protocol_id"] == group.protocol_id)
    keep &= rows["block"].notna() == group.per_block
    return rows[keep & (rows["data"] == group.data) & (rows["images_total"] == group.images_total)]


def by_size(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each size, from the smallest backbone to the largest."""
    parts = [(str(size), part) for size, part in rows.groupby("size", sort=True, dropna=False)]
    return sorted(
        parts, key=lambda item: (item[1]["parameters"].fillna(0).astype(float).mean(), item[0])
    )


def places(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(data, size) of the rows, the largest size of each data set first:
    what most verdicts are on.
    """
    return [
        (str(data), size)
        for data, part in rows.groupby("data")
        for size, _ in reversed(by_size(part))
    ]


def summarise(rows: pd.DataFrame, by: Iterable[str]) -> list[dict[str, Any]]:
    """Mean, deviation over runs (`sd`, n - 1) and n for each combination of `by`;
    rows without a value are `failed`.

    parameters, flops, hours, real and stderr are means over the same rows; related is the first
    reason among them.
    """
    columns = list(by)
    means = {name: (name, "mean") for name in ("parameters", "flops", "hours", "real", "stderr")}
    marked = rows.assign(related=rows["related"].where(is_related(rows)))
    table = marked.groupby(columns, sort=True, dropna=False).agg(
        mean=("value", "mean"), sd=("value", "std"), n=("value", "count"), rows=("value", "size"),
        related=("related", "first"), **means,
    )  # fmt: skip
    out = []
    for record in table.reset_index().to_dict("records"):
        found: dict[str, Any] = {
            str(name): None if value != value else value for name, value in record.items()
        }
        found |= {"failed": found.pop("rows") - found["n"], "related": found["related"] or ""}
        out.append(found)
    return out


def pooled_deviation(rows: pd.DataFrame) -> tuple[float | None, int]:
    """Deviation of the log over seeds, pooled over arms (0.02 reads 2 %),
    and its degrees of freedom.
    """
    variance, freedom = pooled_variance(list(_logs(rows).values()))
    return (math.sqrt(variance), freedom) if freedom else (None, 0)


def floor_text(deviation: float) -> str:
    """A deviation of the log as one reads it: 0.1 is "10.5 %", as in the verdicts."""
    return f"{100 * math.expm1(deviation):.1f} %"


def log_means(rows: pd.DataFrame) -> dict[str, tuple[float, int]]:
    """{arm: (mean of the logarithm of its positive values, how many)}."""
    return {arm: (float(values.mean()), len(values)) for arm, values in _logs(rows).items()}


def _logs(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """{arm: logarithms of its positive values}, arms without one left out."""
    positive = rows[rows["value"] > 0]
    return {
        str(arm): np.log(part["value"].to_numpy(float)) for arm, part in positive.groupby("arm")
    }
