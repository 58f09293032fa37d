"""Moving digits: clips of scanned digits that move and bounce off the edges, made on the spot.

A clip shows one of scikit-learn's digits at one speed in one direction, turned round at the edges,
at any place between the pixels. What it shows follows from its split and its number alone, so more
clips leave those before them as they are. Clips of the held-out split show held-out digits.

    place(t) = bounced(start + t velocity),  frame = rows(place) digit columns(place)^T

    python -m bench.run data=moving_digits method=selfflow
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.data.base import Digits, PictureData
from bench.core.data.clips import VIDEO
from bench.core.model.tokens import TokenGrid

MOTION_SEED = 4127
DIGIT_SIDE = 8  # pixels of a scanned digit
SLOWEST, FASTEST = 0.4, 1.2  # pixels a frame
FEWEST_CLIPS = 20  # clips of a split, two of a digit on average
Places = NDArray[np.float64]


class MovingDigits(PictureData):
    """frames: of a clip; size: pixels of a side; patch: of a token, one number or frames, rows and
    columns; count, heldout_count: training and held-out clips, of the classes in turn.

    Raises ValueError for frames too small for a digit to move, and for too few clips.
    """

    noun = VIDEO.one

    def __init__(
        self,
        name: str,
        frames: int,
        size: int,
        patch: int | Sequence[int],
        count: int,
        heldout_count: int,
    ):
        if size <= DIGIT_SIDE:
            raise ValueError(
                f"data.size={size} leaves digits of {DIGIT_SIDE} pixels no room to move: choose "
                f"{DIGIT_SIDE + 1} or more"
            )
        if frames < 2:
            raise ValueError(f"data.frames={frames} shows no motion: choose 2 or more")
        if min(count, heldout_count) < FEWEST_CLIPS:
            raise ValueError(
                f"data.count={count} and data.heldout_count={heldout_count} must be "
                f"{FEWEST_CLIPS} or more each"
            )
        digits = Digits("digits", patch=2)  # the patch is of tokens, which are not read
        kept, labels = {}, {}
        for split, n in (("train", count), ("heldout", heldout_count)):
            order = in_turn(digits.labels(split))
            which = order[torch.arange(n) % len(order)]
            pictures = digits.images(split, which)[:, 0].numpy()
            grey = filmed(pictures, *motion(split, n, size - DIGIT_SIDE), frames, size)
            kept[split] = grey[:, None].expand(-1, 3, -1, -1, -1)
            labels[split] = digits.labels(split, which)
        patch = patch if isinstance(patch, int) else tuple(patch)
        grid = TokenGrid((frames, size, size), patch, 1)
        super().__init__(name, grid, digits.classes, kept, labels, digits.class_names)


def in_turn(labels: Tensor) -> Tensor:
    """Places of labels [n] in an order in which the first of each class come first, then the second
    of each, and so on.
    """
    nth = torch.empty_like(labels)
    for label in labels.unique():
        of_class = labels == label
        nth[of_class] = torch.arange(int(of_class.sum()))
    return torch.argsort(nth * (int(labels.max()) + 1) + labels)


def motion(split: str, count: int, room: int) -> tuple[Places, Places]:
    """Where `count` clips of a split begin, [n, 2] in 0..room, and their velocities in pixels a
    frame, [n, 2], along rows and columns.
    """
    part = ("train", "heldout").index(split)
    # a generator for each clip: n of them begin as n - 1 do
    drawn = np.stack(
        [np.random.default_rng((MOTION_SEED, part, i)).random(4) for i in range(count)]
    )
    angle = 2 * np.pi * drawn[:, 2]
    speed = SLOWEST + (FASTEST - SLOWEST) * drawn[:, 3]
    velocity = speed[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return room * drawn[:, :2], velocity


def bounced(way: Places, room: float) -> Places:
    """Places in 0..room of what would be anywhere, were it not turned round at both ends."""
    return room - np.abs(np.mod(way, 2 * room) - room)


def filmed(
    pictures: NDArray[np.uint8], start: Places, velocity: Places, frames: int, size: int
) -> Tensor:
    """Pictures [n, s, s] moved over a black square, uint8 [n, frames, size, size]; between the
    pixels they are interpolated (bilinear).
    """
    side = pictures.shape[1]
    time = np.arange(frames)[:, None]
    place = bounced(start[:, None] + time * velocity[:, None], size - side)  # [n, frames, 2]
    # weights [n, frames, size, s] of each row of a picture in each row of a frame; of columns alike
    apart = np.arange(size)[:, None] - place[..., None, None] - np.arange(side)
    rows, columns = np.moveaxis(np.maximum(0, 1 - np.abs(apart)), 2, 0)
    frames_of = rows @ pictures[:, None].astype(np.float64) @ columns.swapaxes(2, 3)
    return torch.from_numpy(np.rint(frames_of).astype(np.uint8))
