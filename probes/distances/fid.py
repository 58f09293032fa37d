"""The FID family from one feature pass: FID, sFID, IS, precision, recall and KID,
as the ADM evaluator defines them.

Samples are any `ImageSource` (an .npz, a folder, a data set); the reference is one of
`probes.distances.reference`.

    network = load_inception()
    reference = adm_reference(network, Path("VIRTUAL_imagenet256_labeled.npz"), Path("cache"))
    rows = measure_fid_family(network, NpzImages(Path("samples_50000.npz")), reference, sampling=sampling_protocol)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from bench.core.store.rows import Row
from probes.distances.frechet import distance_of, fit
from probes.distances.images import ImageSource
from probes.distances.inception_score import inception_score
from probes.distances.kid import SEED, SUBSETS, kid
from probes.distances.precision_recall import NEIGHBOURS, precision_recall
from probes.distances.reference import FidReference
from probes.extractors.inception import InceptionFeatures, inception_features
from probes.finite import dropped_note, finite_rows
from probes.protocols import RECORDS, protocol
from probes.related import related

INCEPTION = {"family": "convnet", "trained_on": "ImageNet-1k", "labels": "ImageNet-1k"}


def measure_fid_family(
    network: Any,
    images: ImageSource,
    reference: FidReference,
    sampling: Mapping[str, Any],
    aligned: Mapping[str, str] | None = None,
    heldout: FidReference | None = None,
    not_finite: int = 0,
    device: torch.device | str = "cpu",
    batch: int = 64,
    progress: bool = False,
) -> list[Row]:
    """Rows fid, sfid, is, precision, recall and kid of samples from one feature pass.

    sampling: the sampler's complete protocol; aligned: of the encoder the arm was aligned with, or
    None; heldout: held-out real pictures (`image_reference`), whose values stand beside the
    samples' (all but IS); not_finite: samples that had no picture because they were not finite
    (they are named in every row).
    """
    found = inception_features(network, images, device, batch, progress)
    mask, dropped = finite_rows(found.pool)
    dropped += not_finite
    # In place of a copy of a gigabyte where nothing has to go.
    kept = (
        found
        if mask.all()
        else InceptionFeatures(found.pool[mask], found.spatial[mask], found.logits[mask])
    )
    total, n = len(images) + not_finite, len(kept.pool)
    values, notes, details = _values(kept, reference, device, progress)
    real = {} if heldout is None else real_values(heldout, reference, device, progress)
    common = {"sampling": dict(sampling), "n": total}
    mark = related(INCEPTION, aligned)
    rows = []
    for metric, value in values.items():
        name = "adm_precision_recall" if metric in ("precision", "recall") else metric
        stated: dict[str, Any] = {"extractor_weights": network.fingerprint, **common}
        if "reference" in RECORDS[name]:
            stated["reference"] = reference.description
        if name == "kid":
            size = details["kid"].get("subset_size", 0)
            stated |= {"subsets": SUBSETS, "subset_size": size, "subset_seed": SEED}
        parts = (notes.get(metric, ""), dropped_note(dropped, total))
        row = Row(
            metric=metric,
            value=value,
            n=n,
            higher_is_better=metric in ("is", "precision", "recall"),
            protocol=protocol(name, **stated),
            real=real.get(metric),
            related=mark,
            note="; ".join(part for part in parts if part),
            metric_version=RECORDS[name]["version"],
            details={"not_finite": dropped, **details.get(metric, {})},
        )
        rows.append(row)
    return rows


def real_values(
    heldout: FidReference,
    reference: FidReference,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> dict[str, float]:
    """fid, sfid, precision, recall and kid of real pictures, as far as both sides allow."""
    values = {"fid": distance_of(heldout.pool, reference.pool).value}
    if heldout.spatial is not None and reference.spatial is not None:
        values["sfid"] = distance_of(heldout.spatial, reference.spatial).value
    if heldout.manifold is not None and reference.manifold is not None:
        lacks = {**heldout.lacks, **reference.lacks}
        if "recall" not in lacks:
            ours, theirs = (
                torch.from_numpy(side.manifold).to(device) for side in (heldout, reference)
            )
            values["precision"], values["recall"] = precision_recall(
                ours, theirs, progress=progress
            )
        if "kid" not in lacks:
            values["kid"] = kid(heldout.manifold, reference.manifold, progress=progress).value
    return values


def _values(
    kept: InceptionFeatures, reference: FidReference, device: torch.device | str, progress: bool
) -> tuple[dict[str, float | None], dict[str, str], dict[str, dict[str, Any]]]:
    """Values, notes and details of each metric;
    what the reference does not allow is None with a note.
    """
    n = len(kept.pool)
    values: dict[str, float | None] = dict.fromkeys(
        ("fid", "sfid", "is", "precision", "recall", "kid")
    )
    notes = dict(reference.lacks)
    details: dict[str, dict[str, Any]] = {"kid": {}}
    if n <= NEIGHBOURS:
        return values, dict.fromkeys(values, f"nothing is measured on {n} samples"), details
    fid = distance_of(fit(kept.pool), reference.pool)
    values["fid"], notes["fid"] = fid.value, fid.note
    if reference.spatial is not None:
        sfid = distance_of(fit(kept.spatial), reference.spatial)
        values["sfid"], notes["sfid"] = sfid.value, sfid.note
    values["is"] = inception_score(kept.logits)
    if reference.manifold is not None and "recall" not in reference.lacks:
        samples, manifold = (
            torch.from_numpy(features).to(device) for features in (kept.pool, reference.manifold)
        )
        values["precision"], values["recall"] = precision_recall(
            samples, manifold, progress=progress
        )
    if reference.manifold is not None:
        distance = kid(kept.pool, reference.manifold, progress=progress)
        values["kid"] = distance.value
        details["kid"] = {"subset_size": distance.subset_size, "spread_of_subsets": distance.spread}
    return values, notes, details
