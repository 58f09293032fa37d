"""Features for the FID family: torch-fidelity's Inception (the TensorFlow original's weights),
one pass for all.

One pass gives, for each picture, the 2,048 pool features (FID, precision and recall, KID), the
2,023 spatial features of sFID (Nash et al. 2021, arXiv:2103.03841) and the 1,008 unbiased logits
(inception score), as the ADM evaluator reads them. sFID's numbers are the 1x1 branch of Mixed_6d
after its ReLU: channels last [17, 17, 192], the first 7, flattened (h, w, c).

    network = load_inception()
    samples = NpzImages(Path("samples_50000.npz"))
    features = inception_features(network, samples, device="cuda", progress=True)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.core.compat import full_float32, import_vision
from bench.core.store.beside import read_ahead
from bench.core.store.files import file_hash
from bench.core.store.staging import Resource, require, torch_hub
from probes.distances.images import ImageSource

URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
HASH_PREFIX = "6726825d"
SPATIAL_CHANNELS = 7
POOL, SPATIAL = 2048, 17 * 17 * SPATIAL_CHANNELS  # numbers of a picture


@dataclass(frozen=True)
class InceptionFeatures:
    """float32 features of n pictures in their order: pool [n, 2048], spatial [n, 2023],
    logits [n, 1008].
    """

    pool: np.ndarray
    spatial: np.ndarray
    logits: np.ndarray


def inception_files(metric: str = "fid") -> list[Resource]:
    """The weights as a file to stage: looked for and downloaded to $TORCH_HOME/hub/checkpoints."""
    place = torch_hub() / "checkpoints" / URL.rsplit("/", 1)[1]
    return [Resource("Inception's weights", place, URL, 91, sha256=HASH_PREFIX)]


def find_weights(path: Path | None = None) -> Path:
    """The weights' file: `path` if given, else the one in the hub's folder,
    downloaded to it if need be.

    Raises ValueError saying what is missing, where it was looked for and how to get it there.
    """
    if path is None:
        (weights,) = inception_files()
        require([weights], "the FID family", "inception=true")
        return weights.path
    if not path.is_file():
        raise ValueError(
            f"there are no Inception weights at {path}; fetch {URL} and give that file's path"
        )
    return path


def load_inception(path: Path | None = None) -> nn.Module:
    """torch-fidelity's FeatureExtractorInceptionV3 (float32, frozen),
    with the weights' hash as `.fingerprint`.

    Warns of other weights than the published ones, whose numbers stand beside no one else's. Raises
    ValueError for a file that is not there, not a state dict of that network, or holds pickled
    code.
    """
    place = find_weights(path)
    try:
        # torch-fidelity would unpickle anything; what weights_only accepts holds no code.
        torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{place} is not a file of weights ({str(error).splitlines()[0]}); fetch {URL}"
        ) from error
    import_vision("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=str(place),
        )
    except (RuntimeError, TypeError, AttributeError) as error:
        first = " ".join(str(error).split())[:200]
        raise ValueError(f"{place} does not fit Inception v3 ({first}); fetch {URL}") from error
    network.fingerprint = fingerprint = file_hash(place)[:16]  # type: ignore[assignment]
    if not fingerprint.startswith(HASH_PREFIX):
        warnings.warn(
            f"{place} has the SHA-256 {fingerprint}..., "
            f"the published weights {HASH_PREFIX}...: no FID of it is "
            f"comparable with a published one; fetch {URL}",
            stacklevel=2,
        )
    return network


@full_float32()
@torch.no_grad()
def inception_pass(
    network: Any,
    images: ImageSource,
    take: Callable[[int, InceptionFeatures], None],
    device: torch.device | str = "cpu",
    batch: int = 64,
    progress: bool = False,
) -> None:
    """One pass over the pictures; take(i, features) is given those of a batch,
    whose first picture is the i-th.
    """
    network.to(device)
    branch: list[Tensor] = []
    hook = network.Mixed_6d.branch1x1.register_forward_hook(
        lambda module, inputs, output: branch.append(output)
    )
    n = len(images)
    done = 0
    try:
        with tqdm(
            total=n, desc=f"Inception {images.name}", unit="image", disable=not progress
        ) as bar:
            for pictures in read_ahead(images.batches(batch)):
                pool, logits = network(pictures.to(device))
                parts = (pool, spatial_features(branch.pop()), logits)
                take(done, InceptionFeatures(*(part.cpu().numpy() for part in parts)))
                done += len(pictures)
                bar.update(len(pictures))
    finally:
        hook.remove()
    assert done == n > 0


def inception_features(
    network: Any,
    images: ImageSource,
    device: torch.device | str = "cpu",
    batch: int = 64,
    progress: bool = False,
) -> InceptionFeatures:
    """Features of all pictures from one pass: three float32 arrays,
    about 1 GB for 50,000 pictures.
    """
    whole: list[np.ndarray] = []

    def take(first: int, found: InceptionFeatures) -> None:
        parts = (found.pool, found.spatial, found.logits)
        if not whole:
            whole.extend(np.empty((len(images), part.shape[1]), np.float32) for part in parts)
        for of_all, part in zip(whole, parts, strict=True):
            of_all[first : first + len(part)] = part

    inception_pass(network, images, take, device, batch, progress)
    return InceptionFeatures(*whole)


def spatial_features(branch: Tensor) -> Tensor:
    """sFID's numbers [B, 2023] of the 1x1 branch of Mixed_6d [B, 192, 17, 17]."""
    return branch.movedim(1, -1)[..., :SPATIAL_CHANNELS].flatten(1)
