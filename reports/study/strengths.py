"""How strong the external encoders are, each by its own measures: a number for each data set and
encoder.

    encoder_strengths(study.rows)["encoder_linear_probe"]["digits"]["local_m"].value

An encoder of one name is another one on other data (a local one was trained there), and a number of
one protocol is no number of another: neither is ever averaged with its namesake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from bench.core.metrics import facts_of
from bench.core.store.runs import RunRecord
from reports.study.runs import mapping

if TYPE_CHECKING:
    import pandas as pd

Name = TypeVar("Name", str, float)
STRENGTH_METRICS = ("encoder_linear_probe", "encoder_structure")


@dataclass(frozen=True)
class MeasuredStrength:
    """A number of one protocol, and what was left out for it."""

    value: float
    note: str = ""


Strengths = dict[str, dict[str, MeasuredStrength]]  # data, encoder


def encoder_strengths(rows: pd.DataFrame) -> dict[str, Strengths]:
    """{measure: {data: {encoder: strength}}} for the measures that the rows hold."""
    known = rows[rows["metric"].isin(STRENGTH_METRICS) & rows["value"].notna()]
    found: dict[str, Strengths] = {}
    for (measure, data, encoder), part in known.groupby(["metric", "data", "encoder"], sort=True):
        strength = _of_one_protocol(part, f"{facts_of(str(measure)).label} of {encoder}")
        found.setdefault(str(measure), {}).setdefault(str(data), {})[str(encoder)] = strength
    return found


def pixel_strengths(rows: pd.DataFrame) -> dict[str, MeasuredStrength]:
    """{data: accuracy of a linear probe on the raw pixels}."""
    known = rows[(rows["metric"] == "pixel_linear_probe") & rows["value"].notna()]
    return {
        str(data): _of_one_protocol(part, "pixel_linear_probe")
        for data, part in known.groupby("data", sort=True)
    }


def encoder_parameters(runs: Iterable[RunRecord]) -> Strengths:
    """{data: {encoder: parameters}} as the runs' costs tell them."""
    told: dict[tuple[str, str], Counter[float]] = {}
    for run in runs:
        encoder, parameters = (
            run.encoder,
            mapping(run.cost.get("parameters")).get("encoder"),
        )
        if encoder and isinstance(parameters, int | float):
            told.setdefault((run.data, str(encoder)), Counter())[float(parameters)] += 1
    found: Strengths = {}
    for (data, encoder), counts in sorted(told.items()):
        value = _most_common(counts)
        others = ", ".join(f"{other:,.0f}" for other in sorted(counts) if other != value)
        note = (
            f"runs with {encoder} of other sizes ({others} parameters) do not count"
            if others
            else ""
        )
        found.setdefault(data, {})[encoder] = MeasuredStrength(value, note)
    return found


def _of_one_protocol(rows: pd.DataFrame, name: str) -> MeasuredStrength:
    """Mean over the runs of the protocol that most runs have."""
    counts = Counter(
        {str(key): int(n) for key, n in rows.groupby("protocol_id")["run"].nunique().items()}
    )
    protocol = _most_common(counts)
    others = ", ".join(sorted(counts.keys() - {protocol}))
    note = (
        f"{name}: by protocol {protocol} alone, "
        f"what was measured by another one ({others}) is left out"
        if others
        else ""
    )
    return MeasuredStrength(float(rows.loc[rows["protocol_id"] == protocol, "value"].mean()), note)


def _most_common(counts: Counter[Name]) -> Name:
    """The commonest; of equally common ones the first, so that the order of the runs does not
    decide.
    """
    return min(counts, key=lambda key: (-counts[key], key))
