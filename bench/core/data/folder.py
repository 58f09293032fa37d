"""Folders of pictures as a data set.

One folder a class, resized and cropped to a stated size. Which files count and how they are read
is told in `bench.core.data.pictures`, which folders are splits in `bench.core.data.splits`.

`root/<class>/*` is split into train and held-out, stratified and fixed; `root/train/<class>/*`
beside `root/test/<class>/*` (or `val`) keeps its own split. Small sets are decoded once, kept in
the cache and read into memory as uint8, large ones by worker processes as they are needed.

    python -m bench.run data=folder data.root=pictures data.size=32
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from bench.core.data.base import Indices, PictureData, stratified_split
from bench.core.data.pictures import (
    DECODER,
    Listing,
    list_pictures,
    read_picture,
    readable,
    visible_folders,
)
from bench.core.data.splits import check_apart, find_layout
from bench.core.model.tokens import TokenGrid
from bench.core.store.cache import cached_folder

IN_MEMORY_BYTES = 2 * 1024**3
REMARKS = 3  # that are said each; of more, how many


def decode(path: Path, size: int) -> Tensor:
    """A picture as uint8 [3, size, size]: the short side to `size` (bicubic, antialias),
    then the centre.

    Raises ValueError naming a file that cannot be read whole.
    """
    try:
        pixels = torch.from_numpy(np.array(read_picture(path, size))).permute(2, 0, 1)
    except ValueError as error:
        raise ValueError(f"{error}, or allow data.skip_damaged=true") from error
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


def labelled_files(folder: Path) -> tuple[list[str], Listing, np.ndarray]:
    """Class names, picture files in order of their classes, and their labels.

    Raises ValueError for a folder that is empty or cannot be read.
    """
    classes = visible_folders(folder)
    listing = list_pictures(folder)
    number = {name: i for i, name in enumerate(classes)}
    in_class = [path for path in listing.paths if path.parent != folder]
    beside = len(listing.paths) - len(in_class)
    if not in_class:
        what = f" ({beside} lie right in it)" if beside else ""
        raise ValueError(
            f"data.root={readable(folder)} holds no pictures in class folders{what}: expected "
            f"{readable(folder)}/<class>/<picture>.png (or jpg, ...){_found(listing)}"
        )
    labels = np.array([number[path.relative_to(folder).parts[0]] for path in in_class], np.int64)
    sizes = np.bincount(labels, minlength=len(classes))
    empty = [readable(name) for name, size in zip(classes, sizes, strict=True) if not size]
    if empty:
        raise ValueError(
            f"data.root={readable(folder)}: the class folder(s) {', '.join(empty)} hold no "
            f"pictures: fill or remove them{_found(listing)}"
        )
    remarks = [f"{beside} picture(s) beside the class folders are left out"] if beside else []
    return classes, replace(listing, paths=in_class, remarks=remarks + listing.remarks), labels


def _remarks(listing: Listing) -> list[str]:
    """What has to be said of what is not used; of many links, how many."""
    said = listing.remarks[:REMARKS]
    if len(listing.remarks) > REMARKS:
        said.append(f"and {len(listing.remarks) - REMARKS} more such")
    return said + ([f"other files: {listing.left_out()}"] if listing.others else [])


def _found(listing: Listing) -> str:
    return "".join(f"; {remark}" for remark in _remarks(listing))


def _both_have_all(
    labels: np.ndarray, train: np.ndarray, heldout: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two parts with one picture moved for each class that one of them lacks: a rare class
    rounds to none.
    """
    for label in np.unique(labels):
        if not (labels[heldout] == label).any():
            moved = train[labels[train] == label][-1]
            train, heldout = train[train != moved], np.sort(np.append(heldout, moved))
        elif not (labels[train] == label).any():
            moved = heldout[labels[heldout] == label][-1]
            train, heldout = np.sort(np.append(train, moved)), heldout[heldout != moved]
    return train, heldout


class FolderData(PictureData):
    """Class folders of pictures.

    in_memory: None decides by size (up to 2 GiB decoded); cache: where pictures in memory are kept
    decoded for the next who asks, None for nowhere.
    """

    remarks: Sequence[str]

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
        if not root:
            raise ValueError(
                f"data={name} needs a folder: data.root=DIR with one folder of pictures a class"
            )
        self.root, self.side = Path(root).expanduser(), size
        grid = TokenGrid((size, size), patch, 3)
        self.skip_damaged = skip_damaged
        names, self.files, labels = self._find(heldout)
        count = sum(len(files) for files in self.files.values())
        fits = count * 3 * size * size <= IN_MEMORY_BYTES
        self.in_memory = fits if in_memory is None else in_memory
        tensors = {split: torch.from_numpy(of_split) for split, of_split in labels.items()}
        pictures = self._all_pictures(name, cache) if self.in_memory else {}
        super().__init__(name, grid, len(names), pictures, tensors, names)
        if not self.in_memory:
            self.fingerprint = self._fingerprint_of_files()

    def fingerprints(self) -> dict[str, str]:
        """Of names and sizes of the files, and in memory of the content too: data.in_memory may
        change.
        """
        files = {"files": self._fingerprint_of_files()}
        return files | {"data": self.fingerprint} if self.in_memory else files

    def _labelled_files(self, folder: Path) -> tuple[list[str], Listing, np.ndarray]:
        """As `labelled_files`, without damaged files where the user allows that.

        Raises ValueError for a class without.
        """
        classes, listing, labels = labelled_files(folder)
        self.remarks = [*self.remarks, *_remarks(listing)]
        if not self.skip_damaged:
            return classes, listing, labels
        decoded = self._decoded(listing.paths, f"checking {readable(folder.name)}")
        good = np.array([not isinstance(picture, ValueError) for picture in decoded])
        for path in (p for p, fine in zip(listing.paths, good, strict=True) if not fine):
            print(f"warning: {readable(path)} is damaged and left out (data.skip_damaged=true)")
        gone = [readable(n) for i, n in enumerate(classes) if not (labels[good] == i).any()]
        if gone:
            raise ValueError(
                f"data.root={readable(folder)}: no picture of class {', '.join(gone)} can be read: "
                "mend some"
            )
        fine = [path for path, fine in zip(listing.paths, good, strict=True) if fine]
        return classes, replace(listing, paths=fine), labels[good]

    def _find(self, share: float) -> tuple[list[str], dict[str, list[Path]], dict[str, np.ndarray]]:
        # folders with a split of their own
        layout = find_layout(self.root)
        self.remarks = layout.remarks
        classes, listing, labels = self._labelled_files(layout.train)
        if layout.heldout:
            held_classes, held, held_labels = self._labelled_files(layout.heldout)
            if held_classes != classes:
                odd = ", ".join(map(readable, sorted(set(classes) ^ set(held_classes))))
                raise ValueError(
                    f"data.root={readable(self.root)}: {layout.train.name} and "
                    f"{layout.heldout.name} have unlike class folders ({odd}): make them the same"
                )
            check_apart(listing, held)
            both = {"train": listing.paths, "heldout": held.paths}
            return classes, both, {"train": labels, "heldout": held_labels}

        # else a stratified share, with every class on both sides
        files = listing.paths
        alone = [readable(classes[i]) for i, n in enumerate(np.bincount(labels)) if n < 2]
        if alone:
            raise ValueError(
                f"data.root={readable(self.root)}: class {', '.join(alone)} has one picture, and "
                "both splits need one: add more or remove it"
            )
        count = max(len(classes), round(share * len(labels)))
        if not 0 < share < 1 or len(labels) - count < len(classes):
            raise ValueError(
                f"data.heldout={share} leaves too few of {len(labels)} pictures for {len(classes)} "
                "classes: choose another share"
            )
        train, heldout = _both_have_all(labels, *stratified_split(labels, count))
        parts = {"train": train, "heldout": heldout}
        found = {split: [files[i] for i in rows] for split, rows in parts.items()}
        return classes, found, {split: labels[rows] for split, rows in parts.items()}

    def _decoded(self, paths: Sequence[Path], description: str) -> list[Tensor | ValueError]:
        def attempt(path: Path) -> Tensor | ValueError:
            try:
                return decode(path, self.side)
            except ValueError as error:
                return error

        bar = {"desc": description, "unit": "img", "disable": None, "leave": False}
        with ThreadPoolExecutor(8) as pool:
            return list(tqdm(pool.map(attempt, paths), total=len(paths), **bar))

    def _all_pictures(self, name: str, cache: Path | None) -> dict[str, Tensor]:
        """uint8 [n, 3, size, size] of both splits, from the cache or decoded."""
        if cache is None:
            return {split: self._decode_all(split) for split in self.files}

        def make(folder: Path) -> None:
            for split in self.files:
                np.save(folder / f"{split}.npy", self._decode_all(split).numpy())

        # the files' times as well: a picture may be mended without changing its size
        read_as = f"pixels {self.side}, decoder {DECODER}"
        key = f"{name}-{self._hash_of_files(read_as, with_times=True)}"
        folder = cached_folder(cache / "pictures" / key, make)
        try:
            return {s: torch.from_numpy(np.load(folder / f"{s}.npy")) for s in self.files}
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"the cached pictures {folder} are damaged ({error}): "
                "delete that folder, they are decoded again"
            ) from error

    def _decode_all(self, split: str) -> Tensor:
        pictures: list[Tensor] = []
        for picture in self._decoded(self.files[split], f"reading {split}"):
            if isinstance(picture, ValueError):
                raise picture
            pictures.append(picture)
        return torch.stack(pictures)

    def _fingerprint_of_files(self) -> str:
        return self._hash_of_files(repr((self.grid, self.side)))

    def _hash_of_files(self, read_as: str, with_times: bool = False) -> str:
        digest = hashlib.sha256(read_as.encode())
        for split, paths in self.files.items():
            for path in paths:
                name, status = path.relative_to(self.root), path.stat()
                digest.update(os.fsencode(f"{split}/{name}/{status.st_size}"))
                if with_times:
                    digest.update(f"@{status.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        if self.in_memory:
            return super().images(split, indices)
        files = self.files[split]
        paths = files[indices] if isinstance(indices, slice) else [files[int(i)] for i in indices]
        return torch.stack([decode(path, self.side) for path in paths])
