"""What a measured number means, for whoever measures or shows it: label, direction, unit, family.

The core names no metric: here are the type and the look-up, and the facts themselves are lines of
bench/conf/metrics.yaml. So a new metric is two files, as a method is: a class that says all of how
it is measured, and its lines in that table. A report knows labels and directions without importing
a probe, PyTorch or a configuration, and the order of the lines is the order in which metrics are
shown.

    facts_of("fd_local").axis                # "fd_local (Fréchet distance)"
    facts_of("fd_dinov2_b").is_distance      # True: the line fd_* stands for every encoder
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

TABLE = Path(__file__).parents[1] / "conf" / "metrics.yaml"
FAMILIES = (
    *("distance", "discrepancy", "loss", "share", "quality"),
    *("score", "accuracy", "alignment", "structure"),
)
BETTER = {"higher": True, "lower": False}


@dataclass(frozen=True)
class Facts:
    """What is always true of a number of this name.

    name: as rows carry it; label: for headings; unit: "" where the label says it; family: one of
    `FAMILIES` ("" of a name that the table lacks): distance (Fréchet, compared by logarithms),
    discrepancy (may be negative), loss, share (of samples that are what was asked for), quality
    (what stands beside a distance), score, accuracy, alignment, structure; per_block: read at
    blocks and noise levels, not one for the model; meaning: words for a reader who does not know
    it; real: whose number stands beside it as the best that can be expected; order: place in the
    table.
    """

    name: str
    label: str
    higher_is_better: bool
    family: str = ""
    unit: str = ""
    per_block: bool = False
    meaning: str = ""
    real: str = "held-out real"
    order: int = 0

    @property
    def axis(self) -> str:
        """Label and unit, as axes and headings write them."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def direction(self) -> str:
        """What a reader should hope for."""
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def is_distance(self) -> bool:
        """Whether it is a Fréchet distance, of which logarithms are compared."""
        return self.family == "distance"

    @property
    def position(self) -> tuple[int, str]:
        """Sort key: as in the table, then by name."""
        return self.order, self.name


@functools.cache
def _numbers() -> dict[str, Facts]:
    content = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["numbers"]
    facts = {}
    for order, (name, line) in enumerate(content.items()):
        better, label = BETTER[line.pop("better")], line.pop("label", name)
        facts[name] = Facts(name, label, better, order=order, **line)
        assert facts[name].family in FAMILIES, f"{name} of {TABLE.name}: {facts[name].family}"
    return facts


def facts_of(name: str) -> Facts:
    """The facts of a number; where the table lacks it (another version's, your own), its name only.

    Such a one comes last, and which direction is better is then known to its rows alone.
    """
    table = _numbers()
    if name in table:
        return table[name]
    for pattern, facts in table.items():
        if fnmatch.fnmatchcase(name, pattern):
            return replace(facts, name=name, label=facts.label.replace(pattern, name))
    return Facts(name, name, higher_is_better=False, order=len(table))


@dataclass(frozen=True)
class MetricEntry:
    """A metric that can be asked for, as the table has it.

    name: may end in * for any encoder; target: the class that measures it, "package.module:Name";
    gives: names of its numbers; kind: of the result file in which a run's own measurement stands;
    network: what is built for it, {"encoder": one of bench/conf/encoder, * for the one of the name}
    and {"target": a function that makes another network of that encoder's YAML}; settings: words
    that a request may say to it alone, {word: {takes, about}}; files: the function that names what
    it needs from outside, of its name; last_only: of a run's last snapshot alone; about: words for
    a help page.
    """

    name: str
    target: str
    gives: tuple[str, ...]
    about: str = ""
    kind: str = ""
    network: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str | list[str]]] = field(default_factory=dict)
    files: str = ""
    last_only: bool = False

    def encoder(self, metric: str) -> str:
        """The encoder that a metric of this entry reads: NAME of fd_NAME."""
        return self.network.get("encoder", "").replace("*", metric[len(self.name) - 1 :])


@functools.cache
def metric_entries() -> dict[str, MetricEntry]:
    """Everything that can be asked for, by name, in the order of the table."""
    content = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["metrics"]
    return {
        name: MetricEntry(name, gives=tuple(line.pop("gives")), **line)
        for name, line in content.items()
    }


def find_entry(metric: str) -> MetricEntry | None:
    """The entry of a metric by its own name or by its family's (`fd_*`); None: it is unknown."""
    table = metric_entries()
    families = (e for e in table.values() if "*" in e.name and fnmatch.fnmatchcase(metric, e.name))
    return table.get(metric) or next(families, None)


def of_reference() -> tuple[str, ...]:
    """What is measured where a reference is named and no metric."""
    return tuple(yaml.safe_load(TABLE.read_text(encoding="utf-8"))["of_reference"])
