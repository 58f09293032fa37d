"""Cached patch tokens: the encoder's own, in order, computed once,
of these weights and this data.
"""

import numpy as np
import pytest
import torch
from support.runs import only_run, run_in_process, tiny_run

from bench.core.data.base import Digits
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.store import files
from bench.core.store.runs import read_metrics
from bench.core.train.feature_cache import patch_tokens


class Rows(Encoder):
    """Two numbers a quadrant: its mean and its maximum."""

    def __init__(self, scale: float):
        super().__init__(EncoderCard("rows"))
        self.width, self.grid, self.calls = 2, (2, 2), 0
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.freeze()

    def forward(self, images):
        self.calls += 1
        quadrants = images.float().unfold(2, 4, 4).unfold(3, 4, 4)[:, 0].flatten(3).flatten(1, 2)
        return EncoderFeatures(
            self.scale * torch.stack([quadrants.mean(-1), quadrants.amax(-1)], dim=-1),
            None,
            self.grid,
        )


def test_tokens_are_the_encoders_in_order_and_computed_once(tmp_path):
    digits, encoder = Digits("digits", 2), Rows(0.5)
    tokens = patch_tokens(encoder, digits, "heldout", tmp_path, batch=64)
    assert (
        isinstance(tokens, np.memmap) and tokens.dtype == np.float32 and tokens.shape == (600, 4, 2)
    )
    np.testing.assert_allclose(tokens, encoder(digits.images("heldout")).patches, rtol=1e-6)
    calls = encoder.calls
    patch_tokens(encoder, digits, "heldout", tmp_path)
    assert encoder.calls == calls
    other = patch_tokens(Rows(0.25), digits, "heldout", tmp_path)
    np.testing.assert_allclose(2 * other, tokens, rtol=1e-6)


def test_a_full_disk_is_said_before_the_first_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10})())
    with pytest.raises(
        OSError, match=r"the disk is full: compute\.cache_features=true of .* needs"
    ):
        patch_tokens(Rows(1.0), Digits("digits", 2), "train", tmp_path)
    assert not list(tmp_path.rglob("tokens.npy"))


def test_a_run_with_cached_features_is_the_run_without(tmp_path):
    words = ["method=repa", "encoder=local_s", "images=512", f"cache={tmp_path / 'cache'}"]
    lines = {}
    for cached in ("false", "true"):
        assert (
            run_in_process(tiny_run(tmp_path / cached, *words, f"compute.cache_features={cached}"))
            == 0
        )
        lines[cached] = [
            line["loss"] for line in read_metrics(only_run(tmp_path / cached) / "metrics.jsonl")
        ]
    assert list((tmp_path / "cache" / "features").rglob("tokens.npy"))
    for one, other in zip(lines["false"], lines["true"], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
