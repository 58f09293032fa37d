"""The FID family from one feature pass: FID, sFID, IS, precision, recall and KID,
as the ADM evaluator defines them.

Samples are any `ImageSource` (an .npz, a folder, a data set); the reference is one of
`probes.distances.reference`.

    network = load_inception()
    reference = adm_reference(network, Path("VIRTUAL_imagenet256_labeled.npz"), Path("cache"))
    samples = NpzImages(Path("samples_50000.npz"))
    rows = measure_fid_family(network, samples, reference, sampling=sampling_protocol)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.core.store.rows import Row
from probes.distances.frechet import FRECHET, distance_of, fit
from probes.distances.images import DatasetImages, ImageSource, NpzImages
from probes.distances.inception_score import inception_score
from probes.distances.kid import SEED, SUBSETS, kid
from probes.distances.precision_recall import BALLS, NEIGHBOURS, precision_recall
from probes.distances.reference import (
    FidReference,
    adm_parts,
    adm_reference,
    check_pictures,
    image_reference,
    is_adm_file,
    pictures_of_reference,
    too_few,
)
from probes.extractors.inception import InceptionFeatures, inception_features, load_inception
from probes.metric import (
    OF_REFERENCE,
    OF_SAMPLES,
    PICTURES,
    REFERENCE,
    STATED,
    Inputs,
    Metric,
    Record,
    dropped_note,
    finite_rows,
    related,
)

INCEPTION = {"family": "convnet", "trained_on": "ImageNet-1k", "labels": "ImageNet-1k"}
BY_INCEPTION = {
    "extractor": "inception-v3-compat (torch-fidelity), float32",
    "extractor_weights": STATED,
    "input": "uint8, TensorFlow-1 bilinear to 299, (x - 128) / 128",
}
POOL_FEATURES = {**BY_INCEPTION, "layer": "pool, 2,048"}
AGAINST = {**OF_REFERENCE, **OF_SAMPLES}
PRECISION_RECALL = Record("adm_precision_recall", manifold=BALLS, **POOL_FEATURES, **AGAINST)
FID_RECORDS = {
    "fid": Record("fid", distance=FRECHET, **POOL_FEATURES, **AGAINST),
    "sfid": Record(
        "sfid",
        distance=FRECHET,
        **BY_INCEPTION,
        layer="Mixed_6d.branch1x1 after ReLU, channels last, first 7, flattened to 2,023",
        **AGAINST,
    ),
    "is": Record(
        "is",
        **BY_INCEPTION,
        layer="softmax of pool @ fc.weight.T (1,008, no bias)",
        splits="consecutive blocks of 5,000 in sample order, mean of exp(mean KL)",
        **OF_SAMPLES,
    ),
    "precision": PRECISION_RECALL,
    "recall": PRECISION_RECALL,
    "kid": Record(
        "kid",
        kernel="polynomial, degree 3, gamma 1/d, coef0 1, unbiased",
        subsets=STATED,
        subset_size=STATED,
        subset_seed=STATED,
        **POOL_FEATURES,
        **AGAINST,
    ),
}


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
    known: dict[str, Any] = {
        "extractor_weights": network.fingerprint,
        "sampling": dict(sampling),
        "n": total,
        "reference": reference.description,
        "subsets": SUBSETS,
        "subset_size": details["kid"].get("subset_size", 0),
        "subset_seed": SEED,
    }
    mark = related(INCEPTION, aligned)
    rows = []
    for metric, record in FID_RECORDS.items():
        parts = (notes.get(metric, ""), dropped_note(dropped, total))
        rows.append(
            record.row(
                metric,
                values[metric],
                n,
                record.open_part(known),
                real=real.get(metric),
                related=mark,
                note="; ".join(part for part in parts if part),
                details={"not_finite": dropped, **details.get(metric, {})},
            )
        )
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
    values: dict[str, float | None] = dict.fromkeys(FID_RECORDS)
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


class FidFamily(Metric):
    """FID, sFID, IS, precision, recall and KID against an ADM file, a folder or a data set."""

    needs = (PICTURES, REFERENCE)
    records = tuple(FID_RECORDS.values())

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        # the reference first: Inception takes seconds to load
        assert inputs.reference is not None
        if is_adm_file(inputs.reference):
            assert isinstance(inputs.reference, Path)
            lacks: Mapping[str, str] = adm_parts(inputs.reference)[2]
        else:
            pictures = check_pictures(inputs.reference)
            lacks = too_few(pictures.name, len(pictures))
        weights = inputs.settings.get("inception")
        self.network = load_inception(Path(str(weights)) if weights else None)
        return lacks

    def measure(self, inputs: Inputs) -> list[Row]:
        assert inputs.samples is not None and inputs.samples.file is not None
        reference, network, heldout = inputs.reference, self.network, None
        assert reference is not None and network is not None
        how = (inputs.cache, inputs.device, inputs.progress)

        # the reference's side, and what real pictures score, where there are held-out ones
        if is_adm_file(reference):
            assert isinstance(reference, Path)
            side = adm_reference(network, reference, *how)
        else:
            side = image_reference(network, pictures_of_reference(reference), *how)
        if not isinstance(reference, Path):
            heldout = image_reference(network, DatasetImages(reference, "heldout"), *how)

        return measure_fid_family(
            network,
            NpzImages(inputs.samples.file),
            side,
            sampling=inputs.samples.sampling,
            aligned=inputs.aligned,
            heldout=heldout,
            not_finite=inputs.samples.not_finite,
            device=inputs.device,
            progress=inputs.progress,
        )

    @property
    def reading(self) -> str:
        return f"{getattr(self.network, 'name', 'inception')} {super().reading} "
