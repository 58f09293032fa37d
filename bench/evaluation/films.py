"""Videos for people: clips that move in one APNG file, which every browser plays, and their frames
as film strips where nothing moves.

save_film(clips, columns=10, texts=[], picture=Path("samples/grid.png"))      # grid.apng beside it
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from bench.core.data.frames import frames_of
from bench.core.store.files import atomic
from bench.evaluation.grids import picture_grid

SUFFIX = ".apng"
SHOWN_FOR, LAST_SHOWN_FOR = 125, 500  # milliseconds of a frame; the last one waits
MOST_FRAMES = 16  # of a film strip, at equal steps


def strips(clips: Tensor, texts: Sequence[str]) -> np.ndarray:
    """The frames of clips uint8 [n, 3, T, H, W] as one picture [h, w, 3], a clip a line, its text
    below its first frame where there are texts [n].
    """
    length = clips.shape[2]
    chosen = np.linspace(0, length - 1, min(length, MOST_FRAMES)).round().astype(int)
    frames = len(chosen)
    below = [text for one in texts for text in (one, *[""] * (frames - 1))]
    return picture_grid(frames_of(clips[:, :, chosen]), frames, texts=below)


def save_film(clips: Tensor, columns: int, texts: Sequence[str], picture: Path) -> Path:
    """Clips uint8 [n, 3, T, H, W] side by side, beside their picture, atomically."""
    from PIL import Image

    drawn = [picture_grid(clips[:, :, t], columns, texts=texts) for t in range(clips.shape[2])]
    if all((frame == frame[..., :1]).all() for frame in drawn):  # grey: a third of the numbers
        drawn = [frame[..., 0] for frame in drawn]
    frames = [Image.fromarray(frame) for frame in drawn]
    shown_for = [*[SHOWN_FOR] * (len(frames) - 1), LAST_SHOWN_FOR]
    path = picture.with_suffix(SUFFIX)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        first, *others = frames
        first.save(
            temporary,
            format="PNG",
            save_all=True,
            append_images=others,
            duration=shown_for,
            loop=0,
        )
    return path
