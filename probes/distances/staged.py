"""What distances in published networks of sounds and of videos share: samples against the training
split, beside the held-out split measured alike.

Features of the training split become a Gaussian once, in the cache under the hashes of data and
weights. A subclass says what it cannot read, how its network is made, and what that makes of real
examples and of samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.core.data.base import DataSet
from bench.core.store.cache import cached_folder
from bench.core.store.rows import Row
from probes.distances.frechet import Distance, Gaussian, Moments, distance_of
from probes.distances.local import OF_BOTH, spread
from probes.metric import DATA, OF_EXTRACTOR, TOKENS, Inputs, Metric, dropped_note, related

_VERSION = 1  # another one wherever features are read otherwise: caches are named so
MOST_EXAMPLES = 8_192  # of a split that are compared with
_AT_ONCE = 32
OF_STAGED = {**OF_EXTRACTOR, **OF_BOTH}


class StagedNetwork(Protocol):
    """fingerprint: of its weights; family, trained_on, labels: as an encoder says them."""

    fingerprint: str
    family: str
    trained_on: str
    labels: str


Network = TypeVar("Network", bound=StagedNetwork)


class StagedDistance(Metric, Generic[Network]):
    """One Frechet distance under the metric's own name and the record of that name.

    controls: what its number has to tell from real examples; it stands in the row's details.
    """

    needs = (TOKENS, DATA)
    controls: ClassVar[tuple[str, ...]] = ()
    extractor: Network

    @abstractmethod
    def refuse(self, data: DataSet) -> None:
        """Raise ValueError for data that it cannot read."""

    @abstractmethod
    def load(self, device: torch.device) -> Network:
        """Its network. Raises ValueError where its files are not here."""

    @abstractmethod
    def of_real(self, data: DataSet, side: str, rows: Tensor) -> np.ndarray:
        """Features [m, d] of real examples; side: their split, or one of `controls`."""

    @abstractmethod
    def of_samples(
        self, data: DataSet, tokens: Tensor, how: Mapping[str, str]
    ) -> tuple[np.ndarray, int]:
        """Features [m, d] of samples [n, N, C], decoded as `how` says, and of how many they are:
        of those that are finite as they are decoded.
        """

    def distance(self, samples: Gaussian, reference: Gaussian) -> Distance:
        return distance_of(samples, reference)

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        self.refuse(inputs.data_here)
        self.extractor = self.load(inputs.device)
        return {}

    @property
    def reading(self) -> str:
        return f"{self.name} {self.extractor.fingerprint}"

    def measure(self, inputs: Inputs) -> list[Row]:
        assert inputs.samples is not None and inputs.samples.tokens is not None
        data, how = inputs.data_here, inputs.samples.sampling
        record = next(record for record in self.records if record.name == self.name)
        reference = self._gaussian(inputs, "train")
        real = {
            side: self.distance(self._gaussian(inputs, side), reference).value
            for side in ("heldout", *self.controls)
        }

        # samples that are finite before and after
        tokens = inputs.samples.tokens.float().cpu()
        finite = torch.isfinite(tokens).flatten(1).all(dim=1)
        found, kept, total = Moments(), 0, len(tokens)
        for part in tokens[finite].split(_AT_ONCE):
            features, count = self.of_samples(data, part, how)
            found.add(features)
            kept += count
        value, notes = None, [dropped_note(total - kept, total)]
        if kept > 1:
            distance = self.distance(found.gaussian(), reference)
            value, notes = distance.value, [distance.note, *notes]
        else:
            notes.append(f"nothing is measured on {kept} samples")

        rows = _rows(data, "train")
        stated = {
            "sampling": dict(how),
            "n": total,
            "data": data.fingerprint,
            "extractor": f"{type(self.extractor).__name__}, {self.extractor.trained_on}",
            "extractor_weights": self.extractor.fingerprint,
            "reference": f"{data.name} train, {len(rows)} of {data.n_train} {data.noun}s",
        }
        row = record.row(
            self.name,
            value,
            kept,
            stated,
            real=real.pop("heldout"),
            related=related(self.extractor, inputs.aligned),
            note="; ".join(note for note in notes if note),
            details={
                "not_finite": total - kept,
                "n_real": len(_rows(data, "heldout")),
                **real,
            },
        )
        return [row]

    def _gaussian(self, inputs: Inputs, side: str) -> Gaussian:
        """Of a split or a control, from the cache or read."""
        data = inputs.data_here
        rows = _rows(data, side)
        of_data = f"{data.name}-{data.fingerprint}-{side}-{len(rows)}"

        def make(folder: Path) -> None:
            moments = Moments()
            parts = rows.split(_AT_ONCE)
            for part in tqdm(parts, desc=f"{self.name} {side}", disable=not inputs.progress):
                moments.add(self.of_real(data, side, part))
            made = moments.gaussian()
            np.savez(folder / "gaussian.npz", mean=made.mean, covariance=made.covariance, n=made.n)

        key = f"{self.name}-{self.extractor.fingerprint}-{of_data}-v{_VERSION}"
        folder = cached_folder(Path(inputs.cache) / "statistics" / key, make)
        with np.load(folder / "gaussian.npz") as file:
            return Gaussian(file["mean"], file["covariance"], int(file["n"]))


def _rows(data: DataSet, side: str) -> Tensor:
    """Examples of a split that are read; of a control, those of the held-out one."""
    return torch.as_tensor(
        spread(data.size("train" if side == "train" else "heldout"), MOST_EXAMPLES)
    )
