"""Folders of videos of every kind, and one sentence for each that cannot be used."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.data.base import described
from bench.core.data.clips import Clips
from bench.core.data.film_files import frames_in, read_film

SIDE = 8


def drawn(frames=5, seed=0, side=SIDE):
    """Frames of one colour each, which every format keeps nearly as it is."""
    shades = np.random.default_rng(seed).permutation(8)[:frames] * 30
    return [np.full((side, side, 3), shade, np.uint8) for shade in shades]


def write(path: Path, frames, lasts=100, **options):
    first, *others = (Image.fromarray(frame) for frame in frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if path.suffix == ".apng" else None
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    animated = {"save_all": True, "append_images": others, "duration": lasts}
    first.save(path, kind, **animated, **lossless, **options)
    return path


def write_folder(path: Path, frames, name="{}.png"):
    path.mkdir(parents=True)
    for i, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(path / name.format(i))
    return path


def seen(film):
    """The shade of each frame."""
    assert film.dtype == torch.uint8 and film.shape[::2] == (3, film.shape[2])
    return film[0, :, 0, 0].tolist()


def shades(frames):
    return [int(frame[0, 0, 0]) for frame in frames]


def clips(root, **changes):
    settings = {"frames": 4, "rate": None, "size": SIDE, "patch": 2, "heldout": 0.25}
    settings |= {"skip_damaged": False, "in_memory": None}
    return Clips("clips", str(root) if root else None, **(settings | changes))


# Films of every kind ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng", ".png"])
def test_animations_are_read_as_their_first_frames(suffix, tmp_path):
    frames = drawn()
    path = write(tmp_path / f"film{suffix}", frames)
    assert seen(read_film(path, 3, None, SIDE)) == shades(frames)[:3]
    assert read_film(path, 3, None, 4).shape == (3, 3, 4, 4)


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    frames = [np.full((SIDE, SIDE, 3), 20 * i, np.uint8) for i in range(12)]
    folder = write_folder(tmp_path / "film", frames)  # 1.png, 10.png, 11.png, 12.png, 2.png
    (folder / ".hidden.png").write_bytes(b"")
    assert [path.stem for path in frames_in(folder)] == [str(i) for i in range(1, 13)]
    assert seen(read_film(folder, 12, None, SIDE)) == shades(frames)
    assert seen(read_film(folder, 4, 25.0, SIDE)) == shades(frames)[:4]  # has no clock


def test_a_rate_takes_what_is_seen_at_its_times(tmp_path):
    frames = drawn(4)
    a, b, c, d = shades(frames)
    path = write(tmp_path / "film.gif", frames, lasts=[100, 300, 100, 100])
    assert seen(read_film(path, 6, 10.0, SIDE)) == [a, b, b, b, c, d]
    assert seen(read_film(path, 3, 4.0, SIDE)) == [a, b, d]  # at 0, 250 and 500 ms
    with pytest.raises(ValueError, match=r"film.gif has 6 frames at data.rate=10, and data.frame"):
        read_film(path, 7, 10.0, SIDE)


def test_files_of_video_take_another_package(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"film.mp4 takes PyAV to be read: pip install av, or"):
        read_film(tmp_path / "film.mp4", 2, None, SIDE)


def test_a_file_of_video_is_read_with_its_own_times(tmp_path):
    av = pytest.importorskip("av")
    frames = drawn(6, side=32)
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    found = seen(read_film(tmp_path / "film.mp4", 5, None, SIDE))
    assert np.abs(np.array(found) - shades(frames)[:5]).max() < 12
    halved = seen(read_film(tmp_path / "film.mp4", 3, 5.0, SIDE))
    assert np.abs(np.array(halved) - shades(frames)[::2]).max() < 12
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "film.mp4").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cut.mp4 (holds no frames|cannot be read)"):
        read_film(tmp_path / "cut.mp4", 2, None, SIDE)


# What cannot be used ----------------------------------------------------------------------------


def test_each_film_that_cannot_be_used_is_named_in_one_sentence(tmp_path):
    unlike = [*drawn(2), *drawn(2, side=SIDE + 2)]
    whole = write(tmp_path / "whole.gif", drawn()).read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[:40])
    (tmp_path / "empty").mkdir()
    still = tmp_path / "still.png"
    Image.fromarray(drawn()[0]).save(still)
    for path, why in (
        (write(tmp_path / "short.gif", drawn(3)), r"short.gif has 3 frames, and data.frames=4: ch"),
        (write_folder(tmp_path / "one", drawn(1)), r"one has 1 frame, and data.frames=4"),
        (tmp_path / "empty", r"empty holds no frames: fill or remove it"),
        (still, r"still.png is one still picture: give an animated one, or put the frames"),
        (write(tmp_path / "uneven.gif", drawn(), lasts=[40, 40, 200, 40, 40]),
         r"uneven.gif last from 40 to 200 ms: say data.rate=N"),
        (write_folder(tmp_path / "unlike", unlike), r"unlike are of unlike sizes \(8 x 8 and 10 x"),
        (tmp_path / "cut.gif", r"cut.gif"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            read_film(path, 4, None, SIDE)


def test_the_wait_at_a_films_end_is_no_rate_of_its_own(tmp_path):
    path = write(tmp_path / "film.gif", drawn(4), lasts=[100, 100, 100, 900])
    assert len(seen(read_film(path, 4, None, SIDE))) == 4


# In class folders -------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    """Two classes: folders of frames, and animations."""
    for i in range(4):
        write_folder(tmp_path / "data" / "jump" / f"take {i}", drawn(seed=i))
        write(tmp_path / "data" / "walk" / f"{i}.gif", drawn(seed=10 + i))
    return tmp_path / "data"


def test_folders_of_frames_and_animations_are_videos_of_their_class(root, tmp_path):
    data = clips(root, cache=tmp_path / "cache")
    assert data.class_names == ["jump", "walk"] and (data.n_train, data.n_heldout) == (6, 2)
    assert described(data).startswith("8 videos of 2 classes: jump, walk (6 training, 2 held out)")
    assert data.images("train").shape == (6, 3, 4, SIDE, SIDE) and data.grid.token_dim == 24
    for split in ("train", "heldout"):
        for path, label, film in zip(
            data.files[split], data.labels(split), data.images(split), strict=True
        ):
            assert path.is_dir() == (label == 0)
            number = int(path.stem.rpartition(" ")[2]) + 10 * int(label)
            assert seen(film) == shades(drawn(seed=number))[:4]
    again = clips(root, cache=tmp_path / "cache")
    assert again.fingerprint == data.fingerprint
    # read as they are needed, they are the same
    lazy = clips(root, in_memory=False)
    assert lazy.images("heldout").equal(data.images("heldout"))
    before = lazy.fingerprints()["files"]
    Image.fromarray(drawn()[0]).save(root / "jump" / "take 0" / "6.png")
    assert clips(root, in_memory=False).fingerprints()["files"] != before


def test_videos_of_unlike_rates_are_read_at_one_that_is_said(root):
    write(root / "walk" / "slow.gif", drawn(), lasts=400)
    with pytest.raises(ValueError, match=r"slow.gif last 400 ms and of .*gif 100: say data.rate=N"):
        clips(root)
    data = clips(root, rate=10.0)
    (slow,) = (
        film
        for split, paths in data.files.items()
        for path, film in zip(paths, data.images(split), strict=True)
        if path.name == "slow.gif"
    )
    assert all(one == other for one, other in pairwise(seen(slow)))


def test_what_is_too_short_may_be_left_out(root, capsys):
    write(root / "walk" / "short.gif", drawn(2))
    with pytest.raises(ValueError, match=r"short.gif has 2 frames, and data.frames=4"):
        clips(root)
    data = clips(root, skip_damaged=True)
    assert data.n_train + data.n_heldout == 8
    assert "short.gif is damaged and left out" in capsys.readouterr().out
    (root / "walk" / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"nothing holds no frames: fill or remove it"):
        clips(root, skip_damaged=True)


def test_settings_that_no_video_has_are_refused(root):
    with pytest.raises(ValueError, match=r"data.frames=1 must be 2 or more"):
        clips(root, frames=1)
    with pytest.raises(ValueError, match=r"data.rate=-1.0 above 0"):
        clips(root, rate=-1.0)
    with pytest.raises(ValueError, match=r"data=clips needs a folder: data.root=DIR with one fol"):
        clips(None)
