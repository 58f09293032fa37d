"""Folders of pictures as a data set.

One folder a class, any format that PIL reads, resized and cropped to a stated size.

`root/<class>/*` is split into train and held-out, stratified and fixed; `root/train/<class>/*`
beside `root/test/<class>/*` (or `val`) keeps its own split. Small sets are decoded once, kept in
the cache and read into memory as uint8, large ones by worker processes as they are needed.

    python -m bench.run data=folder data.root=pictures data.size=32
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from bench.core.data.base import Indices, PictureData, stratified_split
from bench.core.model.tokens import TokenGrid
from bench.core.store.cache import cached_folder

if TYPE_CHECKING:
    from PIL.Image import Image

IN_MEMORY_BYTES = 2 * 1024**3
HELDOUT_FOLDERS = ("test", "val", "validation", "heldout")


def decode(path: Path, size: int) -> Tensor:
    """A picture as uint8 [3, size, size]: the short side to `size` (bicubic, antialias),
    then the centre.

    Raises ValueError naming a file that cannot be read whole.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = torch.from_numpy(_rgb(image)).permute(2, 0, 1)
    except Exception as error:  # each format's reader raises its own kinds for what is not whole
        raise ValueError(
            f"{path} cannot be read ({error}): mend or remove it, or allow data.skip_damaged=true"
        ) from error
    return resized(pixels[None], size)[0]


def resized(pictures: Tensor, size: int) -> Tensor:
    """uint8 [n, 3, H, W] -> [n, 3, size, size], as `decode` says."""
    height, width = pictures.shape[2:]
    if (height, width) == (size, size):
        return pictures
    scale = size / min(height, width)
    to = [max(size, round(height * scale)), max(size, round(width * scale))]
    scaled = F.interpolate(
        pictures.float(), size=to, mode="bicubic", antialias=True, align_corners=False
    )
    top, left = (to[0] - size) // 2, (to[1] - size) // 2
    return scaled[..., top : top + size, left : left + size].round().clamp(0, 255).to(torch.uint8)


def _rgb(image: Image) -> np.ndarray:
    """uint8 [H, W, 3], upright.

    Sixteen bits become eight. Raises ValueError for numbers whose range is unknown.
    """
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = np.rint(np.asarray(image.convert("I")) / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its pixels are {image.mode}, 32-bit numbers of no stated range: "
            "convert it to 8 or 16 bits"
        )
    return np.array(image.convert("RGB"))


def labelled_files(folder: Path) -> tuple[list[str], list[Path], np.ndarray]:
    """Class names, picture files in order, and their labels.

    Raises ValueError for a folder that is empty or cannot be read.
    """
    from PIL import Image

    formats = Image.registered_extensions().items()
    readable = {extension for extension, kind in formats if kind in Image.OPEN}

    def pictures_in(name: str) -> list[Path]:
        paths = sorted((folder / name).rglob("*"))
        return [path for path in paths if path.suffix.lower() in readable and not path.is_dir()]

    try:
        folders = [entry.name for entry in folder.iterdir() if entry.is_dir()]
        classes = sorted(name for name in folders if not name.startswith("."))
        files = [pictures_in(name) for name in classes]
    except OSError as error:
        raise ValueError(
            f"data.root={folder} cannot be read ({error.strerror}): "
            "give a folder with one folder a class"
        ) from error
    if not any(files):
        raise ValueError(
            f"data.root={folder} holds no pictures in class folders: expected "
            f"{folder}/<class>/<picture>.png (or jpg, ...)"
        )
    empty = [name for name, of_class in zip(classes, files, strict=True) if not of_class]
    if empty:
        raise ValueError(
            f"data.root={folder}: the class folder(s) {', '.join(empty)} hold no pictures: "
            "fill or remove them"
        )
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(of_class) for of_class in files])
    return classes, [path for of_class in files for path in of_class], labels


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
        self.class_names, self.files, labels = self._find(heldout)
        count = sum(len(files) for files in self.files.values())
        fits = count * 3 * size * size <= IN_MEMORY_BYTES
        self.in_memory = fits if in_memory is None else in_memory
        tensors = {split: torch.from_numpy(of_split) for split, of_split in labels.items()}
        pictures = self._all_pictures(name, cache) if self.in_memory else {}
        super().__init__(name, grid, len(self.class_names), pictures, tensors)
        if not self.in_memory:
            self.fingerprint = self._fingerprint_of_files()

    def fingerprints(self) -> dict[str, str]:
        """Of names and sizes of the files, and in memory of the content too: data.in_memory may
        change.
        """
        files = {"files": self._fingerprint_of_files()}
        return files | {"data": self.fingerprint} if self.in_memory else files

    def _labelled_files(self, folder: Path) -> tuple[list[str], list[Path], np.ndarray]:
        """As `labelled_files`, without damaged files where the user allows that.

        Raises ValueError for a class without.
        """
        classes, files, labels = labelled_files(folder)
        if not self.skip_damaged:
            return classes, files, labels
        decoded = self._decoded(files, f"checking {folder.name}")
        good = np.array([not isinstance(picture, ValueError) for picture in decoded])
        for path in (p for p, fine in zip(files, good, strict=True) if not fine):
            print(f"warning: {path} is damaged and left out (data.skip_damaged=true)")
        gone = [name for i, name in enumerate(classes) if not (labels[good] == i).any()]
        if gone:
            raise ValueError(
                f"data.root={folder}: no picture of class {', '.join(gone)} can be read: mend some"
            )
        return classes, [p for p, fine in zip(files, good, strict=True) if fine], labels[good]

    def _find(self, share: float) -> tuple[list[str], dict[str, list[Path]], dict[str, np.ndarray]]:
        # folders with a split of their own
        own = next((self.root / f for f in HELDOUT_FOLDERS if (self.root / f).is_dir()), None)
        if own and (self.root / "train").is_dir():
            classes, train_files, train_labels = self._labelled_files(self.root / "train")
            held_classes, held_files, held_labels = self._labelled_files(own)
            if held_classes != classes:
                odd = ", ".join(sorted(set(classes) ^ set(held_classes)))
                raise ValueError(
                    f"data.root={self.root}: train and {own.name} have unlike class folders "
                    f"({odd}): make them the same"
                )
            both = {"train": train_files, "heldout": held_files}
            return classes, both, {"train": train_labels, "heldout": held_labels}

        # else a stratified share, with every class on both sides
        classes, files, labels = self._labelled_files(self.root)
        alone = [classes[i] for i, n in enumerate(np.bincount(labels)) if n < 2]
        if alone:
            raise ValueError(
                f"data.root={self.root}: class {', '.join(alone)} has one picture, and both splits "
                "need one: add more or remove it"
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
        key = f"{name}-{self._hash_of_files(f'pixels {self.side}', with_times=True)}"
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
                name, stat = path.relative_to(self.root), path.stat()
                digest.update(f"{split}/{name}/{stat.st_size}".encode())
                if with_times:
                    digest.update(f"@{stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        if self.in_memory:
            return super().images(split, indices)
        files = self.files[split]
        paths = files[indices] if isinstance(indices, slice) else [files[int(i)] for i in indices]
        return torch.stack([decode(path, self.side) for path in paths])
