"""CREPE on sounds: its network beside the package's own, frames where tokens are, and sentences for
what it cannot hear. The package's weights are read where it is installed; elsewhere random ones of
the same form stand in for them.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.runs import only_run, run_in_process, tiny_run

from bench.config.compose import compose
from bench.config.groups import build
from bench.core.data.base import Digits, PictureData, Waves
from bench.core.model.tokens import TokenGrid
from bench.core.store.runs import read_metrics
from methods.encoders.crepe import CREPE_CHANNELS, CREPE_RATE, crepe_network
from probes.features.store import encoder_features, subset

SPACING = 0.02  # seconds between two tokens
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("torchcrepe") is None, reason="needs torchcrepe"
)


class Tones(PictureData):
    """Eight tones at 8 kHz, as eight tokens 20 ms apart."""

    def __init__(self):
        grid = TokenGrid((8,), 1, 4)
        parts = ("train", "heldout")
        levels, labels = torch.zeros(8, 4, 8, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64)
        super().__init__(
            "tones", grid, 1, dict.fromkeys(parts, levels), dict.fromkeys(parts, labels)
        )
        time = torch.arange(1280) / 8000
        self.tones = torch.sin(2 * torch.pi * (200 + 50 * torch.arange(8))[:, None] * time)

    def waves(self, split, indices=slice(None)):
        return Waves(self.tones[indices], 8000, SPACING * torch.arange(8, dtype=torch.float64))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A package of the wheel's form with random weights; returns them."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return 0.1 * torch.randn(*shape, generator=draw)

    found, before = {}, 1
    for i, width in enumerate(CREPE_CHANNELS["tiny"], start=1):
        found |= {f"conv{i}.weight": drawn(width, before, 512 if i == 1 else 64, 1)}
        found |= {f"conv{i}.bias": drawn(width), f"conv{i}_BN.weight": 1 + drawn(width)}
        found |= {f"conv{i}_BN.bias": drawn(width), f"conv{i}_BN.running_mean": drawn(width)}
        found |= {f"conv{i}_BN.running_var": 1 + drawn(width).abs()}
        found |= {f"conv{i}_BN.num_batches_tracked": torch.tensor(0)}
        before = width
    assets = tmp_path / "torchcrepe" / "assets"
    assets.mkdir(parents=True)
    torch.save(found | {"classifier.bias": drawn(360)}, assets / "tiny.pth")
    (assets.parent / "__init__.py").write_text("raise ImportError('what it needs is not here')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchcrepe", raising=False)
    return found


def made(name="crepe_tiny", data=None, **changes):
    data = data or Tones()
    words = [f"encoder.{key}={value}" for key, value in changes.items()]
    option = compose(["data=notes", "method=repa", f"encoder={name}", *words]).encoder
    return build(option, token_grid=data.grid, dataset=data)


def by_hand(frames, weights):
    """Frames [n, 1024] -> the fifth pooling, from the package's tensors."""
    x = frames[:, None]
    for i in range(1, 6):
        x = F.pad(x, (254, 254) if i == 1 else (31, 32))
        bias = weights[f"conv{i}.bias"]
        x = F.relu(F.conv1d(x, weights[f"conv{i}.weight"][..., 0], bias, 4 if i == 1 else 1))
        mean, variance = weights[f"conv{i}_BN.running_mean"], weights[f"conv{i}_BN.running_var"]
        x = (x - mean[:, None]) / (variance[:, None] + 0.001).sqrt()
        x = x * weights[f"conv{i}_BN.weight"][:, None] + weights[f"conv{i}_BN.bias"][:, None]
        x = torch.maximum(x[..., 0::2], x[..., 1::2])
    return x.flatten(1)


def test_a_token_has_the_frames_around_it(stand_in):
    encoder = made()
    tones = Tones().tones
    found = encoder(tones)
    assert encoder.hears and found.grid == (8,) and found.patches.shape == (8, 8, 256)
    # 10 ms apart, tokens 20 ms: half of the frame at a token and a quarter of either neighbour
    waves = F.pad(encoder.at_own_rate(tones)[3], (512, 512))
    frames = torch.stack([waves[160 * j : 160 * j + 1024] for j in (5, 6, 7)])
    frames = frames - frames.mean(dim=1, keepdim=True)
    frames = by_hand(frames / frames.std(dim=1, keepdim=True), stand_in)
    expected = frames[0] / 4 + frames[1] / 2 + frames[2] / 4
    torch.testing.assert_close(found.patches[3, 3], expected, atol=1e-4, rtol=1e-4)


def test_frames_as_far_apart_as_tokens_are_theirs(stand_in):
    encoder = made(hop=20)
    waves = F.pad(encoder.at_own_rate(Tones().tones)[:1], (512, 512))[0]
    frame = waves[320 * 5 : 320 * 5 + 1024]
    frame = (frame - frame.mean()) / frame.std()
    found = encoder(Tones().tones[:1]).patches[0, 5]
    torch.testing.assert_close(found, by_hand(frame[None], stand_in)[0], atol=1e-4, rtol=1e-4)


def test_silence_is_finite(stand_in):
    assert made()(torch.zeros(2, 1280)).patches.isfinite().all()


def test_what_cannot_be_heard_is_said(stand_in, tmp_path):
    with pytest.raises(
        ValueError, match=r"crepe_tiny hears sounds, and the tokens form a grid of 4 x 4"
    ):
        made(data=Digits("digits", 2))
    silent = PictureData("hum", TokenGrid((8,), 1, 4), 1, {}, {})
    with pytest.raises(ValueError, match=r"hears sounds: hum are pictures, .* another encoder"):
        made(data=silent)
    with pytest.raises(ValueError, match=r"encoder\.hop=0 must be above 0"):
        made(hop=0)
    file = tmp_path / "torchcrepe" / "assets" / "tiny.pth"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"does not hold CREPE's weights .* --no-deps"):
        made()
    file.unlink()
    with pytest.raises(ValueError, match=r"lacks the package torchcrepe .* pip install --no-deps"):
        made()


def test_a_run_hears_recordings_with_and_without_a_cache(stand_in, tmp_path):
    words = ["data=notes", "data.count=20", "data.heldout_count=20", "data.frames=8"]
    words += ["method=repa", "encoder=crepe_tiny", "encoder.hop=20", "size=nano", "batch=8"]
    words += ["images=16", "log_images=8", "measure=none", f"cache={tmp_path / 'cache'}"]
    lines = {}
    for cached in ("false", "true"):
        runs = tmp_path / cached
        assert run_in_process(tiny_run(runs, *words, f"compute.cache_features={cached}")) == 0
        lines[cached] = [line["loss"] for line in read_metrics(only_run(runs) / "metrics.jsonl")]
    assert len(lines["true"]) == 2
    for one, other in zip(lines["false"], lines["true"], strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_its_features_are_read_as_others_are(stand_in, tmp_path):
    data, encoder = Tones(), made()
    features = encoder_features(encoder, data, "heldout", tmp_path)
    expected = encoder(data.tones).patches.mean(dim=1)[subset(8, 50)]
    np.testing.assert_allclose(features, expected.numpy(), atol=2e-3, rtol=2e-3)
    words = ["encoder=noise", "encoder.of=crepe_tiny", "data=notes", "method=repa"]
    noise = build(compose(words).encoder, token_grid=data.grid, dataset=data, cache=tmp_path)
    assert noise.hears and noise(data.tones).patches.shape == (8, 8, 256)


@needs_package
@pytest.mark.parametrize("model", ["tiny", "full"])
def test_it_is_the_packages_own(model, monkeypatch):
    for name in ("librosa", "resampy", "torchaudio"):  # of what is compared they do nothing
        if importlib.util.find_spec(name) is None:
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
    package = importlib.import_module("torchcrepe")
    encoder = made(f"crepe_{model}", hop=20)
    tones = Tones().tones[2:4]
    found = encoder(tones).patches
    for wave, patches in zip(encoder.at_own_rate(tones), found, strict=True):
        expected = package.embed(wave[None], CREPE_RATE, hop_length=320, model=model)[0].flatten(1)[
            :8
        ]
        torch.testing.assert_close(patches, expected, atol=1e-4, rtol=1e-3)


def test_both_sizes_are_as_wide_as_they_say():
    for model, width in (("tiny", 256), ("full", 2048)):
        with torch.device("meta"):
            assert crepe_network(CREPE_CHANNELS[model])(torch.empty(1, 1024)).flatten(1).shape == (
                1,
                width,
            )
