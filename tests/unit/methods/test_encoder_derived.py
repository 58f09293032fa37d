"""Encoders made of another one: what each keeps of it and what it takes away; how they are named;
what is refused.
"""

import hashlib

import numpy as np
import pytest
import torch
from support.arms import StandInEncoder
from torch import nn

from bench.config.compose import compose
from bench.config.groups import build, encoder_option, options
from bench.config.identity import arm_name, identity, run_id
from bench.core.data.base import Digits
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.train.feature_cache import patch_tokens
from bench.machine.resources import encoder_finding, encoder_resources
from methods.encoders.places import Averaged, Permuted, cycle
from methods.encoders.unlearned import PictureNoise, Untrained, draw_weights
from probes.features.strength import measure_encoder
from probes.metric import related

DERIVED = ("averaged", "noise", "permuted", "untrained")
CARD = EncoderCard("made")


@pytest.fixture(scope="module")
def digits():
    return Digits("digits", 2)


@pytest.fixture(scope="module")
def images(digits):
    return digits.images("heldout", slice(0, 6))


def option(*words):
    return compose(["method=repa", *words]).encoder


def test_averaged_gives_every_place_the_mean_over_places(images):
    inner = StandInEncoder()
    want = inner(images).patches.double().mean(dim=1)
    found = Averaged(CARD, StandInEncoder())(images).patches
    assert found.shape == (6, 16, inner.width)
    for place in range(16):
        torch.testing.assert_close(found[:, place].double(), want)


def test_permuted_moves_every_feature_and_loses_none(images):
    whole = StandInEncoder()(images).patches
    found = Permuted(CARD, StandInEncoder(), seed=3)(images).patches
    where = [[int(torch.equal(found[:, i], whole[:, j])) for j in range(16)] for i in range(16)]
    assert np.sum(where, axis=0).tolist() == np.sum(where, axis=1).tolist() == [1] * 16
    assert np.trace(where) == 0
    other = Permuted(CARD, StandInEncoder(), seed=4)
    assert not torch.equal(other(images).patches, found)


@pytest.mark.parametrize("n", [2, 3, 16, 256])
def test_the_permutation_is_one_cycle(n):
    order, seen, place = cycle(n, seed=0).tolist(), set(), 0
    while place not in seen:
        seen.add(place)
        place = order[place]
    assert len(seen) == n and place == 0


def test_a_permutation_of_one_place_or_of_another_grid_is_refused(images):
    with pytest.raises(ValueError, match=r"data\.patch"):
        cycle(1, seed=0)
    encoder = Permuted(CARD, StandInEncoder(), seed=0)
    with pytest.raises(ValueError, match="permutes 4x4 places and got 9"):
        encoder.changed(torch.zeros(2, 9, 12))


def test_noise_is_of_the_picture_alone_and_of_the_encoders_scale(digits, images, tmp_path):
    parts = {"dataset": digits, "cache": tmp_path}
    encoder = PictureNoise(CARD, StandInEncoder(), seed=0, **parts)
    found = encoder(images).patches
    assert torch.equal(encoder(images[3:4]).patches[0], found[3])  # whatever lies beside it
    changed = images[:1].clone()
    changed[0, 0, 0, 0] += 1
    fresh = encoder(torch.cat([images[:1], changed])).patches
    assert torch.equal(fresh[0], found[0]) and not torch.isclose(fresh[1], found[0]).any()
    # the draw, by the recipe
    digest = hashlib.sha256(b"0 " + images[0].numpy().tobytes()).digest()
    draw = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    want = torch.randn(16, encoder.width, generator=draw)
    got = (found[0] - encoder.mean) / encoder.std
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    # mean and deviation of each channel over evenly spaced training pictures
    chosen = digits.images("train", (torch.arange(512) * digits.n_train) // 512)
    real = StandInEncoder()(chosen).patches.flatten(0, 1).double()
    torch.testing.assert_close(encoder.mean.double(), real.mean(dim=0))
    torch.testing.assert_close(encoder.std.double(), real.std(dim=0))
    many = encoder(digits.images("train")).patches.flatten(0, 1)
    drawn = (many - encoder.mean) / encoder.std
    assert drawn.mean(dim=0).abs().max() < 0.03 and (drawn.std(dim=0) - 1).abs().max() < 0.03
    again = PictureNoise(CARD, StandInEncoder(), seed=0, **parts)
    assert again.fingerprint == encoder.fingerprint
    other = PictureNoise(CARD, StandInEncoder(), seed=1, **parts)
    assert other.fingerprint != encoder.fingerprint
    assert not torch.isclose(other(images).patches, found).any()


class Convolutions(Encoder):
    """A small network with batch normalisation, whose stored statistics suit no random weights."""

    width, grid = 8, (4, 4)

    def __init__(self) -> None:
        super().__init__(EncoderCard("convolutions", "convnet", "something", "labels of something"))
        layers = [nn.Conv2d(3, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)]
        self.network = nn.Sequential(*layers, nn.BatchNorm2d(8))
        self.position = nn.Parameter(torch.full((1, 16, 8), 7.0))
        self.scale = nn.Parameter(torch.full((8,), 7.0))
        with torch.no_grad():
            for norm in (self.network[1], self.network[4]):
                norm.running_mean.fill_(50.0)
        self.freeze()

    def forward(self, images):
        maps = self.network(images.float() / 255).flatten(2).transpose(1, 2)
        return EncoderFeatures((maps + self.position) * self.scale, None, self.grid)


def test_untrained_is_the_same_network_with_seeded_weights_and_fitting_statistics(
    digits, images, tmp_path
):
    parts = {"dataset": digits, "cache": tmp_path}
    inner, before = Convolutions(), torch.random.get_rng_state()
    encoder = Untrained(CARD, inner, seed=0, **parts)
    assert torch.equal(torch.random.get_rng_state(), before)
    network = encoder.network.network
    # the layer's own first weights under the seed
    torch.manual_seed(0)
    first = nn.Conv2d(3, 8, 2, 2)
    torch.testing.assert_close(network[0].weight, first.weight)
    # means and variances of the pictures that they were taken from, by hand
    n = 512
    chosen = digits.images("train", (torch.arange(n) * digits.n_train) // n)
    maps = first(chosen.float() / 255)
    torch.testing.assert_close(network[1].running_mean, maps.mean(dim=(0, 2, 3)))
    each = torch.stack([part.transpose(0, 1).flatten(1).var(dim=1) for part in maps.split(32)])
    torch.testing.assert_close(network[1].running_var, each.mean(dim=0))
    assert encoder.network.position.std() < 0.05 and bool((encoder.network.scale == 1).all())
    assert not encoder.training and not network[1].training
    out = encoder(digits.images("train")).patches.flatten(0, 1)
    assert bool((out.std(dim=0) > 0.3).all())
    assert Untrained(CARD, Convolutions(), seed=0, **parts).fingerprint == encoder.fingerprint
    assert Untrained(CARD, Convolutions(), seed=1, **parts).fingerprint != encoder.fingerprint
    assert (encoder.trained_on, encoder.labels) == ("nothing", "")


def test_weights_of_a_network_without_batch_normalisation_need_no_pictures(tmp_path):
    encoder = Untrained(CARD, StandInEncoder(), seed=0, dataset=None, cache=tmp_path)
    assert not list(tmp_path.iterdir())
    network = StandInEncoder()
    draw_weights(network, seed=0)
    assert torch.equal(network.map.weight, encoder.network.map.weight)
    with pytest.raises(ValueError, match="which are not here"):
        PictureNoise(CARD, StandInEncoder(), seed=0, dataset=None, cache=tmp_path)


def test_damaged_statistics_are_named(digits, tmp_path):
    PictureNoise(CARD, StandInEncoder(), seed=0, dataset=digits, cache=tmp_path)
    (file,) = tmp_path.rglob("statistics.safetensors")
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="delete that folder"):
        PictureNoise(CARD, StandInEncoder(), seed=0, dataset=digits, cache=tmp_path)


@pytest.mark.parametrize("name", DERIVED)
def test_any_encoder_can_be_made_into_one(name, digits, images, tmp_path, monkeypatch):
    node = option(f"encoder={name}", "encoder.of=local_s", "encoder.of.steps=2")
    parts = {"token_grid": digits.grid, "dataset": digits, "cache": tmp_path}
    encoder = build(node, **parts)
    assert encoder.name == node.name == f"{name}(local_s)"
    inner = build(option("encoder=local_s", "encoder.steps=2"), **parts)
    found = encoder(images)
    assert found.patches.shape == inner(images).patches.shape
    assert (encoder.width, encoder.grid, encoder.family) == (inner.width, inner.grid, inner.family)
    assert encoder.fingerprint != inner.fingerprint
    assert not any(p.requires_grad for p in encoder.parameters())
    learned = name in ("averaged", "permuted")
    assert bool(related(encoder, inner)) == learned
    assert encoder.training_flops == (inner.training_flops if learned else 0)
    # the cache of features keeps them apart and is read again
    tokens = patch_tokens(encoder, digits, "heldout", tmp_path)
    torch.testing.assert_close(torch.from_numpy(tokens[:6].copy()), found.patches)
    patch_tokens(inner, digits, "heldout", tmp_path)
    assert len([p for p in (tmp_path / "features").iterdir() if p.is_dir()]) == 2
    if learned:  # its own pass over pictures was not needed
        monkeypatch.setattr(type(encoder), "forward", None)
        patch_tokens(encoder, digits, "train", tmp_path)


def test_what_averaging_and_permuting_do_to_probe_and_structure(digits, tmp_path):
    parts = {"token_grid": digits.grid, "dataset": digits, "cache": tmp_path}
    inner = build(option("encoder=local_s", "encoder.steps=30"), **parts)
    made = [inner, Averaged(EncoderCard("a"), inner), Permuted(EncoderCard("p"), inner, 0)]
    values = [
        {row.metric: row.value for row in measure_encoder(one, digits, tmp_path)} for one in made
    ]
    probes = [value["encoder_linear_probe"] for value in values]
    assert max(probes) - min(probes) < 0.01
    structure = [value["encoder_structure"] for value in values]
    assert structure[0] > 0.02 and abs(structure[1]) < 1e-6
    assert structure[2] < structure[0] / 2


def test_their_names_say_what_they_are_made_of():
    cfg = compose(["method=repa", "encoder=averaged", "encoder.of=dinov2_b", "method.weight=2"])
    assert arm_name(cfg) == "repa(weight=2)/averaged(dinov2_b)"
    assert run_id(cfg).startswith("digits-repa-averaged-dinov2_b-nano-s0-")
    assert identity(cfg)["encoder"] == "averaged"
    assert identity(cfg)["encoder.of"] == "dinov2_b"
    changed = [
        compose(["method=repa", "encoder=permuted", *words])
        for words in (
            ["encoder.of=local_s"],
            ["encoder.of=local_m"],
            ["encoder.of=local_s", "encoder.seed=1"],
            ["encoder.of=local_s", "encoder.of.steps=1"],
        )
    ]
    assert len({run_id(one) for one in changed}) == 4
    elsewhere = ["method=repa", "encoder=averaged", "encoder.of=dinov2_b", "encoder.of.path=/x=y"]
    assert run_id(compose(elsewhere)) == run_id(compose(elsewhere[:3]))
    named = encoder_option("averaged(dinov2_b)")
    assert named.to_dict() == compose(elsewhere[:3]).encoder.to_dict()


def test_a_model_of_timm_may_be_inside():
    words = ["encoder.of=timm", "encoder.of.name=resnet50.a1_in1k", "encoder.of.stride=16"]
    cfg = compose(["method=repa", "encoder=averaged", *words])
    assert arm_name(cfg) == "repa/averaged(resnet50.a1_in1k)"
    assert cfg.encoder.inner.values["stride"] == 16


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("encoder=averaged", "say of which, encoder.of=NAME"),
        ("encoder=averaged encoder.of=null", "say of which, encoder.of=NAME"),
        ("encoder=averaged encoder.of=dinov2", "unknown; did you mean dinov2_"),
        ("encoder=averaged encoder.of=permuted", "itself made of another"),
        ("encoder=local_s encoder.of=local_m", "made of no other"),
        ("encoder.of=local_m", "encoder=local_m is made of no other"),
        ("method=vanilla encoder=noise encoder.of=local_m", "method=vanilla uses no encoder"),
        ("method=vanilla encoder.of=local_m", "method=vanilla uses no encoder"),
        ("method=haste encoder=averaged encoder.of=dinov2_b", "serves none"),
        ("encoder=averaged encoder.of=local_s encoder.of.stps=1", "did you mean encoder.of.steps"),
        ("evaluation.encoders=['averaged(nothing)']", "encoder.of=nothing is unknown"),
        ("evaluation.metrics=['strength_averaged(noise)']", "itself made of another"),
    ],
)
def test_refusals_are_one_sentence_with_the_remedy(words, says):
    first = [] if "method=" in words else ["method=repa"]
    with pytest.raises(ValueError) as error:
        compose([*first, *words.split()])
    assert says in str(error.value) and "\n" not in str(error.value)


def test_staging_asks_for_what_they_are_made_of(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in options("encoder"):
        if "of" in encoder_option(name).values:
            assert encoder_finding(encoder_option(name), tmp_path, needed=False).state == "ok"
    made, inner = encoder_option("noise(dinov2_b)"), encoder_option("dinov2_b")
    assert encoder_resources(made, tmp_path) == encoder_resources(inner, tmp_path)
    finding = encoder_finding(made, tmp_path, needed=True)
    assert finding.state == "missing" and "bench.prepare encoder=dinov2_b" in finding.says
    with pytest.raises(ValueError, match=r"bench\.prepare encoder=dinov2_b"):
        build(made, token_grid=Digits("digits", 2).grid, dataset=None, cache=tmp_path)
