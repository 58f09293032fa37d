"""Encoders of videos: local ones over time, rows and columns, those of pictures frame by frame, and
one sentence from those that cannot.
"""

import pytest
import torch

from bench.config.compose import compose
from bench.config.groups import build, encoder_option
from bench.core.data.moving_digits import MovingDigits
from bench.core.model.tokens import TokenGrid
from methods.encoders.local import scaled


@pytest.fixture(scope="module")
def data():
    return MovingDigits("moving_digits", 4, 12, (2, 4, 4), 40, 20)


def made(name, data, cache, **changes):
    option = encoder_option(name).changed(**changes)
    return build(option, token_grid=data.grid, dataset=data, cache=cache)


def test_a_local_encoder_goes_over_three_axes(data, tmp_path):
    encoder = made("local_m", data, tmp_path, steps=2, batch=8)
    images = data.images("heldout")
    found = encoder(images)
    assert found.grid == (2, 3, 3) and found.patches.shape == (20, 18, encoder.width)
    assert {type(m).__name__ for m in encoder.modules()} >= {"Conv3d", "GroupNorm"}
    assert not torch.allclose(encoder(images.flip(2)).patches, found.patches), "time is an axis"
    assert set(encoder.heldout_probe) == {"accuracy", "interval_95", "n", "raw_pixels"}
    assert made("local_m", data, tmp_path, steps=2, batch=8).fingerprint == encoder.fingerprint


def test_frames_are_read_as_their_encoder_reads_pictures(data, tmp_path):
    words = ["method=repa", "data=moving_digits", "encoder=frames", "encoder.of=local_s"]
    option = compose([*words, "encoder.of.steps=2", "encoder.of.batch=8"]).encoder
    encoder = build(option, token_grid=data.grid, dataset=data, cache=tmp_path)
    images = data.images("heldout")
    found = encoder(images)
    assert found.grid == encoder.grid == (2, 3, 3)
    assert encoder.trained_on == "moving_digits-train"
    assert encoder.fingerprint != made("local_s", data, tmp_path, steps=2, batch=8).fingerprint
    # a token is the mean of its two frames at its place
    alone = torch.stack([encoder.network(images[:, :, t]).patches for t in range(4)], dim=1)
    wanted = alone.unflatten(1, (2, 2)).mean(dim=2).flatten(1, 2)
    torch.testing.assert_close(found.patches, wanted)
    # it knows nothing of the order of frames within a token, or of motion between tokens
    order = [1, 0, 3, 2]
    torch.testing.assert_close(encoder(images[:, :, order]).patches, found.patches)
    assert "each frame" in encoder.reading


@pytest.mark.parametrize("name", ["noise", "averaged", "permuted"])
def test_encoders_made_of_another_take_videos(data, tmp_path, name):
    words = [f"encoder={name}", "encoder.of=local_s", "method=repa", "encoder.of.steps=2"]
    encoder = build(compose(words).encoder, token_grid=data.grid, dataset=data, cache=tmp_path)
    assert encoder(data.images("heldout")[:3]).patches.shape == (3, 18, encoder.width)


def test_what_cannot_read_videos_says_what_can(data, tmp_path):
    for name in ("efficientnet_lite0", "dinov2_b"):
        why = rf"{name} reads pictures.*3-dimensional.*encoder=frames encoder.of={name}"
        with pytest.raises(ValueError, match=why):
            made(name, data, tmp_path)
    with pytest.raises(ValueError, match=r"data of 2 axes.*encoder=frames encoder.of=digits_l"):
        made("digits_l", data, tmp_path)


@pytest.mark.parametrize("grid", [TokenGrid((32,), 1, 32), TokenGrid((8, 8), 2, 1)])
def test_frames_are_refused_where_there_are_none(grid, tmp_path):
    option = compose(["method=repa", "encoder=frames", "encoder.of=local_s"]).encoder
    with pytest.raises(ValueError, match=r"encoder=frames reads the frames of videos.*itself"):
        build(option, token_grid=grid, dataset=None, cache=tmp_path)


def test_sizes_change_along_each_axis():
    ramp = torch.linspace(0, 1, 8)
    clips = ramp[None, None, :, None, None] + 2 * ramp[None, None, None, :, None]
    clips = clips + 4 * ramp.expand(1, 1, 8, 8, 8)
    found = scaled(clips, (4, 2, 8))
    halves = ramp.reshape(4, 2).mean(dim=1)
    # a linear ramp stays one, away from the edges
    torch.testing.assert_close(
        found[0, 0, 1:3].diff(dim=0).mean(), halves.diff()[0], atol=0.01, rtol=0
    )
    assert found.shape == (1, 1, 4, 2, 8)
    torch.testing.assert_close(scaled(clips, (8, 8, 8)), clips)
