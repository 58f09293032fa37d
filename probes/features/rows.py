"""Rows of what frozen features know: linear probe, kNN and CKNNA over blocks x timesteps,
and the same of an encoder.

store = feature_store(net, dataset, FeatureGrid((1, 2, 3, 4), (0.1, 0.5)), snapshot_hash, Path("cache"))
rows = measure_features(store, dataset, aligned=None)
rows += measure_cknna(store, dataset, encoder, Path("cache"), aligned=None)
rows += measure_encoder(encoder, dataset, Path("cache"))      # encoder strength, beside spatial structure
rows += [pixel_probe(dataset)]                                # the line that raw pixels draw
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from bench.core import numbers
from bench.core.data.base import DataSet
from bench.core.model.encoder import Encoder
from bench.core.numbers import standard_error, wilson
from bench.core.store.rows import Row
from probes.distances.pixels import pixel_vectors
from probes.features.cknna import TOPK, Neighbours, cknna, neighbours
from probes.features.knn import knn_predict
from probes.features.linear import ProbeRecipe, fast_answers, repa_answers
from probes.features.store import FeatureStore, mean_features, subset
from probes.features.structure import MEASURE, local_against_distant
from probes.protocols import BLOCK_FEATURES, PATCH_FEATURES, PIXEL_FEATURES, RECORDS, protocol
from probes.related import related, related_probe

Variant = Literal["fast", "repa"]
MOST_FAST = 20_000  # training images up to which logistic regression takes seconds a place
MOST_CKNNA, FEWEST_CKNNA = 10_000, TOPK + 1
MOST_STRUCTURE = 1024


def variant_for(n_train: int) -> Variant:
    """The linear probe that is used where none is asked for: scikit-learn's on small data,
    else REPA's recipe.
    """
    return "fast" if n_train <= MOST_FAST else "repa"


def _probes(
    variant: Variant, recipe: ProbeRecipe, device: torch.device | str
) -> dict[str, tuple[str, Callable[..., np.ndarray], dict]]:
    """{metric: (protocol name, right answers of (train, y, heldout, z),
    what the protocol leaves to state)}.
    """

    def linear(*data: np.ndarray) -> np.ndarray:
        return (
            fast_answers(*data)
            if variant == "fast"
            else repa_answers(*data, recipe=recipe, device=device)
        )

    def knn(*data: np.ndarray) -> np.ndarray:
        # float32 first: float16 similarities would tie
        train, y, heldout, z = (
            torch.from_numpy(np.asarray(a, np.float32 if a.ndim > 1 else np.int64)).to(device)
            for a in data
        )
        predicted = knn_predict(train, y, heldout, int(max(y.max(), z.max())) + 1)
        return (predicted == z).cpu().numpy()

    constants = asdict(recipe)
    of_recipe = {"probe_seed": constants.pop("seed"), **constants} if variant == "repa" else {}
    return {"linear_probe": (f"linear_probe_{variant}", linear, of_recipe), "knn": ("knn", knn, {})}


def _accuracy_row(
    metric: str, name: str, right: np.ndarray, data: Mapping[str, Any], **rest: Any
) -> Row:
    n, value = data["n_heldout"], float(right.mean())
    # two arms answer about the same pictures: kept, the answers pair their difference
    paired = {"correct": numbers.pack(right)} if "block" in rest and n <= numbers.MOST else {}
    return Row(
        metric=metric,
        value=value,
        n=n,
        higher_is_better=True,
        protocol=protocol(name, **data),
        stderr=standard_error(value, n),
        metric_version=RECORDS[name]["version"],
        details={"interval_95": list(wilson(round(value * n), n))} | paired,
        **rest,
    )


def measure_features(
    store: FeatureStore,
    dataset: DataSet,
    aligned: Mapping[str, str] | None,
    variant: Variant | None = None,
    recipe: ProbeRecipe | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> list[Row]:
    """Rows `linear_probe` and `knn` (accuracies 0..1 of the held-out images) for
    every block and timestep of a store.

    aligned: family, trained_on, labels of the encoder the arm was aligned with, or None; variant:
    None takes `variant_for` the data.
    """
    recipe = recipe or ProbeRecipe()
    train_labels, heldout_labels = store.labels("train"), store.labels("heldout")
    data = {
        "data": dataset.fingerprint,
        "features": BLOCK_FEATURES | {"noise_seed": store.grid.seed},
        "n_train": len(train_labels),
        "n_heldout": len(heldout_labels),
    }
    mark, variant = related_probe(dataset.name, aligned), variant or variant_for(len(train_labels))
    rows = []
    places = [(block, t) for block in store.grid.blocks for t in store.grid.times]
    for block, t in tqdm(places, desc="probes", unit="place", disable=not progress, leave=False):
        train, heldout = store.features("train", block, t), store.features("heldout", block, t)
        for metric, (name, probe, of_recipe) in _probes(variant, recipe, device).items():
            right = probe(train, train_labels, heldout, heldout_labels)
            rows.append(
                _accuracy_row(metric, name, right, data | of_recipe, block=block, t=t, related=mark)
            )
    return rows


def encoder_features(
    encoder: Encoder,
    dataset: DataSet,
    split: str,
    cache: Path,
    most_images: int = 50_000,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Patch means [n, width] (float16, memory-mapped) of a frozen encoder over a split,
    computed once.
    """
    return mean_features(
        lambda images: encoder(images.to(device)).patches,
        encoder.name, encoder.fingerprint, dataset, split, cache, most_images,
    )  # fmt: skip


def _kernel(features: np.ndarray, clamp: float | None, device: torch.device | str) -> Neighbours:
    rows = subset(len(features), MOST_CKNNA).numpy()
    return neighbours(
        torch.from_numpy(np.asarray(features[rows], np.float32)).to(device), clamp=clamp
    )


def measure_cknna(
    store: FeatureStore,
    dataset: DataSet,
    encoder: Encoder,
    cache: Path,
    aligned: Mapping[str, str] | None,
    clamp: float | None = None,
    device: torch.device | str = "cpu",
) -> list[Row]:
    """Rows `cknna` of a store's held-out features to an encoder's patch means,
    for every block and timestep.

    clamp: quantile of |x| at which both are clamped first (platonic-rep: 0.95), None for none.
    Takes at most 10,000 of the store's held-out images; the encoder's kernel is found once.
    """
    theirs = encoder_features(encoder, dataset, "heldout", cache, store.grid.most_images, device)
    if len(theirs) != len(store.labels("heldout")):
        raise ValueError(
            f"{encoder.name} has features of {len(theirs)} images, "
            "the store of other ones; use one limit"
        )
    n = min(len(theirs), MOST_CKNNA)
    kernel = _kernel(theirs, clamp, device) if n >= FEWEST_CKNNA else None
    note = "" if kernel else f"missing: {n} held-out picture(s), CKNNA needs {FEWEST_CKNNA}"
    record = protocol(
        "cknna",
        clamp="none" if clamp is None else f"{clamp:g} quantile of |x|",
        encoder=encoder.name,
        encoder_weights=encoder.fingerprint,
        data=dataset.fingerprint,
        features=BLOCK_FEATURES | {"noise_seed": store.grid.seed},
        n=n,
    )
    mark = related(encoder, aligned)
    rows = []
    for block in store.grid.blocks:
        for t in store.grid.times:
            ours = store.features("heldout", block, t)
            value = None if kernel is None else cknna(_kernel(ours, clamp, device), kernel)
            rows.append(
                Row("cknna", value, n, True, record, block=block, t=t, related=mark, note=note)
            )
    return rows


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
    for metric, (name, probe, of_recipe) in _probes(variant, recipe, device).items():
        right = probe(features["train"], labels["train"], features["heldout"], labels["heldout"])
        rows.append(_accuracy_row(f"encoder_{metric}", name, right, data | of_recipe, related=mark))
    rows.append(_structure_row(encoder, dataset, identity, device))
    return [replace(row, encoder=encoder.name) for row in rows]


@torch.no_grad()
def _structure_row(
    encoder: Encoder, dataset: DataSet, identity: dict[str, str], device: torch.device | str
) -> Row:
    indices = subset(dataset.n_heldout, MOST_STRUCTURE)
    record = protocol(
        "structure", measure=MEASURE, data=dataset.fingerprint, n=len(indices), **identity
    )
    values = []
    try:
        for batch in indices.split(64):
            found = encoder(torch.as_tensor(dataset.images("heldout", batch)).to(device))
            values.append(local_against_distant(found.patches, found.grid))
    except ValueError as error:
        return Row("encoder_structure", None, len(indices), True, record, note=str(error))
    each = torch.cat(values).double()
    stderr = float(each.std() / len(each) ** 0.5)
    return Row("encoder_structure", float(each.mean()), len(indices), True, record, stderr=stderr)


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
    name, probe, of_recipe = _probes(variant, recipe or ProbeRecipe(), device)["linear_probe"]
    right = probe(vectors["train"], labels["train"], vectors["heldout"], labels["heldout"])
    return _accuracy_row("pixel_linear_probe", name, right, data | of_recipe)
