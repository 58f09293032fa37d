"""`fd_<encoder>`: registry encoders and dgm-eval's DINOv2 preprocessing."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from probes.distances import encoder as encoder_distance
from probes.distances.encoder import (
    dgm_dinov2,
    dgm_input,
    encoder_extractor,
    measure_encoder_distance,
)
from probes.distances.frechet import distance_of, fit


class Images:
    def __init__(self, n, seed, low=0):
        draw = torch.Generator().manual_seed(seed)
        self.pictures = torch.randint(low, 256, (n, 3, 4, 4), dtype=torch.uint8, generator=draw)
        self.name, self.fingerprint = f"images {seed}", f"{seed:016d}"

    def __len__(self):
        return len(self.pictures)

    def batches(self, size):
        yield from self.pictures.split(size)


class Encoder(torch.nn.Module):
    name, fingerprint, family, trained_on, labels = "cut", "1" * 16, "vit", "pictures", ""

    def __init__(self, with_class_token):
        super().__init__()
        self.with_class_token = with_class_token

    def forward(self, images):
        patches = images.float().flatten(2).transpose(1, 2)  # [B, 16, 3]
        return SimpleNamespace(
            patches=patches, cls=patches[:, 0] if self.with_class_token else None
        )


@pytest.mark.parametrize("with_class_token", [True, False])
def test_distance_in_an_encoders_features(with_class_token, tmp_path, monkeypatch):
    samples, real, heldout = Images(90, 0, low=40), Images(80, 1), Images(70, 2)
    extractor = encoder_extractor(Encoder(with_class_token))
    arguments = {
        "cache": tmp_path,
        "sampling": {"name": "ode50"},
        "data": "2" * 16,
        "heldout": heldout,
        "batch": 32,
    }
    aligned = {"family": "vit", "trained_on": "pictures", "labels": ""}
    row = measure_encoder_distance(extractor, samples, real, aligned=aligned, **arguments)

    def features(images):
        x = images.pictures.double().flatten(2)
        return (x[:, :, 0] if with_class_token else x.mean(2)).numpy()

    assert (
        row.metric == "fd_cut"
        and row.n == 90
        and row.note == ""
        and "vit trained on pictures" in row.related
    )
    assert row.value == pytest.approx(
        distance_of(fit(features(samples)), fit(features(real))).value, rel=1e-5
    )
    assert row.real == pytest.approx(
        distance_of(fit(features(heldout)), fit(features(real))).value, rel=1e-4
    )
    seen = []
    monkeypatch.setattr(
        encoder_distance, "extract", lambda e, images, *_: seen.append(images) or features(images)
    )
    again = measure_encoder_distance(extractor, samples, real, not_finite=3, **arguments)
    assert seen == [samples]  # the statistics of real pictures were kept
    assert "3 of 93 samples were not finite" in again.note and again.related == ""


def test_dgm_evals_preprocessing():
    images = Images(2, 0).pictures
    found = dgm_input(images)
    assert found.shape == (2, 3, 224, 224)
    picture = Image.fromarray(images[1].permute(1, 2, 0).numpy()).resize((224, 224), Image.BICUBIC)
    expected = (np.asarray(picture)[50, 60] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found[1, :, 50, 60].numpy(), expected, rtol=1e-5)
    # a larger, oblong picture keeps no aspect and is not cropped; antialiasing makes fine stripes
    # grey
    stripes = torch.zeros(1, 3, 448, 896, dtype=torch.uint8)
    stripes[..., ::2] = 255
    middle = dgm_input(stripes)[0, 0, 100, 100] * 0.229 + 0.485
    assert middle.item() == pytest.approx(0.5, abs=0.02)


def test_dinov2_is_read_by_its_class_token():
    class Model(torch.nn.Module):
        def forward(self, x):
            assert x.shape[1:] == (3, 224, 224)
            return x.mean(dim=(2, 3))

    extractor = dgm_dinov2(Model(), "3" * 16)
    assert extractor.name == "dinov2" and extractor.read(Images(2, 0).pictures).shape == (2, 3)
