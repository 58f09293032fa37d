"""MERT and HuBERT as encoders of sounds, small and random, in the files that their repositories
have: standardised as the processor does it, every frame at its time.
"""

import json

import numpy as np
import pytest
import torch

from bench.config.compose import compose
from bench.config.groups import build
from bench.core.compat import import_vision
from bench.core.data.notes import Notes
from bench.core.store import staging
from methods.encoders.sounds import frame_weights

NAME, RATE = "mert_95m", 24_000


@pytest.fixture(scope="module")
def notes():
    return Notes("notes", 8000, 160, 400, 32, 16, 1, 20, 20)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(staging, "unreachable", lambda url, seconds=0: "no network in tests")
    transformers = import_vision("transformers")
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    network = transformers.HubertModel(config)
    place = tmp_path / "hub" / NAME
    place.mkdir(parents=True)
    # as it was written in 2023: another kind of model, weight normalisation by its old names
    said = config.to_dict() | {"model_type": "mert_model", "architectures": ["MERTModel"]}
    said |= {"feature_extractor_cqt": False, "deepnorm": False, "attention_relax": -1.0}
    (place / "config.json").write_text(json.dumps(said))
    processor = {"sampling_rate": RATE, "do_normalize": True, "feature_size": 1}
    (place / "preprocessor_config.json").write_text(json.dumps(processor))
    old = {"parametrizations.weight.original0": "weight_g"}
    old |= {"parametrizations.weight.original1": "weight_v"}
    weights = network.state_dict()
    for new, name in old.items():
        weights = {key.replace(new, name): value for key, value in weights.items()}
    torch.save(weights, place / "pytorch_model.bin")
    return place


def made(notes, **changes):
    words = [f"encoder.{key}={value}" for key, value in changes.items()]
    option = compose(["data=notes", "method=repa", f"encoder={NAME}", *words]).encoder
    return build(option, token_grid=notes.grid, dataset=notes)


@pytest.mark.parametrize("layer", [None, 2])
def test_tokens_are_frames_of_the_network(folder, notes, layer):
    encoder = made(notes) if layer is None else made(notes, layer=layer)
    waves = notes.waves("heldout", slice(0, 3)).samples
    found = encoder(waves)
    assert found.grid == (16,) and found.patches.shape == (3, 16, 24)
    # transformers' own processor and model, and the triangle by hand
    transformers = import_vision("transformers")
    config = transformers.HubertConfig.from_pretrained(folder)
    network = transformers.HubertModel.from_pretrained(folder, config=config).eval()
    processor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    heard = list(encoder.at_own_rate(waves).numpy())
    given = processor(heard, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.no_grad():
        frames = network(given, output_hidden_states=True).hidden_states[layer or 3].numpy()
    assert frames.shape[1] == (3 * 2560 - 400) // 320 + 1
    at = (199.5 + 320 * np.arange(frames.shape[1])) / RATE
    for token, patch in enumerate(found.patches.transpose(0, 1)):
        when = np.clip(token * 0.02, at[0], at[-1])
        near = np.clip(1 - np.abs(when - at) / 0.02, 0, None)
        expected = np.einsum("n,bnw->bw", near / near.sum(), frames)
        np.testing.assert_allclose(patch.numpy(), expected, atol=2e-4)


def test_coarser_frames_are_interpolated():
    tokens = torch.arange(9, dtype=torch.float64) / 4
    frames = torch.tensor([0.5, 1.5], dtype=torch.float64)
    found = frame_weights(tokens, frames) @ torch.tensor([10.0, 20.0], dtype=torch.float64)
    expected = np.interp(tokens.numpy(), frames.numpy(), [10, 20])
    np.testing.assert_allclose(found.numpy(), expected)
    assert frame_weights(tokens, frames[:1]).tolist() == [[1.0]] * 9
    assert frame_weights(tokens[:1], frames).tolist() == [[0.5, 0.5]], "one token has it all"


def test_files_that_are_something_else_are_told(folder, notes):
    with pytest.raises(ValueError, match=r"encoder\.layer=4: mert_95m has 3 blocks"):
        made(notes, layer=4)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | {"deepnorm": True}))
    with pytest.raises(ValueError, match=r"no HuBERT .* \(deepnorm of .* bench\.prepare"):
        made(notes)
    (folder / "config.json").write_text(json.dumps(said))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del weights["encoder.layers.1.attention.q_proj.weight"]
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"weights lack encoder\.layers\.1\.attention\.q_proj"):
        made(notes)
    (folder / "pytorch_model.bin").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(ValueError, match=r"no HuBERT that can be read .* encoder=mert_95m"):
        made(notes)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"mert_95m lacks 1 file"):
        made(notes)
