"""The FID family from one feature pass: FID, sFID, IS, precision, recall and KID, as the ADM evaluator defines them.

Samples are any `ImageSource` (an .npz, a folder, a data set). The reference is an ADM file (`mu`, `sigma`, `mu_s`,
`sigma_s` of the whole training set, `arr_0`: 10,000 pictures) or another source of pictures; what is computed of it is
cached under a hash of its data, of the network's weights and of this code's version.

    network = load_inception()
    reference = adm_reference(network, Path("VIRTUAL_imagenet256_labeled.npz"), Path("cache"))
    rows = measure_fid_family(network, NpzImages(Path("samples_50000.npz")), reference, sampling=sampling_protocol)
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.cached_folder import cached_folder
from bench.core.results import Row
from probes.finite import dropped_note, finite_rows
from probes.frechet import Gaussian, distance_of, fit
from probes.image_sources import ImageSource, NpzImages, file_hash
from probes.inception import InceptionFeatures, inception_features
from probes.inception_score import inception_score
from probes.kid import SEED, SUBSETS, kid
from probes.precision_recall import NEIGHBOURS, precision_recall
from probes.protocols import RECORDS, protocol
from probes.related import related

CODE_VERSION = 1
MOST_MANIFOLD = 10_000
INCEPTION = {"family": "convnet", "trained_on": "ImageNet-1k", "labels": "ImageNet-1k"}


@dataclass(frozen=True)
class FidReference:
    """The reference's side; a part that its file lacks is None, and the metrics that need it are reported missing.

    pool, spatial: Gaussians of the 2,048 and 2,023 features; manifold: pool features of at most 10,000 pictures.
    """

    name: str
    fingerprint: str
    pool: Gaussian
    spatial: Gaussian | None
    manifold: np.ndarray | None

    @property
    def description(self) -> str:
        return f"{self.name} ({self.fingerprint})"


def reference_file(path: Path) -> Any:
    """An ADM reference file, opened. Raises ValueError for one that is missing, cut off or something else."""
    if not path.is_file():
        raise ValueError(f"there is no reference file {path}; fetch one of the ADM suite (keys mu, sigma, arr_0)")
    try:
        file = np.load(path, allow_pickle=False)
        keys = set(file.files)
        shapes = {key: file[key].shape for key in ("mu", "sigma") if key in keys}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no whole .npz of arrays ({error}): fetch the reference file again") from error
    if shapes.keys() != {"mu", "sigma"} or shapes["sigma"] != 2 * shapes["mu"]:
        raise ValueError(
            f"{path} has {sorted(keys)} {shapes}; a reference file has at least mu and sigma, [n] and [n, n]"
        )
    return file


def adm_reference(
    network: Any, path: Path, cache: Path, device: torch.device | str = "cpu", progress: bool = False
) -> FidReference:
    """Read an ADM reference file; only the features of its pictures have to be computed, once."""
    path = Path(path)
    with reference_file(path) as file:
        keys = set(file.files)
        pool = Gaussian(file["mu"].astype(np.float64), file["sigma"].astype(np.float64), 0)
        spatial = None
        if {"mu_s", "sigma_s"} <= keys:
            spatial = Gaussian(file["mu_s"].astype(np.float64), file["sigma_s"].astype(np.float64), 0)
    fingerprint = file_hash(path)
    manifold = None
    if "arr_0" in keys:

        def make(folder: Path) -> None:
            found = inception_features(network, NpzImages(path), device, progress=progress)
            np.save(folder / "pool.npy", found.pool[:MOST_MANIFOLD])

        folder = cached_folder(_cache_folder(cache, path.stem, fingerprint, network), make)
        manifold = np.load(folder / "pool.npy")
    return FidReference(path.name, fingerprint, pool, spatial, manifold)


def image_reference(
    network: Any, images: ImageSource, cache: Path, device: torch.device | str = "cpu", progress: bool = False
) -> FidReference:
    """Statistics of a folder or a data set: Gaussians of all pictures, manifold of the first 10,000 at equal steps."""
    fingerprint = images.fingerprint

    def make(folder: Path) -> None:
        found = inception_features(network, images, device, progress=progress)
        rows = np.linspace(0, len(found.pool) - 1, min(MOST_MANIFOLD, len(found.pool))).round().astype(np.int64)
        np.save(folder / "pool.npy", found.pool[rows])
        pool, spatial = fit(found.pool), fit(found.spatial)
        np.savez(folder / "gaussians.npz", mu=pool.mean, sigma=pool.covariance, mu_s=spatial.mean,
                 sigma_s=spatial.covariance, n=len(found.pool))  # fmt: skip

    folder = cached_folder(_cache_folder(cache, images.name, fingerprint, network), make)
    with np.load(folder / "gaussians.npz") as file:
        n = int(file["n"])
        pool, spatial = Gaussian(file["mu"], file["sigma"], n), Gaussian(file["mu_s"], file["sigma_s"], n)
    return FidReference(images.name, fingerprint, pool, spatial, np.load(folder / "pool.npy"))


def _cache_folder(cache: Path, name: str, fingerprint: str, network: Any) -> Path:
    readable = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    return Path(cache) / "inception" / f"{readable}-{fingerprint}-{network.fingerprint}-v{CODE_VERSION}"


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

    sampling: the sampler's complete protocol; aligned: of the encoder the arm was aligned with, or None;
    heldout: held-out real pictures (`image_reference`), whose values stand beside the samples' (all but IS);
    not_finite: samples that had no picture because they were not finite (they are named in every row).
    """
    found = inception_features(network, images, device, batch, progress)
    mask, dropped = finite_rows(found.pool)
    dropped += not_finite
    # In place of a copy of a gigabyte where nothing has to go.
    kept = found if mask.all() else InceptionFeatures(found.pool[mask], found.spatial[mask], found.logits[mask])
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
    heldout: FidReference, reference: FidReference, device: torch.device | str = "cpu", progress: bool = False
) -> dict[str, float]:
    """fid, sfid, precision, recall and kid of real pictures, as far as both sides allow."""
    values = {"fid": distance_of(heldout.pool, reference.pool).value}
    if heldout.spatial is not None and reference.spatial is not None:
        values["sfid"] = distance_of(heldout.spatial, reference.spatial).value
    if heldout.manifold is not None and reference.manifold is not None:
        ours, theirs = (torch.from_numpy(side.manifold).to(device) for side in (heldout, reference))
        values["precision"], values["recall"] = precision_recall(ours, theirs, progress=progress)
        values["kid"] = kid(heldout.manifold, reference.manifold, progress=progress).value
    return values


def _values(
    kept: InceptionFeatures, reference: FidReference, device: Any, progress: bool
) -> tuple[dict[str, float | None], dict[str, str], dict[str, dict[str, Any]]]:
    """Values, notes and details of each metric; what the reference does not allow is None with a note."""
    n = len(kept.pool)
    values: dict[str, float | None] = dict.fromkeys(("fid", "sfid", "is", "precision", "recall", "kid"))
    notes: dict[str, str] = {}
    details: dict[str, dict[str, Any]] = {"kid": {}}
    if n <= NEIGHBOURS:
        return values, dict.fromkeys(values, f"nothing is measured on {n} samples"), details
    fid = distance_of(fit(kept.pool), reference.pool)
    values["fid"], notes["fid"] = fid.value, fid.note
    if reference.spatial is None:
        notes["sfid"] = f"missing: {reference.name} has no mu_s and sigma_s"
    else:
        sfid = distance_of(fit(kept.spatial), reference.spatial)
        values["sfid"], notes["sfid"] = sfid.value, sfid.note
    values["is"] = inception_score(kept.logits)
    if reference.manifold is None:
        notes |= dict.fromkeys(("precision", "recall", "kid"), f"missing: {reference.name} has no pictures (arr_0)")
        return values, notes, details
    samples, manifold = (torch.from_numpy(features).to(device) for features in (kept.pool, reference.manifold))
    values["precision"], values["recall"] = precision_recall(samples, manifold, progress=progress)
    distance = kid(kept.pool, reference.manifold, progress=progress)
    values["kid"] = distance.value
    details["kid"] = {"subset_size": distance.subset_size, "spread_of_subsets": distance.spread}
    return values, notes, details
