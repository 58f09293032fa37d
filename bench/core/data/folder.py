"""Folders of pictures as a data set.

One folder a class, resized and cropped to a stated size. Which files count and how they are read
is told in `bench.core.data.pictures`, which folders are splits in `bench.core.data.splits`.

`root/<class>/*` is split into train and held-out, stratified and fixed; `root/train/<class>/*`
beside `root/test/<class>/*` (or `val`) keeps its own split. Small sets are decoded once, kept in
the cache and read into memory as uint8, large ones by worker processes as they are needed.

    python -m bench.run data=folder data.root=pictures data.size=32
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.data.class_folders import ClassFolders, Kind
from bench.core.data.pictures import DECODER, SUFFIXES, read_picture
from bench.core.model.tokens import TokenGrid

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE = Kind("picture", ".png (or jpg, ...)", SUFFIXES, DECODER)


def decode(path: Path, size: int) -> Tensor:
    """A picture as uint8 [3, size, size]: the short side to `size` (bicubic, antialias),
    then the centre.

    Raises ValueError naming a file that cannot be read whole.
    """
    try:
        return cropped(read_picture(path, size), size)
    except ValueError as error:
        raise ValueError(f"{error}, or allow data.skip_damaged=true") from error


def cropped(picture: Image, size: int) -> Tensor:
    """A picture of `read_picture` as uint8 [3, size, size], as `decode` says."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return resized(pixels[None], size)[0]


def resized(pictures: Tensor, size: int) -> Tensor:
    """uint8 [n, 3, H, W] -> [n, 3, size, size], as `decode` says."""
    height, width = pictures.shape[2:]
    if (height, width) == (size, size):
        return pictures
    scale = size / min(height, width)
    to = [max(size, round(height * scale)), max(size, round(width * scale))]
    # a channel at a time: the same numbers, and a third of the memory
    scaled = torch.cat(
        [
            F.interpolate(
                channel.float(), size=to, mode="bicubic", antialias=True, align_corners=False
            )
            for channel in pictures.split(1, dim=1)
        ],
        dim=1,
    )
    top, left = (to[0] - size) // 2, (to[1] - size) // 2
    return scaled[..., top : top + size, left : left + size].round().clamp(0, 255).to(torch.uint8)


class FolderData(ClassFolders):
    """Class folders of pictures.

    in_memory, cache: as in `ClassFolders`.
    """

    kind = PICTURE

    def __init__(
        self,
        name: str,
        root: str | None,
        size: int,
        patch: int,
        heldout: float,
        skip_damaged: bool,
        in_memory: bool | None,
        *,
        cache: Path | None = None,
    ):
        self.side, grid = size, TokenGrid((size, size), patch, 3)
        super().__init__(
            name,
            root,
            grid,
            (3, size, size),
            size,
            heldout,
            skip_damaged,
            in_memory,
            cache=cache,
        )

    def read(self, path: Path) -> Tensor:
        return decode(path, self.side)
