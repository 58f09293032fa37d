"""Videos: digits that move and bounce, frames one at a time, and films for people."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import shift

from bench.core.data.base import Digits, described, pictures_of, shown
from bench.core.data.frames import FrameData, frames_of, shuffled
from bench.core.data.moving_digits import MovingDigits, bounced, filmed, in_turn, motion
from bench.evaluation.films import MOST_FRAMES, save_film, strips
from bench.evaluation.grids import LINE


def made(count=40, heldout_count=20, frames=8, size=12, patch=(2, 4, 4)):
    return MovingDigits("moving_digits", frames, size, patch, count, heldout_count)


@pytest.fixture(scope="module")
def clips():
    return made()


# Moving digits ----------------------------------------------------------------------------------


def test_places_turn_round_at_the_edges_as_one_who_walks_does():
    room, place, step = 4.0, 1.25, 0.75
    found = bounced(place + step * np.arange(40), room)
    for wanted in found:
        assert wanted == pytest.approx(place)
        place += step
        if not 0 <= place <= room:
            place, step = (2 * room - place if place > room else -place), -step
    assert found.min() >= 0 and found.max() <= room


def test_frames_are_the_digit_moved_as_scipy_moves_it():
    digit = Digits("digits", patch=2).images("train", slice(0, 1))[:, 0].numpy()
    start, velocity = np.array([[0.5, 3.25]]), np.array([[0.7, -0.4]])
    film = filmed(digit, start, velocity, 4, 12)[0].numpy()
    padded = np.zeros((12, 12))
    padded[:8, :8] = digit[0]
    for time, frame in enumerate(film):
        place = (start + time * velocity)[0]
        wanted = shift(padded, place, order=1, mode="grid-constant")
        assert np.abs(frame - wanted).max() <= 0.5 + 1e-6


def test_a_clip_follows_from_its_split_and_number_alone(clips):
    more = made(count=60, heldout_count=30)
    for split in ("train", "heldout"):
        n = clips.size(split)
        torch.testing.assert_close(more.images(split, slice(0, n)), clips.images(split))
    assert made().fingerprint == clips.fingerprint != more.fingerprint
    start, velocity = motion("train", 300, 4)
    assert not np.allclose(start[:20], motion("heldout", 20, 4)[0])
    assert start.min() >= 0 and start.max() <= 4
    speed = np.hypot(*velocity.T)
    assert speed.min() >= 0.4 and speed.max() <= 1.2


def test_held_out_clips_show_held_out_digits(clips):
    digits = Digits("digits", patch=2)
    assert clips.labels("heldout").tolist() == 2 * list(range(10))
    order = in_turn(digits.labels("heldout"))
    assert sorted(order.tolist()) == list(range(600))
    assert digits.labels("heldout")[order[:20]].equal(clips.labels("heldout"))
    # all of a digit's ink is in every frame
    ink = clips.images("heldout")[:, 0].float().sum(dim=(2, 3))
    wanted = digits.images("heldout")[order[:20], 0].float().sum(dim=(1, 2))
    assert (ink / wanted[:, None] - 1).abs().max() < 0.01


def test_they_are_videos_of_36_tokens_of_32(clips):
    assert clips.grid.grid == (4, 3, 3) and clips.grid.token_dim == 32
    assert clips.images("train").shape == (40, 3, 8, 12, 12)
    tokens = clips.tokens("heldout")
    pictures, finite = pictures_of(clips.decode(tokens), "round_half_up")
    assert finite.all() and pictures.shape == (20, 3, 8, 12, 12)
    assert (pictures.int() - clips.images("heldout").int()).abs().max() <= 1
    assert "60 videos of 10 classes" in described(clips)


def test_what_shows_no_motion_is_refused():
    for words, why in (
        ({"size": 8}, r"data.size=8 leaves digits of 8 pixels no room"),
        ({"frames": 1, "patch": (1, 4, 4)}, r"data.frames=1 shows no motion"),
        ({"count": 3}, r"data.count=3 and data.heldout_count=20 must be 20 or more"),
        ({"frames": 7}, r"patch \(2, 4, 4\) does not divide the shape \(7, 12, 12\)"),
    ):
        with pytest.raises(ValueError, match=why):
            made(**words)


# Frames -----------------------------------------------------------------------------------------


def test_a_frame_of_each_clip_in_turn_with_its_label(clips):
    pictures = FrameData(clips)
    found = pictures.images("train")
    for i in (0, 5, 13):
        assert found[i].equal(clips.images("train")[i, :, i % 8])
    assert pictures.images("train", torch.tensor([13]))[0].equal(found[13])
    assert pictures.images("train", slice(10, 14)).equal(found[10:14])
    assert pictures.labels("train").equal(clips.labels("train"))
    assert pictures.grid.grid == (3, 3) and pictures.fingerprint != clips.fingerprint
    everything = frames_of(clips.images("train"))
    assert everything[8 * 5 + 3].equal(clips.images("train")[5, :, 3])


def test_shuffled_clips_have_the_same_frames_in_another_order(clips):
    images = clips.images("heldout")
    mixed = shuffled(images)
    assert mixed.equal(shuffled(images)) and not mixed.equal(images)

    def sorted_frames(x):
        return sorted(frame.numpy().tobytes() for frame in frames_of(x))

    for before, after in zip(images, mixed, strict=True):
        assert sorted_frames(before[None]) == sorted_frames(after[None])


# For people -------------------------------------------------------------------------------------


def test_videos_are_shown_as_their_frames_side_by_side(clips):
    images = clips.images("heldout", slice(0, 2))
    strip = shown(images)
    assert strip.shape == (2, 3, 12, 96)
    assert strip[..., 24:36].equal(images[:, :, 2])


def test_a_film_moves_and_is_the_clips(clips, tmp_path):
    images = clips.images("heldout", slice(0, 4))
    path = save_film(images, 2, ["a", "b", "a", "b"], tmp_path / "grid.png")
    assert path == tmp_path / "grid.apng"
    with Image.open(path) as film:
        assert film.n_frames == 8 and film.info["loop"] == 0
        for time in range(8):
            film.seek(time)
            frame = np.asarray(film.convert("RGB"))
            # the last clip: 12 pixels enlarged to 48, with a line of text below each row
            top, left = 2 + 50 + LINE, 2 + 50
            seen = frame[top : top + 48 : 4, left : left + 48 : 4, 0]
            assert (seen == images[3, 0, time].numpy()).all()


def test_a_strip_has_a_clip_a_line_and_few_frames_of_a_long_one(clips):
    images = clips.images("heldout", slice(0, 3))
    strip = strips(images, ["a", "b", "c"])
    assert strip.shape == (3 * (50 + LINE) + 2, 8 * 50 + 2, 3)
    assert (strip[2:50:4, 2 + 7 * 50 : 50 + 7 * 50 : 4, 0] == images[0, 0, 7].numpy()).all()
    long = images.repeat(1, 1, 5, 1, 1)
    assert strips(long, []).shape[1] == MOST_FRAMES * 50 + 2
