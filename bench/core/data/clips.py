"""Your own videos in class folders: animated GIF, WebP and PNG, folders of frames, and, with PyAV,
mp4 and its like.

    DIR/<class>/<video>.gif      DIR/<class>/<video>/0001.png, 0002.png, ...

How one is read is told in `bench.core.data.film_files`, which folders are splits in
`bench.core.data.splits`.

    python -m bench.run data=clips data.root=DIR data.frames=8 data.size=16 method=selfflow
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from bench.core.data.class_folders import ClassFolders, Kind
from bench.core.data.film_files import (
    FILM_SUFFIXES,
    check_one_rate,
    frames_in,
    read_film,
)
from bench.core.data.pictures import SUFFIXES, Listing, readable, visible_folders
from bench.core.model.tokens import TokenGrid

VIDEO = Kind(
    "video", ".gif (or mp4, ..., or a folder of frames)", SUFFIXES | FILM_SUFFIXES, decoder=1
)


class Clips(ClassFolders):
    """Class folders of videos.

    frames: of a clip, the first ones; rate: of them a second, None takes them as they come, and all
    files must then have one; size, heldout, skip_damaged, in_memory, cache: as of pictures.
    """

    kind = VIDEO

    def __init__(
        self,
        name: str,
        root: str | None,
        frames: int,
        rate: float | None,
        size: int,
        patch: int | Sequence[int],
        heldout: float,
        skip_damaged: bool,
        in_memory: bool | None,
        *,
        cache: Path | None = None,
    ):
        if frames < 2 or (rate is not None and rate <= 0):
            raise ValueError(
                f"data.frames={frames} must be 2 or more and data.rate={rate} above 0, or null"
            )
        self.frames, self.rate, self.side = frames, rate, size
        patch = patch if isinstance(patch, int) else tuple(patch)
        grid = TokenGrid((frames, size, size), patch, 3)
        super().__init__(
            name,
            root,
            grid,
            (3, frames, size, size),
            (frames, rate, size),
            heldout,
            skip_damaged,
            in_memory,
            cache=cache,
        )

    def read(self, path: Path) -> Tensor:
        return read_film(path, self.frames, self.rate, self.side)

    def parts(self, path: Path) -> list[Path]:
        return frames_in(path) if path.is_dir() else [path]

    def examples_in(
        self, folder: Path, listing: Listing, labels: np.ndarray
    ) -> tuple[Listing, np.ndarray]:
        """Frames that lie in a folder of their own as one: that folder."""
        found: dict[Path, int] = {}
        for path, label in zip(listing.paths, labels, strict=True):
            alone = path.suffix.lower() in FILM_SUFFIXES or path.parent.parent == folder
            found.setdefault(path if alone else path.parent, int(label))
        filled = {place for path in found for place in (path, *path.parents)}
        for of_class in visible_folders(folder):
            for name in visible_folders(folder / of_class):
                if (clip := folder / of_class / name) not in filled:
                    raise ValueError(f"{readable(clip)} holds no frames: fill or remove it")
        return replace(listing, paths=list(found)), np.array(list(found.values()), np.int64)

    def _find(self, share: float) -> tuple[list[str], dict[str, list[Path]], dict[str, np.ndarray]]:
        names, files, labels = super()._find(share)
        if self.rate is None:
            check_one_rate([path for paths in files.values() for path in paths])
        return names, files, labels
