"""`linear_probe` and `knn`: what frozen features know of the labels, over blocks x noise levels.

    store = feature_store(net, dataset, FeatureGrid((1, 2), (0.1, 0.5)), snapshot_hash, cache)
    rows = measure_features(store, dataset, aligned=None)

or `metrics=probes probe=auto|fast|repa` of a run or of a released checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from tqdm import tqdm

from bench.core import numbers
from bench.core.data.base import DataSet
from bench.core.numbers import standard_error, wilson
from bench.core.store.rows import Row
from probes.features.knn import knn_predict
from probes.features.linear import ProbeRecipe, fast_answers, repa_answers
from probes.features.pictures import feature_pictures, save_pictures
from probes.features.store import (
    BLOCK_FEATURES,
    OF_FEATURES,
    FeatureStore,
    feature_passes,
    most_images,
    store_of,
)
from probes.metric import DATA, STATED, Inputs, Metric, Record, Told, related_probe

Variant = Literal["fast", "repa"]
MOST_FAST = 20_000  # training images up to which logistic regression takes seconds a place
LINEAR_PROBES = {
    "fast": Record(
        "linear_probe_fast",
        variant="standardised features, "
        "scikit-learn LogisticRegression (L2, C = 1, at most 1,000 iterations)",
        **OF_FEATURES,
    ),
    "repa": Record(
        "linear_probe_repa",
        variant="REPA: batch norm without parameters, linear, Adam, cosine to 0, no weight decay",
        epochs=STATED,
        batch=STATED,
        learning_rate=STATED,
        probe_seed=STATED,
        **OF_FEATURES,
    ),
}
KNN = Record(
    "knn", variant="cosine, k = 20, one vote each, ties to the smaller label", **OF_FEATURES
)


def variant_for(n_train: int) -> Variant:
    """The linear probe that is used where none is asked for: scikit-learn's on small data,
    else REPA's recipe.
    """
    return "fast" if n_train <= MOST_FAST else "repa"


def probes_by_metric(
    variant: Variant, recipe: ProbeRecipe, device: torch.device | str
) -> dict[str, tuple[Record, Callable[..., np.ndarray], dict[str, Any]]]:
    """{metric: (protocol, right answers of (train, y, heldout, z), what the recipe states)}."""

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
    return {"linear_probe": (LINEAR_PROBES[variant], linear, of_recipe), "knn": (KNN, knn, {})}


def accuracy_row(
    metric: str, record: Record, right: np.ndarray, data: Mapping[str, Any], **rest: Any
) -> Row:
    """A row of right answers [n_heldout], with Wilson's interval."""
    n, value = data["n_heldout"], float(right.mean())
    # two arms answer about the same pictures: kept, the answers pair their difference
    paired = {"correct": numbers.pack(right)} if "block" in rest and n <= numbers.MOST else {}
    return record.row(
        metric,
        value,
        n,
        data,
        stderr=standard_error(value, n),
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
        for metric, (record, probe, of_recipe) in probes_by_metric(variant, recipe, device).items():
            right = probe(train, train_labels, heldout, heldout_labels)
            rows.append(
                accuracy_row(
                    metric, record, right, data | of_recipe, block=block, t=t, related=mark
                )
            )
    return rows


class Probes(Metric):
    """linear_probe and knn of every block and noise level."""

    needs = (DATA,)
    records = (*LINEAR_PROBES.values(), KNN)

    def variant(self, inputs: Inputs) -> Variant:
        """The linear probe that was asked for. Raises ValueError for an unknown one."""
        said = inputs.settings.get("probe", "auto")
        if said not in ("auto", *LINEAR_PROBES):
            raise ValueError(
                f"probe={said} is unknown (choices: {', '.join(('auto', *LINEAR_PROBES))})"
            )
        if said == "auto":
            return variant_for(min(inputs.data_here.n_train, most_images(inputs.settings)))
        return cast(Variant, said)

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        self._variant = self.variant(inputs)
        return {}

    def measure(self, inputs: Inputs) -> list[Row]:
        store, data = store_of(inputs), inputs.data_here
        return measure_features(
            store,
            data,
            inputs.aligned,
            self.variant(inputs),
            device=inputs.device,
            progress=inputs.progress,
        )

    def illustrate(self, inputs: Inputs, folder: Path, images: int) -> None:
        if len(inputs.data_here.grid.grid) == 2:
            pictures = feature_pictures(inputs.backbone, inputs.data_here, inputs.device)
            save_pictures(pictures, folder, images)

    @property
    def reading(self) -> str:
        return self._variant

    @classmethod
    def passes(cls, n_train: int, n_heldout: int, settings: Told) -> int:
        return feature_passes(n_train, n_heldout, settings)
