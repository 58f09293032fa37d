"""Where pictures to be evaluated come from: an .npz of the ADM suite, a folder, a data set;
read in batches.

50,000 pictures of 256 x 256 are 9.8 GB, so an .npz is read from inside its zip as it goes by.

    for batch in NpzImages(Path("samples_50000.npz")).batches(64):      # uint8 [B, 3, H, W]
        ...
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import DataSet
from bench.core.data.pictures import list_pictures, picture_size, read_picture, readable
from bench.core.data.splits import splits_in
from bench.core.store.files import file_hash


class ImageSource(Protocol):
    """Pictures with a name for protocols and a hash of their content."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def __len__(self) -> int: ...
    def batches(self, size: int) -> Iterator[Tensor]: ...


class NpzImages:
    """`arr_0` (or another array) of an .npz: uint8 [n, H, W, 3]."""

    def __init__(self, path: Path, key: str = "arr_0"):
        self.path, self.key = Path(path), key
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{key}.npy") as file:
                self.shape, dtype = _header(file)
        except FileNotFoundError as error:
            raise ValueError(
                f"there is no file {self.path}; give the path of an .npz with `{key}`"
            ) from error
        except KeyError as error:
            raise ValueError(
                f"{self.path} has no array `{key}`; pictures are uint8 [n, H, W, 3] under it"
            ) from error
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise ValueError(
                f"{self.path} cannot be read as an .npz ({error}); write or fetch it again"
            ) from error
        if dtype != np.uint8 or len(self.shape) != 4 or self.shape[3] != 3:
            raise ValueError(
                f"`{key}` of {self.path} is {dtype} {self.shape}; pictures are uint8 [n, H, W, 3]"
            )

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def fingerprint(self) -> str:
        return file_hash(self.path)[:16]

    def __len__(self) -> int:
        return self.shape[0]

    def batches(self, size: int) -> Iterator[Tensor]:
        """uint8 [B, 3, H, W] in order."""
        one = int(np.prod(self.shape[1:]))
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.key}.npy") as file:
            _header(file)
            for start in range(0, len(self), size):
                count = min(size, len(self) - start)
                try:
                    content = bytearray(file.read(count * one))
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise ValueError(
                        f"{self.path} is damaged at picture {start} ({error}); write it again"
                    ) from error
                if len(content) != count * one:
                    raise ValueError(
                        f"{self.path} ends within picture "
                        f"{start + len(content) // one}; write it again"
                    )
                pictures = torch.frombuffer(content, dtype=torch.uint8).reshape(
                    count, *self.shape[1:]
                )
                yield pictures.permute(0, 3, 1, 2)


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(file)
    if fortran:
        raise ValueError("pictures are stored in Fortran order")
    return shape, dtype


class FolderImages:
    """All pictures below a folder, sorted by path; they must be of one size."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        if len(splits := splits_in(self.folder)) > 1:
            raise ValueError(
                f"{readable(self.folder)} holds the splits {', '.join(map(readable, splits))}: "
                f"name the one to compare with, {readable(self.folder / splits[0])}"
            )
        listing = list_pictures(self.folder)
        self.paths = listing.paths
        if not self.paths:
            other = f"; other files: {listing.left_out()}" if listing.others else ""
            raise ValueError(
                f"there is no picture (.png, .jpg, ...) below {readable(self.folder)}{other}"
            )
        for remark in listing.remarks:
            warnings.warn(remark, stacklevel=2)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(os.fsencode(path.relative_to(self.folder)) + path.read_bytes())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.paths)

    def check_sizes(self) -> None:
        """Raise ValueError naming the first picture whose header cannot be
        read or tells another size.
        """
        first = picture_size(self.paths[0])
        for path in self.paths[1:]:
            _check_size(path, picture_size(path), first)

    def batches(self, size: int) -> Iterator[Tensor]:
        """uint8 [B, 3, H, W]; raises ValueError naming a picture that cannot
        be read or is of another size.
        """
        first: tuple[int, int] | None = None
        for start in range(0, len(self), size):
            pictures = []
            for path in self.paths[start : start + size]:
                image = read_picture(path)
                first = first or image.size
                _check_size(path, image.size, first)
                pictures.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
            yield torch.stack(pictures)


def _check_size(path: Path, size: tuple[int, int], first: tuple[int, int]) -> None:
    if size != first:
        sizes = f"{size[0]} x {size[1]}, the first {first[0]} x {first[1]}"
        raise ValueError(
            f"pictures are of unlike sizes: {path} is {sizes}; resize them to one size"
        )


@dataclass(frozen=True)
class DatasetImages:
    """A split of a data set."""

    dataset: DataSet
    split: str = "train"

    @property
    def name(self) -> str:
        return f"{self.dataset.name} {self.split}"

    @property
    def fingerprint(self) -> str:
        return f"{self.dataset.fingerprint}-{self.split}"

    def __len__(self) -> int:
        return self.dataset.n_train if self.split == "train" else self.dataset.n_heldout

    def batches(self, size: int) -> Iterator[Tensor]:
        """uint8 [B, 3, H, W] in order."""
        for start in range(0, len(self), size):
            yield torch.as_tensor(
                self.dataset.images(self.split, torch.arange(start, min(start + size, len(self))))
            )
