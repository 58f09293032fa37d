"""What a run will lack when it measures, told before it trains."""

import importlib.util

import numpy as np
import pytest

from bench.config.compose import compose
from bench.config.needs import missing
from bench.core.data.codecs import StableDiffusion
from bench.core.data.latents import LatentData
from bench.machine.readiness import configuration
from bench.machine.resources import VAE_FILES


def latents(folder, images):
    """A tiny data set of latents, with or without the pictures that they were made from."""
    draw = np.random.default_rng(0)
    for split, n in (("train", 6), ("heldout", 3)):
        (folder / split).mkdir(parents=True)
        np.save(
            folder / split / "moments.npy", abs(draw.normal(size=(n, 8, 4, 4))).astype(np.float32)
        )
        np.save(folder / split / "labels.npy", np.arange(n) % 3)
        if images:
            np.save(
                folder / split / "images.npy",
                draw.integers(0, 256, size=(n, 3, 32, 32), dtype=np.uint8),
            )
    return LatentData("imagenet256", str(folder), 2, 3, "nowhere")


def words(folder, *more):
    return ["data=imagenet256", f"data.root={folder}", "data.classes=3", "size=nano", *more]


def test_nothing_is_missing_by_default():
    cfg = compose([])
    assert list(missing(cfg, type("Digits", (), {"latent": False, "n_heldout": 600}))) == []


def test_packages_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cfg = compose(["evaluation.protocol=dopri5", "tracking=wandb"])
    wandb, solver = missing(cfg, type("Digits", (), {"latent": False, "n_heldout": 600}))
    assert "needs the package wandb" in wandb and "pip install torchdiffeq" in solver


def test_latents_without_pictures_can_be_trained_but_not_measured(tmp_path):
    data = latents(tmp_path, images=False)
    (problem,) = missing(compose(words(tmp_path)), data)
    assert "bench.latents images=true" in problem and "measure=none" in problem
    assert list(missing(compose(words(tmp_path, "measure=none")), data)) == []


def test_a_decoder_that_is_not_here_is_told_before_training(tmp_path, monkeypatch):
    data = latents(tmp_path, images=True)

    def load(self):
        raise ValueError(f"the VAE {self.name} is not staged here")

    monkeypatch.setattr(StableDiffusion, "load", load)
    (problem,) = missing(compose(words(tmp_path)), data)
    assert "the VAE nowhere is not staged here; or train with measure=none" in problem
    monkeypatch.setattr(StableDiffusion, "load", lambda self: None)
    assert list(missing(compose(words(tmp_path)), data)) == []


def test_the_doctor_follows_the_steps_of_latents(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    own = [f"runs={tmp_path}", f"cache={tmp_path}", "anyway=true", "measure=none"]
    begun = {f.what: f for f in configuration(["data=imagenet256", *own])}
    assert begun["data imagenet256"].state == "missing"  # and what training would take is said
    assert {"VAE", "Inception's weights", "samples"} < set(begun) and "estimate" in begun
    assert "vae=ema" in begun["VAE"].says and begun["Inception's weights"].state == "warning"
    assert begun["samples"].says.startswith("19.7 GB")
    repa = ["method=repa", "encoder=efficientnet_lite0", "compute.cache_features=true"]
    cached = {f.what: f for f in configuration(["data=imagenet256", *own, *repa])}
    assert cached["cached features"].says.startswith("1.01e+03 GB (of 1281167 pictures")

    for file in VAE_FILES:
        (tmp_path / "vae" / "sd-vae-ft-ema").mkdir(parents=True, exist_ok=True)
        (tmp_path / "vae" / "sd-vae-ft-ema" / file).write_text("x")
    latents(tmp_path / "latents", images=True)
    there = {f.what: f for f in configuration(words(tmp_path / "latents", *own))}
    assert there["data imagenet256"].state == "ok" and there["latents"].state == "warning"
    assert f"say data.decoder={tmp_path}/vae/sd-vae-ft-ema" in there["VAE"].says


@pytest.mark.parametrize("images", [True, False])
def test_the_doctor_says_the_same(tmp_path, images):
    latents(tmp_path, images)
    found = [
        finding
        for finding in configuration(words(tmp_path, "method=vanilla"))
        if finding.what == "measuring"
    ]
    assert [finding.state for finding in found] == ["missing"]
