"""Rows of one set of samples: distances, copy rate, label agreement,
each beside its value for real pictures.

`Reference` holds what belongs to the data set alone and is made once for all snapshots and arms;
its extractor's features of the data are cached under a hash of data, weights and recipe. The
reference is the training split (at most 50,000 pictures), `real` is the held-out split measured
exactly as samples are. Of videos, the details hold a control as well: the held-out ones with their
frames shuffled, whose distance a measure of motion must find larger than theirs.

    reference = Reference.of(dataset, Path("cache"))
    rows = measure_samples(tokens, labels, reference, sampling=sampling_protocol, aligned=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.core.data.base import DataSet, pictures_of
from bench.core.data.frames import shuffled
from bench.core.numbers import standard_error
from bench.core.store.cache import cached_folder
from bench.core.store.rows import CONTROL_OF_MOTION, Row
from probes.distances.frechet import FRECHET, Gaussian, distance_of, fit
from probes.distances.pixels import copy_rate, nearest_distances, pixel_vectors
from probes.distances.precision_recall import BALLS, NEIGHBOURS, precision_recall
from probes.distances.reference import MOST_MANIFOLD
from probes.extractors import fidelity
from probes.extractors.local import (
    LocalExtractor,
    label_agreement,
    local_extractor,
    seconds_to_extractor,
)
from probes.metric import (
    DATA,
    OF_DATA,
    OF_EXTRACTOR,
    OF_REFERENCE,
    OF_SAMPLES,
    TOKENS,
    Inputs,
    Metric,
    Record,
    dropped_note,
    related,
)

MOST_REFERENCES = 50_000
BATCH = 512
VECTORS = "data as sampled (not rounded), flattened; 2 x 2 averages until at most 1,024 numbers"
OF_BOTH = {**OF_REFERENCE, **OF_SAMPLES, **OF_DATA}
LOCAL_RECORDS = {
    record.name: record
    for record in (
        Record("fd_local", distance=FRECHET, **OF_EXTRACTOR, **OF_BOTH),
        Record("precision", manifold=BALLS, **OF_EXTRACTOR, **OF_BOTH),
        Record("recall", manifold=BALLS, **OF_EXTRACTOR, **OF_BOTH),
        Record("fd_pixels", distance=FRECHET, vectors=VECTORS, **OF_BOTH),
        Record(
            "copy_rate",
            vectors=VECTORS,
            ratio="median L2 to the nearest training picture, samples over held-out",
            **OF_BOTH,
        ),
        Record(
            "label_agreement",
            reading="argmax of logits",
            **OF_EXTRACTOR,
            **OF_SAMPLES,
            **OF_DATA,
        ),
    )
}


@dataclass(frozen=True)
class Reference:
    """A data set's own side of the comparison: extractor,
    features and pixel vectors of both splits; heldout_nearest: distance of each held-out picture to
    its nearest training picture [n].
    """

    dataset: DataSet
    extractor: LocalExtractor
    registered: str
    features: dict[str, np.ndarray]
    vectors: dict[str, Tensor]
    heldout_nearest: Tensor

    @classmethod
    def of(cls, dataset: DataSet, cache: Path, progress: bool = False) -> Reference:
        """Train or load the extractor and read both splits of the data set with it."""
        extractor = local_extractor(dataset, cache)
        registered = fidelity.register(extractor)
        indices = {"train": spread(dataset.n_train), "heldout": spread(dataset.n_heldout)}

        def make(folder: Path) -> None:
            for split, rows in indices.items():
                parts = tqdm(
                    _batches(rows),
                    desc=f"local extractor {split}",
                    disable=not progress,
                    leave=False,
                )
                found = [
                    fidelity.features_and_logits(registered, dataset.images(split, part))[0]
                    for part in parts
                ]
                np.save(folder / f"{split}.npy", np.concatenate(found))

        version = LOCAL_RECORDS["fd_local"].version
        of_data = f"{dataset.name}-{dataset.fingerprint[:16]}"
        key = f"{of_data}-{extractor.fingerprint}-v{version}"
        folder = cached_folder(Path(cache) / "features" / key, make)
        features = {split: np.load(folder / f"{split}.npy") for split in indices}
        vectors = {split: _pixel_vectors(dataset, split, rows) for split, rows in indices.items()}

        def find(folder: Path) -> None:
            found = nearest_distances(vectors["heldout"], vectors["train"])
            np.save(folder / "distances.npy", found.numpy())

        nearest = cached_folder(Path(cache) / "features" / f"{of_data}-nearest", find)
        distances = torch.from_numpy(np.load(nearest / "distances.npy"))
        return cls(dataset, extractor, registered, features, vectors, distances)

    @property
    def description(self) -> str:
        """The reference in words, for the protocol."""
        return (
            f"{self.dataset.name} train, "
            f"{len(self.features['train'])} of {self.dataset.n_train} {self.dataset.noun}s"
        )

    @cached_property
    def train_features(self) -> Gaussian:
        return fit(self.features["train"])

    @cached_property
    def train_vectors(self) -> Gaussian:
        return fit(self.vectors["train"].numpy())

    @cached_property
    def heldout_gap(self) -> float:
        """Median distance of a held-out picture to its nearest training picture."""
        return float(self.heldout_nearest.median())

    @cached_property
    def real(self) -> dict[str, float | None]:
        """Every metric of the held-out pictures."""
        found = self.distances(
            self.features["heldout"], self.vectors["heldout"], self.heldout_nearest
        )
        return found[0] | {"label_agreement": self.extractor.accuracy}

    @cached_property
    def control(self) -> dict[str, float | None]:
        """The distances of held-out videos with their frames shuffled; {} of other data."""
        if len(self.dataset.grid.shape) != 3:
            return {}
        found, vectors = [], []
        for part in _batches(spread(self.dataset.n_heldout)):
            mixed = shuffled(torch.as_tensor(self.dataset.images("heldout", part)))
            found.append(fidelity.features_and_logits(self.registered, mixed)[0])
            tokens = torch.as_tensor(self.dataset.tokens("heldout", part))
            vectors.append(pixel_vectors(shuffled(self.dataset.grid.unpatchify(tokens))))
        return self.distances(np.concatenate(found), torch.cat(vectors))[0]

    def distances(
        self, features: np.ndarray, vectors: Tensor, nearest: Tensor | None = None
    ) -> tuple[dict[str, float | None], dict[str, str]]:
        """Values and notes of the distances of some pictures (features [n, 64],
        pixel vectors [n, d], their distances to the nearest training picture [n] if known).

        None for what so few of them do not have.
        """
        if nearest is None:
            nearest = nearest_distances(vectors, self.vectors["train"])
        copies, why = copy_rate(nearest, self.heldout_gap)
        values: dict[str, float | None] = dict.fromkeys(
            ("fd_local", "precision", "recall", "fd_pixels")
        )
        values["copy_rate"] = copies
        if len(features) < 2:
            return values, {"copy_rate": why}
        local = distance_of(fit(features), self.train_features)
        pixels = distance_of(fit(vectors.numpy()), self.train_vectors)
        values |= {"fd_local": local.value, "fd_pixels": pixels.value}
        notes = {"fd_local": local.note, "fd_pixels": pixels.note, "copy_rate": why}
        manifold = torch.from_numpy(
            self.features["train"][spread(len(self.features["train"]), MOST_MANIFOLD)]
        )
        if min(len(features), len(manifold)) > NEIGHBOURS:
            values["precision"], values["recall"] = precision_recall(
                torch.from_numpy(features), manifold
            )
        else:
            why = (
                f"missing: {len(manifold)} training pictures, "
                f"precision and recall need {NEIGHBOURS + 1}"
            )
            notes |= {"precision": why, "recall": why}
        return values, notes


def spread(n: int, most: int = MOST_REFERENCES) -> np.ndarray:
    """Indices of all n pictures, or of `most` of them at equal steps."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)


def _pixel_vectors(dataset: DataSet, split: str, rows: np.ndarray) -> Tensor:
    return torch.cat(
        [
            vectors_of(dataset, torch.as_tensor(dataset.tokens(split, part)))
            for part in _batches(rows)
        ]
    )


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    # 50,000 pictures of 256 x 256 at once would be 10 GB
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def vectors_of(dataset: DataSet, tokens: Tensor) -> Tensor:
    """Pixel vectors [n, d] of tokens [n, N, C]."""
    return pixel_vectors(dataset.grid.unpatchify(tokens))


def _read(
    reference: Reference, tokens: Tensor, sampling: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """The extractor's features and logits of the samples finite before and after decoding;
    which, bool [n].
    """
    parts, finite = [], []
    for part in tokens.split(BATCH):
        pixels = reference.dataset.decode(part, sampling["decoder_precision"])
        pictures, whole = pictures_of(pixels, sampling["rounding"])
        whole &= torch.isfinite(part).flatten(1).all(dim=1)
        parts.append(
            fidelity.features_and_logits(reference.registered, pictures[whole])
            if whole.any()
            else None
        )
        finite.append(whole)
    read = [part for part in parts if part is not None] or [(np.empty((0, 1)), np.empty((0, 1)))]
    features, logits = (np.concatenate(of_all) for of_all in zip(*read, strict=True))
    return features, logits, torch.cat(finite)


def measure_samples(
    tokens: Tensor,
    intended: Tensor,
    reference: Reference,
    sampling: Mapping[str, Any],
    aligned: Mapping[str, str] | None,
) -> list[Row]:
    """Rows fd_local, precision, recall, fd_pixels, copy_rate and label_agreement of samples.

    tokens: float32 [n, N, C] as sampled; intended: the class asked for [n]; sampling: the sampler's
    complete protocol; aligned: family, trained_on, labels of the encoder the arm was aligned with,
    or None. Samples that are not finite are left out of the distances, count as disagreeing, and
    are named in every row.
    """
    dataset = reference.dataset
    tokens, intended = tokens.float().cpu(), intended.cpu()
    features, logits, finite = _read(reference, tokens, sampling)
    total, kept = len(tokens), tokens[finite]
    dropped = total - len(kept)
    note = dropped_note(dropped, total)
    values: dict[str, float | None] = dict.fromkeys(LOCAL_RECORDS)
    notes: dict[str, str] = {}
    if len(kept) > NEIGHBOURS:
        values["label_agreement"] = (
            label_agreement(logits, intended[finite].numpy()) * len(kept) / total
        )
        found, notes = reference.distances(features, vectors_of(dataset, kept))
        values |= found
    else:
        note = f"{note}; nothing is measured on {len(kept)} samples".strip("; ")

    known: dict[str, Any] = {
        "sampling": dict(sampling),
        "n": total,
        "data": dataset.fingerprint,
        "extractor": "local",
        "extractor_weights": reference.extractor.fingerprint,
        "reference": reference.description,
    }
    mark, n_real = related(reference.extractor, aligned), len(reference.features["heldout"])
    control = reference.control
    rows = []
    for metric, record in LOCAL_RECORDS.items():
        value, real, of_share = values[metric], reference.real[metric], metric == "label_agreement"
        few = f"{n_real} held-out picture(s) have no {metric} of their own" if real is None else ""
        rows.append(
            record.row(
                metric,
                value,
                total if of_share else len(kept),
                record.open_part(known),
                stderr=standard_error(value, total) if of_share and value is not None else None,
                real=real,
                related=mark if "extractor" in record else "",
                note="; ".join(part for part in (notes.get(metric, ""), few, note) if part),
                details={"not_finite": dropped, "n_real": n_real}
                | ({CONTROL_OF_MOTION: control[metric]} if metric in control else {}),
            )
        )
    return rows


class LocalDistances(Metric):
    """fd_local with precision, recall, fd_pixels, copy rate and label agreement."""

    needs = (TOKENS, DATA)
    records = tuple(LOCAL_RECORDS.values())
    trains = ("an extractor of {data}", "extractors/{data}-*")

    @cached_property
    def _references(self) -> dict[str, Reference]:
        return {}

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        inputs.data_here.images(
            "heldout", slice(0, 1)
        )  # latents may lie there without their pictures
        return {}

    def seconds_to_prepare(self, inputs: Inputs) -> float:
        return seconds_to_extractor(inputs.data_here, inputs.cache)

    def measure(self, inputs: Inputs) -> list[Row]:
        assert inputs.samples is not None
        samples, data = inputs.samples, inputs.data_here
        assert samples.tokens is not None and samples.labels is not None
        # made once for all snapshots: its distances of the held-out split take a while
        if data.fingerprint not in self._references:
            made = Reference.of(data, inputs.cache, inputs.progress)
            self._references[data.fingerprint] = made
        return measure_samples(
            samples.tokens,
            samples.labels,
            self._references[data.fingerprint],
            samples.sampling,
            inputs.aligned,
        )
