"""Encoders of sounds: local ones along time, pictures' ones where a spectrogram is a picture, and
one sentence from those that cannot.
"""

import pytest
import torch

from bench.config.compose import compose
from bench.config.groups import build, encoder_option
from bench.core.data.base import PictureData, shown
from bench.core.model.tokens import TokenGrid

FRAMES, BANDS = 12, 8


@pytest.fixture(scope="module")
def data():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    # bands of another loudness in each class
    levels = torch.rand(64, BANDS, FRAMES, generator=draw)
    levels[labels == 1, : BANDS // 2] += 1
    kept = (100 * levels).byte()
    parts = ("train", "heldout")
    grid = TokenGrid((FRAMES,), 1, BANDS)
    return PictureData("hum", grid, 2, dict.fromkeys(parts, kept), dict.fromkeys(parts, labels))


def made(name, data, cache, **changes):
    option = encoder_option(name).changed(**changes)
    return build(option, token_grid=data.grid, dataset=data, cache=cache)


def test_a_local_encoder_goes_along_time(data, tmp_path):
    encoder = made("local_m", data, tmp_path, steps=4, batch=8)
    images = data.images("heldout")
    found = encoder(images)
    assert found.grid == (FRAMES,) and found.patches.shape == (64, FRAMES, encoder.width)
    assert {type(m).__name__ for m in encoder.modules()} >= {"Conv1d", "GroupNorm"}
    # what happens at the end changes nothing at the beginning, as far as the means are the same
    turned = encoder(images.flip(1))
    assert not torch.allclose(turned.patches, found.patches), "bands are channels"
    assert encoder.heldout_probe["accuracy"] > 0.9
    again = made("local_m", data, tmp_path, steps=4, batch=8)
    assert again.fingerprint == encoder.fingerprint


def test_frames_are_resampled_where_a_token_has_several(data, tmp_path):
    images = data.images("heldout").repeat(1, 1, 8)  # 96 frames, more than are read
    parts = ("train", "heldout")
    long = PictureData(
        "long",
        TokenGrid((96,), 8, BANDS),
        2,
        dict.fromkeys(parts, images),
        dict.fromkeys(parts, data.labels("heldout")),
    )
    encoder = made("local_s", long, tmp_path, steps=2, batch=8)
    assert encoder(images[:3]).patches.shape == (3, 12, encoder.width)


@pytest.mark.parametrize("name", ["noise", "untrained", "averaged", "permuted"])
def test_encoders_made_of_another_take_sounds(data, tmp_path, name):
    option = compose(
        [f"encoder={name}", "encoder.of=local_s", "method=repa", "encoder.of.steps=2"]
    ).encoder
    encoder = build(option, token_grid=data.grid, dataset=data, cache=tmp_path)
    assert encoder(data.images("heldout")[:3]).patches.shape == (3, FRAMES, encoder.width)


def test_an_encoder_of_digits_reads_a_spectrogram_as_it_is_drawn(data, tmp_path):
    encoder = made("digits_l", data, tmp_path, steps=2, batch=8)
    images = data.images("heldout")[:3]
    found = encoder(images).patches
    assert found.shape == (3, FRAMES, encoder.width)
    torch.testing.assert_close(encoder(shown(images)).patches, found)
    assert encoder.trained_on == "digits-train"


def test_encoders_of_pictures_say_which_ones_read_sounds(data, tmp_path):
    for name in ("efficientnet_lite0", "dinov2_b"):
        with pytest.raises(ValueError, match=r"reads pictures.*1-dimensional.*encoder=local_s"):
            made(name, data, tmp_path)
