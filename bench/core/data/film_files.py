"""Films of every kind as pictures: folders of frames, animated GIF, WebP and PNG through Pillow,
and files of video through PyAV where it is installed (extra `video`).

    read_film(Path("dance.gif"), frames=8, rate=None, side=16)       # uint8 [3, 8, 16, 16]
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.core.data.folder import resized
from bench.core.data.pictures import SUFFIXES, is_hidden, read_picture, readable

VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".webm", ".mkv", ".mov", ".avi"))
# Files that are films wherever they lie; others are so right in a class folder, frames in a deeper.
FILM_SUFFIXES = VIDEO_SUFFIXES | {".gif", ".apng"}
# What a GIF can tell of a time is hundredths of a second: at 24 a second frames last 40 or 50.
EVEN = 0.011
UNTIMED = 0.1  # seconds of a frame whose file says none, as browsers show it
MOST_READ = 10_000  # frames of a file


class Timed(NamedTuple):
    """A frame uint8 [H, W, 3] and the second at which it is there; None in a folder, which has no
    clock.
    """

    picture: np.ndarray
    time: float | None


def read_film(path: Path, frames: int, rate: float | None, side: int) -> Tensor:
    """A film's first `frames` pictures as uint8 [3, frames, side, side]; resized and cropped as
    pictures of folders are. rate: pictures a second, taken at these times whatever the file's own
    are; None takes all as they come, evenly. Those of a folder are taken as they come.

    Raises ValueError naming a file that cannot be read whole, holds too few or none, or whose
    frames last unlike times where no rate is said.
    """
    opened = _opener(path)(path)
    try:
        chosen = _at_rate(path, opened, frames, rate) if rate else _as_they_come(opened, frames)
    except ValueError:
        raise
    except Exception as error:  # each format's reader raises its own kinds for what is not whole
        raise ValueError(f"{readable(path)} cannot be read ({error}): mend or remove it") from error
    if not chosen:
        raise ValueError(f"{readable(path)} holds no frames: fill or remove it")
    if len(chosen) < frames:
        at = f" at data.rate={rate:g}" if rate else ""
        has = f"{len(chosen)} frame{'s' if len(chosen) > 1 else ''}{at}"
        raise ValueError(
            f"{readable(path)} has {has}, and data.frames={frames}: choose fewer, or leave out "
            "what is shorter with data.skip_damaged=true"
        )
    if rate is None:
        _check_even(path, [one.time for one in chosen])
    sizes = {one.picture.shape[:2] for one in chosen}
    if len(sizes) > 1:
        found = " and ".join(f"{wide} x {high}" for high, wide in sorted(sizes)[:2])
        raise ValueError(
            f"frames of {readable(path)} are of unlike sizes ({found}): make them the same"
        )
    pictures = torch.from_numpy(np.stack([one.picture for one in chosen]))
    return resized(pictures.permute(0, 3, 1, 2), side).transpose(0, 1).contiguous()


def frames_in(folder: Path) -> list[Path]:
    """The pictures right in a folder, frame2 before frame10."""
    there = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES - FILM_SUFFIXES
        and path.is_file()
        and not is_hidden(path.name)
    ]
    return sorted(there, key=lambda path: _natural(path.name))


def seconds_of_a_frame(path: Path) -> float | None:
    """How long the first frame of a file lasts; None of a folder, and of one frame."""
    if path.is_dir():
        return None
    try:
        first = [one.time for one in islice(_opener(path)(path), 2)]
    except ValueError:
        raise
    except Exception as error:  # as above
        raise ValueError(f"{readable(path)} cannot be read ({error}): mend or remove it") from error
    return None if len(first) < 2 else (first[1] or 0.0) - (first[0] or 0.0)


def check_one_rate(paths: list[Path]) -> None:
    """Raise ValueError naming two films of unlike rates."""
    known = {path: lasts for path in paths if (lasts := seconds_of_a_frame(path)) is not None}
    if not known or max(known.values()) - min(known.values()) <= EVEN:
        return
    slow, fast = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    raise ValueError(
        f"frames of {readable(slow)} last {1000 * known[slow]:.0f} ms and of {readable(fast)} "
        f"{1000 * known[fast]:.0f}: say data.rate=N, pictures a second at which all are read"
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def _as_they_come(opened: Iterator[Timed], frames: int) -> list[Timed]:
    return list(islice(opened, frames))


def _at_rate(path: Path, opened: Iterator[Timed], frames: int, rate: float) -> list[Timed]:
    """What is seen at 0, 1 / rate, 2 / rate, ... seconds after the first frame."""
    chosen: list[Timed] = []
    before: Timed | None = None
    start = 0.0
    for one in islice(opened, MOST_READ):
        if one.time is None:  # a folder has no other rate than this one
            chosen.append(one)
        elif before is None:
            start = one.time
        else:
            while len(chosen) < frames and len(chosen) / rate < one.time - start - 1e-6:
                chosen.append(before)
        before = one
        if len(chosen) >= frames:
            return chosen[:frames]
    if before is not None and before.time is not None and len(chosen) < frames:
        chosen.append(before)  # the last frame, whose end no file says
    return chosen


def _check_even(path: Path, times: list[float | None]) -> None:
    known = [time for time in times if time is not None]
    lasts = np.diff(known)
    if len(lasts) and lasts.max() - lasts.min() > EVEN:
        raise ValueError(
            f"frames of {readable(path)} last from {1000 * lasts.min():.0f} to "
            f"{1000 * lasts.max():.0f} ms: say data.rate=N, pictures a second at which all are read"
        )


def _opener(path: Path) -> Callable[[Path], Iterator[Timed]]:
    if path.is_dir():
        return _of_folder
    return film_from if path.suffix.lower() in VIDEO_SUFFIXES else _of_animation


def _of_folder(path: Path) -> Iterator[Timed]:
    for frame in frames_in(path):
        yield Timed(np.array(read_picture(frame)), None)


def _of_animation(path: Path) -> Iterator[Timed]:
    from PIL import Image, ImageSequence

    time = 0.0
    with Image.open(path, formats=["GIF", "WEBP", "PNG"]) as image:
        if not getattr(image, "is_animated", False):
            raise ValueError(
                f"{readable(path)} is one still picture: give an animated one, or put the frames "
                "of a video into a folder of its own"
            )
        for frame in ImageSequence.Iterator(image):
            frame.load()
            white = Image.new("RGBA", frame.size, "white")
            white.alpha_composite(frame.convert("RGBA"))
            yield Timed(np.array(white.convert("RGB")), time)
            time += frame.info.get("duration", 0) / 1000 or UNTIMED


def film_from(path: Path, start: float = 0.0) -> Iterator[Timed]:
    """A video's frames, from the last one at or before `start` seconds that can be decoded alone.

    Raises ValueError where PyAV is missing, and naming a file that it cannot read or that has none.
    """
    if importlib.util.find_spec("av") is None:
        raise ValueError(
            f"{readable(path)} takes PyAV to be read: pip install av, or save it as an animated "
            "GIF or as a folder of frames"
        )
    av = importlib.import_module("av")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{readable(path)} holds no frames: remove it")
            if start > 0:
                container.seek(int(start * av.time_base))
            for frame in container.decode(video=0):
                turns = round(getattr(frame, "rotation", 0) / 90)  # of a telephone held upright
                yield Timed(np.rot90(frame.to_ndarray(format="rgb24"), turns).copy(), frame.time)
    except av.error.FFmpegError as error:  # some of which are ValueErrors that name no remedy
        raise ValueError(f"{readable(path)} cannot be read ({error}): mend or remove it") from error
