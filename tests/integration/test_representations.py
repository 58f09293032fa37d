"""Latents of a representation autoencoder: what they are, mirror images, pictures again, and a run
from pictures to samples, with a small autoencoder of random weights that diffusers saved.
"""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from support.evaluations import StandInInception, evaluated, few_features, save_rae
from support.runs import numbers, only_run, tiny_run

from bench.core.data.originals import adm_crop
from bench.core.data.representations import RepresentationData
from bench.core.store.row_table import row_table
from bench.core.store.runs import read_run
from bench.run import RUN


@pytest.fixture(scope="module")
def rae(tmp_path_factory):
    return save_rae(tmp_path_factory.mktemp("rae") / "tiny")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    draw, root = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for split, n in (("train", 8), ("val", 4)):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = draw.integers(0, 256, size=(40, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def read(root, rae, flips=True, size=32):
    return RepresentationData("rae", str(root), size, str(rae), flips, 0.1, False, None)


def test_tokens_are_the_encoders_normalised_patch_tokens_standardised(root, rae):
    data = read(root, rae)
    path = root / "train" / "a" / "3.png"
    cropped = torch.from_numpy(adm_crop(Image.open(path), 32).copy()).permute(2, 0, 1)
    assert torch.equal(data.images("train", slice(3, 4))[0], cropped)
    # by hand, from the networks inside
    vae = data.decoder.load()
    x = F.interpolate(cropped[None] / 255, size=(28, 28), mode="bicubic", align_corners=False)
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        hidden = vae.encoder(x, output_hidden_states=True).hidden_states[-1]
    patches = F.layer_norm(hidden, (64,), eps=vae.encoder.config.layer_norm_eps)[0, 5:]  # class, 4
    of_place = [vae._latents_mean.flatten(1).T, vae._latents_std.flatten(1).T]
    expected = (patches - of_place[0]) / (of_place[1] + 1e-5)
    torch.testing.assert_close(data.tokens("train", slice(3, 4))[0], expected)
    # what a step makes of what is stored is the same
    stored = data.examples(torch.tensor([3]), with_clean=True)
    torch.testing.assert_close(data.draw(stored.stored, None)[0], expected)
    assert stored.stored.dtype == torch.uint8 and torch.equal(stored.stored, stored.clean)


def test_a_mirror_image_is_one_more_example(root, rae):
    data, alone = read(root, rae), read(root, rae, flips=False)
    assert (data.n_train, alone.n_train, data.n_heldout) == (32, 16, 8)
    pair = data.images("train", torch.tensor([5, 21]))
    assert torch.equal(pair[0].flip(-1), pair[1]) and not torch.equal(pair[0], pair[1])
    assert torch.equal(data.labels("train")[:16], data.labels("train")[16:])
    assert torch.equal(data.images("heldout"), alone.images("heldout"))
    assert data.fingerprint != alone.fingerprint


def test_pixels_are_the_decoders_between_minus_one_and_one(root, rae):
    data = read(root, rae)
    tokens = data.tokens("heldout", slice(0, 3))
    with torch.no_grad():
        expected = data.decoder.load().decode(data.grid.unpatchify(tokens)).sample * 2 - 1
    torch.testing.assert_close(data.decode(tokens), expected)
    close = data.decode(tokens, "bf16")
    assert close.dtype == torch.float32 and 0 < (close - expected).abs().max() < 0.1
    assert set(data.decoded_by()) == {"decoder", "decoder_weights"}


def test_processes_that_read_pictures_are_sent_no_network(root, rae):
    data = read(root, rae)
    data.decoder.load()
    again = pickle.loads(pickle.dumps(data))
    assert again.decoder._vae is None and torch.equal(
        again.tokens("heldout"), data.tokens("heldout")
    )


def test_another_encoder_makes_another_data_set(root, rae, tmp_path):
    data = read(root, rae)
    vae = data.decoder.load()
    with torch.no_grad():
        vae.encoder.encoder.layer[0].norm1.weight[0] += 1
        vae.save_pretrained(tmp_path / "other")
        vae.encoder.encoder.layer[0].norm1.weight[0] -= 1
        vae.decoder.decoder_pred.bias[0] += 1
        vae.save_pretrained(tmp_path / "other decoder")
        vae.decoder.decoder_pred.bias[0] -= 1
    assert read(root, tmp_path / "other").fingerprint != data.fingerprint
    assert read(root, tmp_path / "other decoder").fingerprint == data.fingerprint


def test_what_cannot_be_is_said(root, rae, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"makes pictures of 32 pixels .* data\.size=32"):
        read(root, rae, size=64)
    with pytest.raises(ValueError, match=r"is not staged here: .*bench\.prepare vae=rae_dinov2_b"):
        read(root, tmp_path / "nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install diffusers transformers"):
        read(root, rae)


def test_a_run_goes_from_pictures_to_distances(root, rae, tmp_path, monkeypatch):
    words = tiny_run(
        tmp_path / "runs", "data=imagenet256_rae", f"data.root={root}", f"data.decoder={rae}",
        "data.size=32", "method=selfflow", "size=nano", "batch=8", "images=32", "log_images=8",
        f"cache={tmp_path / 'cache'}",
    )  # fmt: skip
    assert RUN.main(words) == 0
    run = only_run(tmp_path / "runs")
    assert [line["images"] for line in numbers(run)] == [8, 16, 24, 32]
    monkeypatch.setattr("probes.distances.fid.load_inception", lambda path: StandInInception())
    few_features(monkeypatch)
    asked = ["reference=train", "samples=16", "protocol=ode50", "steps=2", "device=cpu"]
    assert evaluated([f"run={run}", *asked, f"cache={tmp_path / 'cache'}"]) == 0
    (samples,) = run.glob("samples/*/samples_16.npz")
    assert np.load(samples)["arr_0"].shape == (16, 32, 32, 3)
    found = row_table([read_run(run)], []).set_index("metric")["value"]
    assert found["fid"] > 0 and np.isfinite(found["fid"])
