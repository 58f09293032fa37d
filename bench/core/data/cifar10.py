"""CIFAR-10 from the user's own copy: torchvision's files, or folders train/ and test/.

JPEG folders are a lossy copy and named as such, since no published number compares. At 16 pixels
and patch 4 a picture has 16 tokens, which two cores can train on.

    python -m bench.run data=cifar10 data.root=cifar10 data.download=true compute.device=cuda
    python -m bench.run data=cifar10_16 data.root=cifar10
"""

from __future__ import annotations

from pathlib import Path

import torch

from bench.core.compat import import_vision
from bench.core.data.base import PictureData
from bench.core.data.folder import FolderData, resized
from bench.core.data.pictures import JPEG_SUFFIXES
from bench.core.data.splits import TRAIN, splits_in
from bench.core.model.tokens import TokenGrid


def cifar10(
    name: str,
    root: str | None,
    patch: int,
    download: bool,
    size: int = 32,
    *,
    cache: Path | None = None,
) -> PictureData:
    """size: pixels of a side, from the pictures' 32; cache: as in `FolderData`.

    Raises ValueError where there is none.
    """
    folder = Path(root).expanduser() if root else None
    if folder and folder.is_dir() and any(n.casefold() in TRAIN for n in splits_in(folder)):
        data = FolderData(
            name, root, size, patch, heldout=0.1, skip_damaged=False, in_memory=True, cache=cache
        )
        lossy = any(path.suffix.lower() in JPEG_SUFFIXES for path in data.files["train"])
        data.name = f"{name}_jpeg" if lossy else name
        return data
    if folder is None:
        raise ValueError(
            f"data={name} needs data.root=DIR: a folder with cifar-10-batches-py, or "
            "train/<class>/ and test/<class>/ pictures; data.download=true fetches it there"
        )
    read = import_vision("torchvision.datasets").CIFAR10
    try:
        sets = {
            split: read(folder, train=split == "train", download=download)
            for split in ("train", "heldout")
        }
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"no CIFAR-10 in data.root={folder} ({error}): "
            "put cifar-10-batches-py there, or set data.download=true"
        ) from error
    pictures = {
        split: resized(torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous(), size)
        for split, found in sets.items()
    }
    labels = {split: torch.tensor(found.targets) for split, found in sets.items()}
    names = tuple(sets["train"].classes)
    return PictureData(name, TokenGrid((size, size), patch, 3), 10, pictures, labels, names)
