"""The local ladder: the same weights whoever trains them, trained once,
honest about what it knows.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from bench.config.compose import compose
from bench.config.groups import build
from bench.core.data.base import Digits, PictureData
from bench.core.model.tokens import TokenGrid
from methods.encoders import local as module


@pytest.fixture(scope="module")
def digits():
    return Digits("digits", 2)


def node(*words):
    return compose(["method=repa", "encoder=local_s", *words]).encoder


def test_the_same_weights_whatever_was_drawn_before_and_however_many_threads(digits, tmp_path):
    found = []
    for seed, threads in ((1, 1), (2, 2)):
        before = torch.get_num_threads()
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        state = torch.random.get_rng_state()
        try:
            parts = {"token_grid": digits.grid, "dataset": digits, "cache": tmp_path / str(seed)}
            found.append(build(node("encoder.steps=5"), **parts).fingerprint)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        assert torch.equal(torch.random.get_rng_state(), state)
    assert found[0] == found[1]


def test_trained_once_and_stored_with_what_it_knows(digits, tmp_path, monkeypatch):
    trained = []
    pretrain = module.pretrain
    monkeypatch.setattr(module, "pretrain", lambda *args: trained.append(1) or pretrain(*args))
    parts = {"token_grid": digits.grid, "dataset": digits, "cache": tmp_path}
    option = node("encoder.steps=20")  # Hydra composes in one thread at a time
    with ThreadPoolExecutor(3) as pool:
        encoders = list(pool.map(lambda _: build(option, **parts), range(3)))
    assert len(trained) == 1 and len({encoder.fingerprint for encoder in encoders}) == 1
    encoder = encoders[0]
    assert (encoder.family, encoder.trained_on, encoder.labels) == ("convnet", "digits-train", "")
    (card,) = (json.loads(path.read_text()) for path in tmp_path.rglob("card.json"))
    known = card["heldout_probe"]
    low, high = known["interval_95"]
    # Wilson's interval in closed form
    p, n, z = known["accuracy"], known["n"], 1.959963984540054
    centre, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z * (p * (1 - p) / n + z * z / 4 / n**2) ** 0.5 / (1 + z * z / n),
    )
    assert (low, high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert (
        n == 600
        and known["raw_pixels"] > 0.9
        and card["training_flops"] == encoder.training_flops > 0
    )
    assert build(node("encoder.steps=21"), **parts).fingerprint != encoder.fingerprint


def test_the_longest_of_the_ladder_reads_its_token_grid_and_learned_something(digits, tmp_path):
    parts = {"token_grid": digits.grid, "dataset": digits, "cache": tmp_path}
    encoder = build(node(), **parts)
    features = encoder(digits.images("heldout", slice(0, 5)))
    assert (
        features.patches.shape == (5, 16, encoder.width) and features.grid == (4, 4) == encoder.grid
    )
    assert encoder.heldout_probe["accuracy"] > 0.4  # ten classes
    # a patch token looks no further than the convolution of 3x3 patches around it
    changed = digits.images("heldout", slice(0, 1)).clone()
    changed[:, :, 6:, 6:] = 255 - changed[:, :, 6:, 6:]
    both = encoder.maps(
        encoder.prepare(torch.cat([digits.images("heldout", slice(0, 1)), changed]))
    )
    assert not torch.equal(both[0, :, 3, 3], both[1, :, 3, 3])


@pytest.mark.parametrize(("shape", "patch"), [((32, 32), 4), ((48, 32), 8), ((256, 256), 16)])
def test_colour_pictures_of_other_sizes(tmp_path, shape, patch):
    pictures = torch.randint(
        0, 256, (40, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(40) % 2
    grid = TokenGrid(shape, patch, 3)
    data = PictureData(
        "noise",
        grid,
        2,
        dict.fromkeys(("train", "heldout"), pictures),
        dict.fromkeys(("train", "heldout"), labels),
    )
    words = ("encoder.steps=2", "encoder.batch=4")
    encoder = build(node(*words), token_grid=grid, dataset=data, cache=tmp_path)
    assert encoder(pictures[:2]).patches.shape == (2, grid.tokens, encoder.width)


def test_a_damaged_cache_and_tokens_that_are_no_pictures_end_in_one_sentence(digits, tmp_path):
    parts = {"dataset": digits, "cache": tmp_path}
    with pytest.raises(ValueError, match="3-dimensional grid"):
        build(node(), token_grid=TokenGrid((4, 4, 4), 2, 1), **parts)
    build(node("encoder.steps=2"), token_grid=digits.grid, **parts)
    (weights,) = tmp_path.rglob("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged.*delete that folder"):
        build(node("encoder.steps=2"), token_grid=digits.grid, **parts)


def test_views_keep_the_picture_and_move_it_by_an_eighth_at_most():
    x = torch.zeros(64, 1, 16, 16)
    x[:, :, 8, 8] = 1
    views = module.view(x, torch.Generator().manual_seed(0))
    peaks = np.array(
        [np.unravel_index(v[0].argmax(), (16, 16)) for v in views.numpy() if v.max() > 0.6]
    )
    assert len(peaks) > 40 and np.abs(peaks - 8).max() == 2
