"""How strong a frozen encoder is, by its own features, and the line that raw pixels draw.

    measure_encoder(encoder, dataset, cache)  # encoder_linear_probe, encoder_knn, encoder_structure
    pixel_probe(dataset)                      # pixel_linear_probe

or `metrics=strength_<encoder>,pixel_linear_probe` of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from bench.core.data.base import DataSet, read_by_encoder
from bench.core.model.encoder import Encoder
from bench.core.store.cache import cached_folder
from bench.core.store.files import read_json, short_hash, write_json
from bench.core.store.rows import Row
from probes.distances.pixels import pixel_vectors
from probes.features.linear import ProbeRecipe
from probes.features.probes import (
    KNN,
    LINEAR_PROBES,
    Variant,
    accuracy_row,
    probes_by_metric,
    variant_for,
)
from probes.features.store import (
    PATCH_FEATURES,
    PIXEL_FEATURES,
    encoder_features,
    most_images,
    subset,
)
from probes.features.structure import MEASURE, local_against_distant
from probes.metric import DATA, STATED, Inputs, Metric, Record, related_probe

MOST_STRUCTURE = 1024
STRUCTURE = Record(
    "structure",
    measure=MEASURE,
    data=STATED,
    n=STATED,
    encoder=STATED,
    encoder_weights=STATED,
)


def measure_encoder(
    encoder: Encoder,
    dataset: DataSet,
    cache: Path,
    variant: Variant | None = None,
    recipe: ProbeRecipe | None = None,
    device: torch.device | str = "cpu",
    most_images: int = 50_000,
) -> list[Row]:
    """Strength of a frozen encoder: rows `encoder_linear_probe`, `encoder_knn`,
    `encoder_structure`.

    variant: None takes `variant_for` the data; the encoder is on `device` already.
    """
    recipe = recipe or ProbeRecipe()
    features, labels = {}, {}
    for split, n in (("train", dataset.n_train), ("heldout", dataset.n_heldout)):
        features[split] = encoder_features(encoder, dataset, split, cache, most_images, device)
        labels[split] = np.asarray(dataset.labels(split, subset(n, most_images)))
    identity = {"encoder": encoder.name, "encoder_weights": encoder.fingerprint}
    data = {
        "data": dataset.fingerprint,
        "features": {"of": PATCH_FEATURES, **identity},
        "n_train": len(labels["train"]),
        "n_heldout": len(labels["heldout"]),
    }
    mark = (
        f"{encoder.name} learned the probed labels" if related_probe(dataset.name, encoder) else ""
    )
    variant = variant or variant_for(data["n_train"])
    rows = []
    for metric, (record, probe, of_recipe) in probes_by_metric(variant, recipe, device).items():
        right = probe(features["train"], labels["train"], features["heldout"], labels["heldout"])
        rows.append(
            accuracy_row(f"encoder_{metric}", record, right, data | of_recipe, related=mark)
        )
    rows.append(_structure_row(encoder, dataset, identity, device))
    return [replace(row, encoder=encoder.name) for row in rows]


@torch.no_grad()
def _structure_row(
    encoder: Encoder, dataset: DataSet, identity: dict[str, str], device: torch.device | str
) -> Row:
    indices = subset(dataset.n_heldout, MOST_STRUCTURE)
    stated = {"data": dataset.fingerprint, "n": len(indices), **identity}
    values = []
    try:
        for batch in indices.split(64):
            read = read_by_encoder(dataset, encoder.hears, "heldout", batch)
            found = encoder(read.to(device))
            values.append(local_against_distant(found.patches, found.grid))
    except ValueError as error:
        return STRUCTURE.row("encoder_structure", None, len(indices), stated, note=str(error))
    each = torch.cat(values).double()
    stderr = float(each.std() / len(each) ** 0.5)
    value = float(each.mean())
    return STRUCTURE.row("encoder_structure", value, len(indices), stated, stderr=stderr)


def pixel_probe(
    dataset: DataSet,
    variant: Variant | None = None,
    recipe: ProbeRecipe | None = None,
    device: torch.device | str = "cpu",
    most_images: int = 50_000,
) -> Row:
    """Row `pixel_linear_probe`: the probe of raw pixels (averaged to at most 1,024 numbers),
    the line to beat.
    """
    vectors, labels = {}, {}
    for split, n in (("train", dataset.n_train), ("heldout", dataset.n_heldout)):
        rows = subset(n, most_images)
        parts = [
            pixel_vectors(torch.as_tensor(dataset.images(split, part))) for part in rows.split(512)
        ]
        vectors[split], labels[split] = (
            torch.cat(parts).numpy(),
            np.asarray(dataset.labels(split, rows)),
        )
    data = {
        "data": dataset.fingerprint,
        "features": PIXEL_FEATURES,
        "n_train": len(labels["train"]),
        "n_heldout": len(labels["heldout"]),
    }
    variant = variant or variant_for(data["n_train"])
    record, probe, of_recipe = probes_by_metric(variant, recipe or ProbeRecipe(), device)[
        "linear_probe"
    ]
    right = probe(vectors["train"], labels["train"], vectors["heldout"], labels["heldout"])
    return accuracy_row("pixel_linear_probe", record, right, data | of_recipe)


class Strength(Metric):
    """encoder_linear_probe, encoder_knn and encoder_structure of one encoder."""

    needs = (DATA,)
    records = (*LINEAR_PROBES.values(), KNN, STRUCTURE)

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        inputs.data_here.images("heldout", slice(0, 1))  # latents may lie there without pictures
        return {}

    def measure(self, inputs: Inputs) -> list[Row]:
        assert isinstance(self.network, Encoder)
        encoder, data, most = self.network, inputs.data_here, most_images(inputs.settings)
        of = [encoder.name, encoder.fingerprint, encoder.labels]
        return measured_once(
            inputs,
            [*of, *(record.entries for record in self.records)],
            lambda: measure_encoder(
                encoder, data, inputs.cache, device=inputs.device, most_images=most
            ),
        )


class PixelProbe(Metric):
    """pixel_linear_probe of the data set."""

    needs = (DATA,)
    records = tuple(LINEAR_PROBES.values())

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        inputs.data_here.images("heldout", slice(0, 1))  # latents may lie there without pictures
        return {}

    def measure(self, inputs: Inputs) -> list[Row]:
        return measured_once(
            inputs,
            [PIXEL_FEATURES, *(record.entries for record in self.records)],
            lambda: [pixel_probe(inputs.data_here, most_images=most_images(inputs.settings))],
        )


def measured_once(
    inputs: Inputs, of: Sequence[object], measure: Callable[[], list[Row]]
) -> list[Row]:
    """Rows of the data set and an encoder, which no run changes: whichever run of a study comes
    first measures them, and the others find them in the cache.

    of: what else they depend on, records of their protocols among it.
    """
    device = torch.device(inputs.device).type
    known = [inputs.data_here.fingerprint, most_images(inputs.settings), device]
    key = short_hash([*known, *map(str, of)])

    def make(folder: Path) -> None:
        write_json(folder / "rows.json", {"rows": [asdict(row) for row in measure()]})

    folder = cached_folder(Path(inputs.cache) / "strengths" / key, make)
    kept = read_json(folder / "rows.json").get("rows")
    return [Row(**row) for row in kept] if kept else measure()
