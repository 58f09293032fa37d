"""Rows of what a backbone's features know:
probes and CKNNA of a run's snapshot or of a released checkpoint.

measure = feature_measurement(subject, ["probes", "cknna_dinov2_b"], {"probe": "repa"}, "cuda")
measure()
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from bench.core.store.files import short_hash
from bench.core.store.rows import Row
from bench.evaluation.networks import cache_of, encoder_of
from bench.evaluation.request import PROBE_TIMES
from bench.evaluation.results import store, told
from bench.evaluation.subject import Subject


def feature_measurement(
    subject: Subject, metrics: list[str], words: dict[str, str], device: torch.device
) -> Callable[[], None]:
    """What measures these metrics; whatever could be missing is looked for here.

    Raises ValueError.
    """
    from probes.features.cknna import measure_cknna
    from probes.features.probes import measure_features, variant_for
    from probes.features.store import FeatureGrid, feature_store, probe_blocks

    if (data := subject.data) is None:
        raise ValueError(
            f"metrics={metrics[0]} reads the data set, which is not here: data.root=DIR"
        )
    names = [metric.removeprefix("cknna_") for metric in metrics if metric != "probes"]
    if names:
        data.images("heldout", slice(0, 1))  # latents may lie there without their pictures
    cache = cache_of(words, subject)
    encoders = {f"cknna_{name}": encoder_of(name, words, subject, device) for name in names}
    grid = FeatureGrid(probe_blocks(subject.backbone.size.depth), PROBE_TIMES)
    chosen = words.get("probe", "auto")
    variant: Any = variant_for(min(data.n_train, grid.most_images)) if chosen == "auto" else chosen
    read_by = [f"{encoder.name} {encoder.fingerprint}" for encoder in encoders.values()]
    kind = "-".join(
        (f"evaluate-features{subject.average}", *metrics, short_hash([variant, *read_by]))
    )

    def measure() -> None:
        progress, aligned = sys.stderr.isatty(), subject.aligned
        found = feature_store(
            subject.backbone, data, grid, subject.sha256, cache, device, progress=progress
        )
        rows: list[Row] = []
        for metric in metrics:
            if metric == "probes":
                of = measure_features(
                    found, data, aligned, variant, device=device, progress=progress
                )
            else:
                of = measure_cknna(found, data, encoders[metric], cache, aligned, device=device)
            rows += told(of, metric, words)
        store(subject, words, kind, rows, device)

    return measure
