"""Frechet audio distance in CLAP's embeddings, on a small random network in a file of LAION's form:
what it reads beside transformers' own extractor, the distance beside fadtk's formula.
"""

import numpy as np
import pytest
import torch
from support.arms import random_backbone

from bench.core.compat import import_vision
from bench.core.data.base import Digits
from bench.core.data.notes import Notes
from bench.core.model.sizes import SIZES
from bench.core.store import staging
from probes.distances.sounds import ClapDistance
from probes.extractors import clap
from probes.extractors.clap import ClapFile, htsat, load_clap
from probes.metric import Inputs, Sampled

NAME = "fad_clap_audio"
SAMPLING = {"rounding": "round_half_up", "decoder_precision": "float32"}
# transformers' names beside LAION's, in the order in which they are changed
THEIRS = {
    "audio_model.audio_encoder.": "audio_branch.",
    "audio_projection.linear1.": "audio_projection.0.",
    "audio_projection.linear2.": "audio_projection.2.",
    "attention.output.dense.": "attn.proj.",
    "attention.self.": "attn.",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
    "layernorm_before.": "norm1.",
    "layernorm_after.": "norm2.",
    "batch_norm.": "bn0.",
}


def laions(network):
    """The network's tensors as LAION's files name them, with what these hold besides."""
    found = {}
    for name, tensor in network.state_dict().items():
        for ours, theirs in THEIRS.items():
            name = name.replace(ours, theirs)
        found[f"module.{name}"] = tensor
    for name in [name for name in found if ".query." in name]:
        parts = [found.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        found[name.replace("query", "qkv")] = torch.cat(parts)
    found["module.audio_branch.spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(1)
    found["module.audio_branch.tscam_conv.weight"] = torch.zeros(1)
    found["module.audio_branch.head.weight"] = torch.zeros(1)
    found["module.text_branch.embeddings.position_ids"] = torch.zeros(1)
    return {"epoch": 1, "loss": np.float64(0.5), "state_dict": found}


@pytest.fixture
def network(monkeypatch, tmp_path):
    small = ClapFile("small.pt", 8, (1, 1, 1, 1), "noise")
    monkeypatch.setattr(clap, "CLAPS", {NAME: small})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(staging, "unreachable", lambda url, seconds=0: "no network in tests")
    torch.manual_seed(0)
    made = htsat(small).eval()
    for part in made.state_dict().values():  # fresh normalisations would hide each other
        if part.is_floating_point() and part.ndim == 1:
            part.add_(0.1 * torch.rand_like(part))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(laions(made), tmp_path / "hub" / "checkpoints" / "small.pt")
    return made


@pytest.fixture(scope="module")
def notes():
    return Notes("notes", 8000, 160, 400, 32, 8, 1, 20, 20)


def inputs(data, tokens, tmp_path):
    sampled = Sampled(sampling=SAMPLING, tokens=tokens, labels=data.labels("heldout"))
    return Inputs(
        backbone=random_backbone(SIZES["nano"], data.grid, 10),
        weights="ema",
        sha256="0" * 64,
        data=data,
        data_name=data.fingerprint,
        aligned=None,
        device=torch.device("cpu"),
        cache=tmp_path / "cache",
        samples=sampled,
    )


def test_embeddings_are_those_of_transformers_own_extractor(network):
    read = load_clap(NAME)
    draw = torch.Generator().manual_seed(0)
    waves = torch.rand(2, 60_000, generator=draw) * 2 - 1  # of 1.25 s: two windows each
    found = read.embeddings(waves, rate=48_000)
    assert found.shape == (4, 512)
    extractor = import_vision("transformers").ClapFeatureExtractor(
        truncation="rand_trunc", padding="pad", frequency_min=50, frequency_max=14_000
    )
    sixteen = np.clip(waves.numpy(), -1, 1) * np.float32(32767)
    sixteen = (sixteen.astype(np.int16) / 32767).astype(np.float32)
    for i, row in enumerate(found):
        window = np.zeros(480_000, np.float32)
        rest = sixteen[i // 2][48_000 * (i % 2) :]
        window[: len(rest)] = rest
        given = extractor(window, sampling_rate=48_000, return_tensors="pt").input_features
        torch.testing.assert_close(
            read.spectrograms(torch.from_numpy(window)[None]), given, atol=2e-3, rtol=1e-3
        )
        with torch.no_grad():
            embedded = network(given).audio_embeds[0].numpy()
        expected = embedded / np.linalg.norm(embedded)
        np.testing.assert_allclose(row, expected, atol=1e-3)
        assert np.array_equal(row, row.astype(np.float16).astype(np.float32))


def test_the_distance_is_fadtks(network, notes, tmp_path):
    metric = ClapDistance(NAME)
    tokens = notes.tokens("heldout").flip(1) * 0.5
    tokens[3] = float("nan")
    given = inputs(notes, tokens, tmp_path)
    assert metric.check(given) == {}
    (row,) = metric.measure(given)

    def embedded(tokens):
        heard = notes.heard(tokens)
        return metric.extractor.embeddings(heard.waves, heard.rate).astype(np.float64)

    def fad(a, b):
        # of so few sounds by the singular values of both sides' centred rows: S = X^T X / (n - 1)
        gap = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
        traces = [np.trace(np.cov(x, rowvar=False)) for x in (a, b)]
        rows_a, rows_b = [(x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (a, b)]
        return gap + sum(traces) - 2 * np.linalg.svd(rows_a @ rows_b.T, compute_uv=False).sum()

    whole = tokens[torch.arange(20) != 3]
    train, held = embedded(notes.tokens("train")), embedded(notes.tokens("heldout"))
    assert row.metric == NAME and row.n == 19 and row.details == {"not_finite": 1, "n_real": 20}
    assert row.value == pytest.approx(fad(embedded(whole), train), rel=1e-6)
    assert row.real == pytest.approx(fad(held, train), rel=1e-6)
    assert 0 < row.real < row.value
    assert "1 of 20 samples were not finite" in row.note and "512 feature dimensions" in row.note
    assert row.protocol["reference"] == "notes train, 20 of 20 sounds"


def test_what_is_missing_is_said_before_sampling(network, notes, tmp_path):
    digits = Digits("digits", 2)
    with pytest.raises(ValueError, match=r"metrics=fad_clap_audio hears sounds, .* are pictures"):
        ClapDistance(NAME).check(inputs(digits, digits.tokens("heldout"), tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "small.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"does not hold CLAP's weights .* metrics=fad_clap_audio"):
        load_clap(NAME)
    file.unlink()
    with pytest.raises(
        ValueError, match=r"lacks 1 file[\s\S]*bench\.prepare metrics=fad_clap_audio"
    ):
        load_clap(NAME)
