"""A metric: what it needs, how it is checked before anything is sampled, how it is measured.

Each metric is one class in one file below probes/, with the complete record of its protocol beside
it; its label, direction and unit are lines of bench/conf/metrics.yaml, as is the class that
measures it. Commands ask `metric_class` and know no metric by name.

    metric = metric_class("fid")("fid")
    metric.check(inputs)                 # whatever could be missing is said before sampling
    rows = metric.measure(inputs)        # rows with complete protocols
"""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.data.base import DataSet
from bench.core.metrics import facts_of, find_entry
from bench.core.model.backbone import SiT
from bench.core.store.files import short_hash
from bench.core.store.rows import Row

TOKENS, PICTURES, REFERENCE, DATA = "tokens", "pictures", "reference", "data"
NEEDS = (TOKENS, PICTURES, REFERENCE, DATA)
Told = Mapping[str, str | int | float]  # what a request says to single metrics
STATED = None  # an entry of a record that each measurement has to add

# Protocols --------------------------------------------------------------------------------------

OF_SAMPLES = {"sampling": STATED, "n": STATED}
OF_DATA = {"data": STATED}
OF_REFERENCE = {"reference": STATED}
OF_EXTRACTOR = {"extractor": STATED, "extractor_weights": STATED}


class Record:
    """A named, complete description of how a number is made; every row carries one.

    entries: what is always the same, and `STATED` for what a measurement has to add (the hash of
    its extractor, its reference, its sampler). version: goes up whenever a change of code changes
    the number; None: 1, and not said in the record.

        KNN = Record("knn", version=1, variant="cosine, k = 20", data=STATED)
        KNN.complete(data="1a2b")      # ValueError where something is left out or contradicted
    """

    def __init__(self, name: str, version: int | None = 1, **entries: Any):
        self.name, self.version = name, version or 1
        self.entries = ({} if version is None else {"version": version}) | entries

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def complete(self, **stated: Any) -> dict[str, Any]:
        """The whole record. Raises ValueError where an entry is missing or not to be stated."""
        to_state = [key for key, value in self.entries.items() if value is STATED]
        surplus = [key for key in stated if key not in to_state]
        missing = [key for key in to_state if key not in stated]
        if surplus or missing:
            raise ValueError(
                f"protocol {self.name!r}: missing {missing}, not to be stated {surplus}"
            )
        return {"name": self.name, **self.entries, **stated}

    def open_part(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Of what is known, the entries that this record leaves to be stated."""
        return {key: known[key] for key, value in self.entries.items() if value is STATED}

    def row(
        self, metric: str, value: float | None, n: int, stated: Mapping[str, Any], **rest: Any
    ) -> Row:
        """A result row under this protocol; rest: further fields of `Row`."""
        return Row(
            metric, value, n, facts_of(metric).higher_is_better, self.complete(**stated),
            metric_version=self.version, **rest,
        )  # fmt: skip


# What a metric reads ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Samples of a model, as far as a metric needs them.

    sampling: the complete record of how they were made; tokens: float32 [n, N, C] as sampled, with
    the numbers of the prompts that were asked for, asked [n], and their classes, labels [n]; file:
    an .npz with `arr_0`, uint8 [n - not_finite, H, W, 3].
    """

    sampling: Mapping[str, Any]
    tokens: Tensor | None = None
    asked: Tensor | None = None
    labels: Tensor | None = None
    file: Path | None = None
    not_finite: int = 0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a metric may read of a model and of its data.

    weights, sha256: which weights of the backbone, and the hash of their file; data: None where the
    data set is not here, whose name stands in data_name all the same; aligned: family, trained_on
    and labels of the encoder that the model was aligned with; reference: what samples are compared
    with, a file, a folder, or a data set whose training split it is; settings: what the request
    says to this metric alone; samples: None while `check` runs.
    """

    backbone: SiT
    weights: str
    sha256: str
    data: DataSet | None
    data_name: str
    aligned: Mapping[str, str] | None
    device: torch.device
    cache: Path
    reference: Path | DataSet | None = None
    settings: Told = field(default_factory=dict)
    samples: Sampled | None = None
    progress: bool = False

    @property
    def data_here(self) -> DataSet:
        """The data set of a metric that needs it, for which bench has looked."""
        assert self.data is not None
        return self.data


class MovingPictures(NamedTuple):
    """What moves on a page beside a number: videos of the model and of what it is compared with,
    uint8 [n, 3, T, H, W], and a text below each of both [n].
    """

    model: Tensor
    real: Tensor
    texts: Sequence[str]
    real_texts: Sequence[str]


class Metric(ABC):
    """One measurement. name: as it was asked for; network: what bench built for it, if its entry
    names one.

    needs: of `NEEDS`; records: the protocols that its rows may carry; trains: the network that it
    trains on a data set and keeps in the cache, in words, and how such an entry is called;
    samples_itself: whether it samples while it measures, beside what it needs.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    records: ClassVar[tuple[Record, ...]] = ()
    trains: ClassVar[tuple[str, str]] = ("", "")
    samples_itself: ClassVar[bool] = False

    def __init__(self, name: str, network: nn.Module | None = None):
        self.name, self.network = name, network

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        """Look for whatever could be missing; {number: why it will be missing}.

        Raises ValueError, before hours of sampling, where nothing could be measured.
        """
        return {}

    def seconds_to_prepare(self, inputs: Inputs) -> float:
        """What training its own networks will take here, for estimates; 0 where it has none to
        train, or the cache has them.
        """
        return 0.0

    @abstractmethod
    def measure(self, inputs: Inputs) -> list[Row]:
        """Rows of everything it gives; a number that could not be had is None with a note."""

    def illustrate(self, inputs: Inputs, folder: Path, images: int) -> None:  # noqa: B027
        """Write pictures that a page shows beside the numbers into a run's folder; usually none."""

    def clips(self, inputs: Inputs) -> MovingPictures | None:
        """What of it moves on a page; usually nothing."""
        return None

    @property
    def reading(self) -> str:
        """What its network is and how it reads: in other features it is another measurement."""
        return getattr(self.network, "fingerprint", "")

    @classmethod
    def measured_of(cls, settings: Told) -> str:
        """What in the settings, all that is said to this metric, makes it another measurement
        whose rows stand in another file; "" where nothing is said.
        """
        return short_hash(dict(settings)) if settings else ""

    @classmethod
    def passes(cls, n_train: int, n_heldout: int, settings: Told) -> int:
        """Pictures that go through the backbone, beside sampling, for estimates of the cost;
        settings: what a request says to single metrics.
        """
        return 0


def metric_class(name: str) -> type[Metric]:
    """The class that measures what is asked for by a name. Raises ValueError for an unknown one."""
    entry = find_entry(name)
    if entry is None:
        raise ValueError(f"metrics={name} is unknown")
    module, _, of_class = entry.target.partition(":")
    try:
        return getattr(importlib.import_module(module), of_class)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"target '{entry.target}' of the metric {name} cannot be imported ({error}): "
            "write it as package.module:Name"
        ) from error


# Samples that are not finite --------------------------------------------------------------------


def finite_rows(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Mask [n] of the rows of values [n, ...] that are finite throughout, and how many are not."""
    if values.dtype.kind in "iub":
        return np.ones(len(values), dtype=bool), 0
    mask = np.asarray(np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    return mask, int((~mask).sum())


def dropped_note(dropped: int, n: int) -> str:
    """Sentence for a result row ("" when nothing was dropped)."""
    return f"{dropped} of {n} samples were not finite and are not in this number" if dropped else ""


# Metrics related to the encoder that an arm was aligned with ------------------------------------
#
# A metric is marked *related* when its extractor shares architecture family and training data, or
# labels, with that encoder; a probe when the encoder was trained on the probed labels. Such numbers
# are shown, with the mark.

DESCRIBED_BY = ("family", "trained_on", "labels")


class Trained(Protocol):
    """A network that says what it was trained on; labels: "" when self-supervised."""

    @property
    def family(self) -> str: ...
    @property
    def trained_on(self) -> str: ...
    @property
    def labels(self) -> str: ...


def training_of(network: Trained | Mapping[str, str | None]) -> dict[str, str]:
    """{"family", "trained_on", "labels"} of a network, or of a mapping with those keys."""
    if isinstance(network, Mapping):
        return {key: str(network.get(key) or "") for key in DESCRIBED_BY}
    return {key: str(getattr(network, key)) for key in DESCRIBED_BY}


def label_set(name: str) -> str:
    """One spelling for whose labels they are: "ImageNet-1k" and the data set "imagenet256" have the
    same ones.
    """
    plain = re.sub("[^a-z0-9]", "", name.lower())
    return "imagenet1k" if re.fullmatch("imagenet(1k|64|128|256|512)?", plain) else plain


def related(
    extractor: Trained | Mapping[str, str | None],
    aligned: Trained | Mapping[str, str | None] | None,
) -> str:
    """Why `extractor` is related to the encoder `aligned` (None: not aligned), "" if it is not."""
    if aligned is None:
        return ""
    ours, theirs = training_of(extractor), training_of(aligned)
    if ours["labels"] and label_set(ours["labels"]) == label_set(theirs["labels"]):
        return f"extractor and aligned encoder both learned the labels of {ours['labels']}"
    same_family = ours["family"] and ours["family"] == theirs["family"]
    if same_family and ours["trained_on"] and ours["trained_on"] == theirs["trained_on"]:
        return (
            f"extractor and aligned encoder are both {ours['family']} trained on "
            f"{ours['trained_on']}"
        )
    return ""


def related_probe(labels: str, aligned: Trained | Mapping[str, str | None] | None) -> str:
    """Why a probe of `labels` (a data set's name) is related to an encoder (None: not aligned)."""
    if aligned is None or not labels:
        return ""
    if label_set(training_of(aligned)["labels"]) != label_set(labels):
        return ""
    return f"aligned encoder was trained on the probed labels of {labels}"
