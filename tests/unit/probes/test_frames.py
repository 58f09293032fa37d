"""Distances of frames and of motion, against the closed form, and what shuffled frames say."""

import numpy as np
import pytest
import torch

from bench.core.data.moving_digits import MovingDigits
from probes.distances.frames import FrameReference, motion_vectors
from probes.distances.local import Reference
from probes.extractors.local import Recipe
from probes.metric import related


@pytest.fixture(scope="module")
def data():
    return MovingDigits("moving_digits", 4, 12, (2, 4, 4), 300, 300)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        recipe = Recipe(steps=60, epochs=1, batch=32)
        patch.setattr("probes.extractors.local.Recipe", lambda: recipe)
        yield


def test_motion_is_what_changes_between_frames():
    clips = torch.randn(3, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    wanted = np.diff(clips.numpy()[:, 0], axis=1).reshape(3, -1)
    np.testing.assert_allclose(motion_vectors(clips), wanted, rtol=1e-6)
    assert motion_vectors(clips + 3).allclose(motion_vectors(clips), atol=1e-5)
    assert motion_vectors(torch.zeros(2, 3, 9, 16, 16)).shape == (2, 96)  # averaged in the frame
    assert motion_vectors(torch.zeros(2, 3, 2, 64, 64)).shape == (2, 192)


def test_frames_alone_do_not_tell_shuffled_videos_and_motion_does(data, cache, quick):
    reference = FrameReference.of(data, cache)
    real, control = reference.real, reference.control
    assert control["fd_frames"] == pytest.approx(real["fd_frames"], rel=1e-6)
    assert control["frame_agreement"] == real["frame_agreement"]
    assert control["fd_motion"] > 2 * real["fd_motion"]
    of_clips = {"family": "convnet", "trained_on": "moving_digits-train", "labels": ""}
    assert related(reference.reader, of_clips) and not related(reference.reader, None)
    again = FrameReference.of(data, cache)  # from the cache
    assert again.real == real

    # frame by frame, one clip at a time
    right = []
    for clip, label in zip(data.images("heldout"), data.labels("heldout"), strict=True):
        _, logits = reference.reader(clip.transpose(0, 1))
        right.append((logits.argmax(dim=1) == label).numpy())
    assert real["frame_agreement"] == pytest.approx(np.mean(right))
    assert real["kept_identity"] == pytest.approx(np.mean([one.all() for one in right]))


def test_distances_of_whole_videos_have_the_control_too(data, cache, quick):
    reference = Reference.of(data, cache)
    real, control = reference.real, reference.control
    assert control["fd_pixels"] > real["fd_pixels"] and control["fd_local"] > real["fd_local"]
