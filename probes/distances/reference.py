"""The reference's side of the FID family: an ADM file, a folder of pictures,
or a split of a data set.

An ADM file has `mu`, `sigma`, `mu_s`, `sigma_s` of the whole training set and `arr_0`, 10,000
pictures. What is computed of a reference is cached under a hash of its data, of the network's
weights and of this code's version.

    adm_parts(path)                # before sampling: is it one, and what does it lack?
    reference = adm_reference(network, path, Path("cache"))
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.core.data.base import DataSet
from bench.core.store.cache import cached_folder
from bench.core.store.files import file_hash
from probes.distances.frechet import Gaussian, Moments
from probes.distances.images import DatasetImages, FolderImages, ImageSource, NpzImages
from probes.distances.precision_recall import NEIGHBOURS
from probes.extractors.inception import POOL, SPATIAL, InceptionFeatures, inception_pass

CODE_VERSION = 2
MOST_MANIFOLD = 10_000  # pictures of the reference's manifold, as in the ADM evaluator
FEWEST = {
    "precision": NEIGHBOURS + 1,
    "recall": NEIGHBOURS + 1,
    "kid": 2,
}  # pictures of the reference


@dataclass(frozen=True)
class FidReference:
    """The reference's side; what it does not allow is in `lacks`, {metric: why it is missing}.

    pool, spatial: Gaussians of the 2,048 and 2,023 features; manifold: pool features of at most
    10,000 pictures.
    """

    name: str
    fingerprint: str
    pool: Gaussian
    spatial: Gaussian | None
    manifold: np.ndarray | None
    lacks: Mapping[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        return f"{self.name} ({self.fingerprint})"


def is_adm_file(reference: Path | DataSet) -> bool:
    """Whether a reference is a file, and not a folder or a data set."""
    return isinstance(reference, Path) and not reference.is_dir()


def pictures_of_reference(reference: Path | DataSet) -> ImageSource:
    """Its pictures, of a data set the training split. Raises ValueError for an .npz without any."""
    if not isinstance(reference, Path):
        return DatasetImages(reference, "train")
    return FolderImages(reference) if reference.is_dir() else NpzImages(reference)


def check_pictures(reference: Path | DataSet) -> ImageSource:
    """Its pictures, looked at before hours of sampling: how many, of one size, readable.

    Raises ValueError.
    """
    pictures = pictures_of_reference(reference)
    beside = [] if isinstance(reference, Path) else [DatasetImages(reference, "heldout")]
    for side in (pictures, *beside):
        if len(side) < 2:
            raise ValueError(
                f"reference: {side.name} has {len(side)} picture(s): a distance needs at least two"
            )
        if isinstance(side, FolderImages):
            side.check_sizes()
        elif not isinstance(reference, Path):
            next(side.batches(1))  # latents may lie there without their pictures
    return pictures


def adm_parts(
    path: Path, widths: tuple[int, int] = (POOL, SPATIAL)
) -> tuple[Gaussian, Gaussian | None, dict[str, str]]:
    """Both Gaussians of an ADM reference file, and the metrics that it does not allow, {metric:
    why}.

    widths: numbers of the pool and of the spatial features. Raises ValueError for a file that is
    missing, cut off or something else; without a usable mu_s or arr_0 the other metrics go on.
    """
    if not path.is_file():
        raise ValueError(
            f"there is no reference file {path}; fetch one of the ADM suite (keys mu, sigma, arr_0)"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = set(file.files)
            parts = {
                key: file[key].astype(np.float64)
                for key in ("mu", "sigma", "mu_s", "sigma_s")
                if key in keys
            }
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no whole .npz of arrays ({error}): fetch the reference file again"
        ) from error
    if not {"mu", "sigma"} <= keys:
        raise ValueError(
            f"{path} has {sorted(keys)}; a reference file has at least mu and sigma, [n] and [n, n]"
        )
    if problem := _problem(parts["mu"], parts["sigma"], widths[0]):
        raise ValueError(f"mu and sigma of {path} {problem}: fetch the reference file again")
    lacks, spatial = _without_pictures(path, keys), None
    if not {"mu_s", "sigma_s"} <= keys:
        lacks["sfid"] = f"missing: {path.name} has no mu_s and sigma_s"
    elif problem := _problem(parts["mu_s"], parts["sigma_s"], widths[1]):
        lacks["sfid"] = f"missing: mu_s and sigma_s of {path.name} {problem}"
    else:
        spatial = Gaussian(parts["mu_s"], parts["sigma_s"], 0)
    return Gaussian(parts["mu"], parts["sigma"], 0), spatial, lacks


def _problem(mean: np.ndarray, covariance: np.ndarray, width: int) -> str:
    """Why these are no mean and covariance of features of so many numbers, "" if they are."""
    if mean.shape != (width,) or covariance.shape != (width, width):
        return (
            f"are {mean.shape} and {covariance.shape}, "
            f"those of Inception's features ({width},) and {(width, width)}"
        )
    return (
        ""
        if np.isfinite(mean).all() and np.isfinite(covariance).all()
        else "hold values that are not finite"
    )


def _without_pictures(path: Path, keys: set[str]) -> dict[str, str]:
    if "arr_0" not in keys:
        return dict.fromkeys(FEWEST, f"missing: {path.name} has no pictures (arr_0)")
    try:
        return too_few(path.name, len(NpzImages(path)))
    except ValueError as error:
        return dict.fromkeys(FEWEST, f"missing: {error}")


def too_few(name: str, pictures: int) -> dict[str, str]:
    """The metrics that so many pictures of a reference do not allow, {metric: why}."""
    return {
        metric: f"missing: {name} has {pictures} picture(s), {metric} needs {fewest}"
        for metric, fewest in FEWEST.items()
        if pictures < fewest
    }


def adm_reference(
    network: Any,
    path: Path,
    cache: Path,
    device: torch.device | str = "cpu",
    progress: bool = False,
    widths: tuple[int, int] = (POOL, SPATIAL),
) -> FidReference:
    """Read an ADM reference file; only the features of its pictures have to be computed, once."""
    path = Path(path)
    pool, spatial, lacks = adm_parts(path, widths)
    fingerprint = file_hash(path)[:16]
    manifold = None
    if "kid" not in lacks:  # which needs the fewest pictures

        def make(folder: Path) -> None:
            kept: list[np.ndarray] = []

            def take(first: int, found: InceptionFeatures) -> None:
                kept.append(found.pool[: max(0, MOST_MANIFOLD - first)])

            inception_pass(network, NpzImages(path), take, device, progress=progress)
            np.save(folder / "pool.npy", np.concatenate(kept))

        folder = cached_folder(_cache_folder(cache, path.stem, fingerprint, network), make)
        manifold = np.load(folder / "pool.npy")
    return FidReference(path.name, fingerprint, pool, spatial, manifold, lacks)


def image_reference(
    network: Any,
    images: ImageSource,
    cache: Path,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> FidReference:
    """Statistics of a folder or a data set: Gaussians of all pictures,
    manifold of the first 10,000 at equal steps.

    Memory does not grow with the number of pictures: the features of a million would be 16 GB.
    """
    fingerprint, n = images.fingerprint, len(images)

    def make(folder: Path) -> None:
        rows = np.linspace(0, n - 1, min(MOST_MANIFOLD, n)).round().astype(np.int64)
        pool, spatial, kept = Moments(), Moments(), list[np.ndarray]()

        def take(first: int, found: InceptionFeatures) -> None:
            pool.add(found.pool)
            spatial.add(found.spatial)
            kept.append(
                found.pool[rows[(rows >= first) & (rows < first + len(found.pool))] - first]
            )

        inception_pass(network, images, take, device, progress=progress)
        np.save(folder / "pool.npy", np.concatenate(kept))
        of_pool, of_spatial = pool.gaussian(), spatial.gaussian()
        np.savez(
            folder / "gaussians.npz",
            mu=of_pool.mean,
            sigma=of_pool.covariance,
            mu_s=of_spatial.mean,
            sigma_s=of_spatial.covariance,
            n=n,
        )

    folder = cached_folder(_cache_folder(cache, images.name, fingerprint, network), make)
    with np.load(folder / "gaussians.npz") as file:
        pool, spatial = (
            Gaussian(file["mu"], file["sigma"], n),
            Gaussian(file["mu_s"], file["sigma_s"], n),
        )
    manifold = np.load(folder / "pool.npy")
    return FidReference(images.name, fingerprint, pool, spatial, manifold, too_few(images.name, n))


def _cache_folder(cache: Path, name: str, fingerprint: str, network: Any) -> Path:
    readable = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    return (
        Path(cache)
        / "inception"
        / f"{readable}-{fingerprint}-{network.fingerprint}-v{CODE_VERSION}"
    )
