"""`fd_<encoder>`: Frechet distance in the features of any frozen encoder,
FD-DINOv2 among them (arXiv:2306.04675).

An encoder of the registry is read as it preprocesses pictures itself: its class token, or the mean
of its patch tokens. FD-DINOv2 as dgm-eval computes it has a preprocessing of its own
(`dgm_dinov2`), and 50,000 against 50,000 pictures.

    model = torch.hub.load("facebookresearch/dinov2:main", "dinov2_vitl14", skip_validation=True)
    extractor = dgm_dinov2(model, fingerprint=hash_of_its_weights)
    samples, real = NpzImages(samples_file), FolderImages(folder)
    row = measure_encoder_distance(extractor, samples, real, Path("cache"), sampling=protocol)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.core.compat import full_float32
from bench.core.model.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder
from bench.core.store.beside import read_ahead
from bench.core.store.cache import cached_folder
from bench.core.store.rows import Row
from probes.distances.frechet import FRECHET, Gaussian, Moments, distance_of, fit
from probes.distances.images import DatasetImages, ImageSource, NpzImages
from probes.distances.reference import check_pictures, pictures_of_reference
from probes.metric import (
    OF_DATA,
    OF_EXTRACTOR,
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

DGM_SIDE = 224
FD_ENCODER = Record(
    "fd_encoder",
    distance=FRECHET,
    **OF_EXTRACTOR,
    input=STATED,
    **OF_REFERENCE,
    **OF_SAMPLES,
    **OF_DATA,
)


@dataclass(frozen=True)
class Extractor:
    """Reads uint8 images [B, 3, H, W] on the CPU as features [B, d]; `input` says how,
    for the protocol.
    """

    name: str
    fingerprint: str
    input: str
    family: str
    trained_on: str
    labels: str
    read: Callable[[Tensor], Tensor]


def encoder_extractor(encoder: Encoder, device: torch.device | str = "cpu") -> Extractor:
    """An encoder of the registry as extractor: its class token,
    or its patch mean where it has none.
    """

    def read(images: Tensor) -> Tensor:
        found = encoder(images.to(device))
        return found.patches.float().mean(dim=1) if found.cls is None else found.cls.float()

    reading = f" ({encoder.reading})" if getattr(encoder, "reading", "") else ""
    stated = f"the encoder's own preprocessing{reading}; class token, or patch mean without one"
    return Extractor(
        encoder.name,
        encoder.fingerprint,
        stated,
        encoder.family,
        encoder.trained_on,
        encoder.labels,
        read,
    )


def dgm_input(images: Tensor) -> Tensor:
    """dgm-eval's preprocessing: Pillow's bicubic (antialiased) to 224 x 224 in uint8, / 255,
    ImageNet normalisation.
    """
    from PIL import Image

    pictures = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in images]
    resized = [
        np.asarray(p.resize((DGM_SIDE, DGM_SIDE), Image.Resampling.BICUBIC)) for p in pictures
    ]
    x = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (x - mean) / deviation


def dgm_dinov2(model: nn.Module, fingerprint: str, device: torch.device | str = "cpu") -> Extractor:
    """FD-DINOv2's extractor; model: the hub's dinov2_vitl14 as loaded,
    which interpolates its own positions.
    """
    model.to(device).eval()
    stated = (
        "dgm-eval: Pillow bicubic to 224 x 224 without crop, uint8, / 255, "
        "ImageNet norm; normed class token"
    )
    return Extractor(
        "dinov2",
        fingerprint,
        stated,
        "vit",
        "LVD-142M",
        "",
        lambda images: model(dgm_input(images).to(device)).float(),
    )


@full_float32()
@torch.no_grad()
def _pass(
    extractor: Extractor,
    images: ImageSource,
    take: Callable[[int, np.ndarray], None],
    batch: int,
    progress: bool,
) -> None:
    """take(i, features [B, d]) is given those of each batch, whose first picture is the i-th."""
    done = 0
    with tqdm(
        total=len(images),
        desc=f"{extractor.name} {images.name}",
        unit="image",
        disable=not progress,
    ) as bar:
        for pictures in read_ahead(images.batches(batch)):
            values = extractor.read(pictures).cpu().numpy()
            take(done, values)
            done += len(values)
            bar.update(len(values))
    assert done == len(images)


def extract(
    extractor: Extractor, images: ImageSource, batch: int = 64, progress: bool = False
) -> np.ndarray:
    """Features [n, d], float32, of all pictures in order."""
    whole: list[np.ndarray] = []

    def take(first: int, values: np.ndarray) -> None:
        if not whole:
            whole.append(np.empty((len(images), values.shape[1]), np.float32))
        whole[0][first : first + len(values)] = values

    _pass(extractor, images, take, batch, progress)
    return whole[0]


def statistics(
    extractor: Extractor, images: ImageSource, cache: Path, batch: int = 64, progress: bool = False
) -> Gaussian:
    """The Gaussian of a reference's features,
    cached under the hashes of its pictures and of the weights.
    """
    version = FD_ENCODER.version
    key = f"{extractor.name}-{extractor.fingerprint}-{images.fingerprint}-v{version}"

    def make(folder: Path) -> None:
        moments = Moments()  # features of a whole training set may not fit into memory
        _pass(extractor, images, lambda first, values: moments.add(values), batch, progress)
        gaussian = moments.gaussian()
        np.savez(
            folder / "gaussian.npz",
            mean=gaussian.mean,
            covariance=gaussian.covariance,
            n=gaussian.n,
        )

    with np.load(cached_folder(Path(cache) / "statistics" / key, make) / "gaussian.npz") as file:
        return Gaussian(file["mean"], file["covariance"], int(file["n"]))


def measure_encoder_distance(
    extractor: Extractor,
    samples: ImageSource,
    reference: ImageSource,
    cache: Path,
    sampling: Mapping[str, Any],
    data: str,
    heldout: ImageSource | None = None,
    aligned: Mapping[str, str] | None = None,
    not_finite: int = 0,
    batch: int = 64,
    progress: bool = False,
) -> Row:
    """Row `fd_<extractor>` of samples against a reference.

    data: fingerprint of the data set; heldout: real pictures measured alike; not_finite: samples
    that had no picture.
    """
    theirs = statistics(extractor, reference, cache, batch, progress)
    features = extract(extractor, samples, batch, progress)
    mask, dropped = finite_rows(features)
    dropped, total = dropped + not_finite, len(samples) + not_finite
    notes = [dropped_note(dropped, total)]
    value = None
    if mask.sum() > 1:
        distance = distance_of(fit(features[mask]), theirs)
        value = distance.value
        notes.insert(0, distance.note)
    real = None
    if heldout is not None:
        real = distance_of(statistics(extractor, heldout, cache, batch, progress), theirs).value
    return FD_ENCODER.row(
        f"fd_{extractor.name}",
        value,
        int(mask.sum()),
        {
            "extractor": extractor.name,
            "extractor_weights": extractor.fingerprint,
            "input": extractor.input,
            "reference": f"{reference.name} ({reference.fingerprint})",
            "sampling": dict(sampling),
            "n": total,
            "data": data,
        },
        real=real,
        related=related(extractor, aligned),
        note="; ".join(note for note in notes if note),
        details={"not_finite": dropped},
    )


class EncoderDistance(Metric):
    """fd_<encoder>: in the features of an encoder of the registry, as it preprocesses pictures."""

    needs = (PICTURES, REFERENCE)
    records = (FD_ENCODER,)
    extractor: Extractor

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        assert inputs.reference is not None
        check_pictures(inputs.reference)
        self.extractor = self.extract_with(inputs.device)
        return {}

    def extract_with(self, device: torch.device) -> Extractor:
        """How its network reads pictures."""
        assert isinstance(self.network, Encoder)
        return encoder_extractor(self.network, device)

    def measure(self, inputs: Inputs) -> list[Row]:
        assert inputs.samples is not None and inputs.samples.file is not None
        reference = inputs.reference
        assert reference is not None
        of_data = None if isinstance(reference, Path) else DatasetImages(reference, "heldout")
        row = measure_encoder_distance(
            self.extractor,
            NpzImages(inputs.samples.file),
            pictures_of_reference(reference),
            inputs.cache,
            sampling=inputs.samples.sampling,
            data=inputs.data_name,
            heldout=of_data,
            aligned=inputs.aligned,
            not_finite=inputs.samples.not_finite,
            progress=inputs.progress,
        )
        return [row]

    @property
    def reading(self) -> str:
        return f"{self.extractor.name} {self.extractor.fingerprint} {self.extractor.input}"


class DgmDistance(EncoderDistance):
    """fd_dinov2: with dgm-eval's network and preprocessing."""

    def extract_with(self, device: torch.device) -> Extractor:
        assert self.network is not None
        return dgm_dinov2(self.network, str(self.network.fingerprint), device)
