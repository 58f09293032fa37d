"""Cached autoencoder latents as a data set: what REPA and its relatives train on at 256 px, and
videos, sounds and captioned pictures likewise (`bench.core.data.latent_sets`).

`root/{train,heldout}/`, which `bench.latents` makes (form: `bench.core.data.shards`), holds moments
[n, 8, h, w] (mean, then standard deviation, of the SD-VAE's posterior), labels [n], and images
uint8 [n, 3, H, W] for methods with an encoder. Folders without an index, of one file each, are
memory-mapped. A latent is drawn afresh each time it is seen:

    z = 0.18215 * (mean + std * noise)

Where mirror images were encoded too, they are n further training examples after the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import Examples, Indices, PictureData
from bench.core.data.codecs import CHANNELS, Codec, StableDiffusion
from bench.core.data.shards import LABELS_FILE, ShardedRows, epoch_by_shards, read_index
from bench.core.model.streams import Draw, data_order
from bench.core.model.tokens import TokenGrid

FILES = ("moments.npy", "labels.npy", "images.npy")
Rows = np.ndarray | ShardedRows
"""An array on disk whose rows are read as they are asked for."""
SAMPLED = 64  # rows of each file that the fingerprint reads: all would be hours of reading


class LatentData(PictureData):
    """Moments, labels and pictures on disk; decoder: a folder or name of the VAE that diffusers
    loads; shards_at_once: 0 shuffles all rows of an epoch; with n, as many shards are drawn, and
    the rows of these shuffled, before the next (for folders on a network: they are read whole).

    codec: whose latents they are. Raises ValueError for a folder of another one's.
    """

    in_memory = decodes = False
    shards_at_once = 0
    latent = True
    codec: ClassVar[type[Codec]] = StableDiffusion

    def __init__(
        self,
        name: str,
        root: str | None,
        patch: int | Sequence[int],
        classes: int,
        decoder: str,
        shards_at_once: int = 0,
    ):
        if not root:
            raise ValueError(
                f"data={name} needs data.root=DIR with the latents that bench.latents makes "
                "(train/ and heldout/)"
            )
        self.root, self.decoder = Path(root).expanduser(), self.codec(decoder)
        self.shards_at_once = shards_at_once
        self.index = read_index(self.root)
        made_by = self.index.vae if self.index else {"kind": self.codec.kind}
        if (kind := made_by.get("kind", StableDiffusion.kind)) != self.codec.kind:
            raise ValueError(
                f"data.root={self.root} holds latents of {made_by['name']} ({kind}), and "
                f"data={name} reads those of {self.codec.kind}: name the data set of that "
                f"autoencoder, or make others with {self.codec.word} of python -m bench.prepare"
            )
        if shards_at_once and self.index is None:
            raise ValueError(
                f"data.shards_at_once={shards_at_once}: {self.root} has no shards (it was made by "
                "an earlier version): leave it at 0"
            )
        parts = {split: self._arrays(split) for split in ("train", "heldout")}
        self._moments = {split: of_split["moments"] for split, of_split in parts.items()}
        self._images = {
            s: of_split["images"] for s, of_split in parts.items() if "images" in of_split
        }
        self._mirrored = parts["train"].get("mirrored")
        self.has_pictures = len(self._images) == 2
        labels = {split: self._labels_of(split, classes) for split in parts}
        shape = self._moments["train"].shape
        patch = patch if isinstance(patch, int) else tuple(patch)
        grid = TokenGrid(shape[2:], patch, shape[1] // 2)
        self.fingerprint = self._fingerprint(shape, grid, labels)
        if self._mirrored is not None:
            labels["train"] = labels["train"].repeat(2)
        super().__init__(name, grid, classes, {}, labels)

    # What is there --------------------------------------------------------------------------------

    def _arrays(self, split: str) -> dict[str, Rows]:
        """The arrays of a split. Raises ValueError for what is missing or does not fit together."""
        if self.index is not None:
            of_split = self.index.splits[split]
            found: dict[str, Rows] = {
                name: ShardedRows(self.root, of_split, name, whole=bool(self.shards_at_once))
                for name in of_split.shapes
            }
        else:
            folder = self.root / split
            if missing := [file for file in FILES[:2] if not (folder / file).is_file()]:
                begun = " (it was begun: the same command goes on)" if self._begun() else ""
                raise ValueError(
                    f"data.root={self.root}: {folder} lacks {', '.join(missing)}{begun}: "
                    "python -m bench.latents makes them from pictures"
                )
            files = {"moments": folder / "moments.npy", "images": folder / "images.npy"}
            found = {name: _load(path) for name, path in files.items() if path.is_file()}
        moments = found["moments"]
        of_sd = self.codec is StableDiffusion  # folders without an index are its
        fits = moments.shape[1] == 2 * CHANNELS if of_sd else moments.shape[1] % 2 == 0
        if len(moments.shape) != 2 + self.codec.axes or not fits:
            raise self._unfit(split, found)
        return found

    def _begun(self) -> bool:
        return any((self.root / "train").glob("shard-*.json"))

    def _labels_of(self, split: str, classes: int) -> Tensor:
        labels = torch.from_numpy(np.array(_load(self.root / split / LABELS_FILE), np.int64))
        of_split = {"moments": self._moments[split]}
        of_split |= {"images": self._images[split]} if split in self._images else {}
        if any(len(part) != len(labels) for part in of_split.values()):
            raise self._unfit(split, of_split, len(labels))
        if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"data.root={self.root}: {split} has labels outside 0..{classes - 1}: "
                "data.classes=N"
            )
        return labels

    def _unfit(
        self, split: str, parts: Mapping[str, Rows], labels: int | None = None
    ) -> ValueError:
        count = "" if labels is None else f", {labels} labels"
        return ValueError(
            f"data.root={self.root}: {split} has moments {parts['moments'].shape}{count} and "
            f"{len(parts.get('images', []))} pictures, which do not fit together: make it again"
        )

    def _fingerprint(self, shape: Sequence[int], grid: TokenGrid, labels: dict[str, Tensor]) -> str:
        if self.index is not None:
            content = repr((self.index.fingerprint, grid)).encode()
            return hashlib.sha256(content).hexdigest()[:16]
        digest = hashlib.sha256(repr((tuple(shape), grid)).encode())
        for split in ("train", "heldout"):
            digest.update(labels[split].numpy().tobytes())
            pictures = [self._images[split]] if split in self._images else []
            for part in (self._moments[split], *pictures):
                digest.update(
                    repr(part.shape).encode() + part[:: max(1, len(part) // SAMPLED)].tobytes()
                )
        return digest.hexdigest()[:16]

    # Examples -------------------------------------------------------------------------------------

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        if split not in self._images:
            raise ValueError(
                f"data.root={self.root}: "
                f"{split}/images.npy is missing, and methods with an encoder need the pictures: "
                "python -m bench.latents images=true makes them"
            )
        rows, mirrored = self._places(split, indices)
        pictures = torch.from_numpy(np.array(self._images[split][rows]))
        if not mirrored.any():
            return pictures
        return torch.where(
            mirrored.view(-1, *[1] * (pictures.ndim - 1)), pictures.flip(-1), pictures
        )

    def _places(self, split: str, indices: Indices) -> tuple[np.ndarray, Tensor]:
        """Rows of the arrays, and which of them are mirror images, bool."""
        which = _numbers(indices, self.size(split))
        count = len(self._moments[split])
        return which % count, torch.from_numpy(which >= count)

    def moments(self, split: str, indices: Indices) -> Tensor:
        """Mean and standard deviation as they lie on the disk, float32 [n, 2 C, *cells]."""
        rows, mirrored = self._places(split, indices)
        if not mirrored.any():
            return torch.from_numpy(np.asarray(self._moments[split][rows], np.float32))
        assert self._mirrored is not None, "no row is one of n more"
        found = np.empty((len(rows), *self._moments[split].shape[1:]), np.float32)
        for array, here in ((self._moments[split], ~mirrored), (self._mirrored, mirrored)):
            found[here.numpy()] = array[rows[here.numpy()]]
        return torch.from_numpy(found)

    def _as_tokens(self, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [n, N, C] of what is stored."""
        mean, std = moments.chunk(2, dim=1)
        return self.grid.patchify(mean), self.grid.patchify(std)

    def order(self, seed: int, first: int, count: int) -> Tensor:
        if not self.shards_at_once:
            return super().order(seed, first, count)
        assert self.index is not None, "refused at the start"
        of_split = self.index.splits["train"]
        copies, at_once = self.n_train // of_split.count, self.shards_at_once

        def of_epoch(epoch: int) -> Tensor:
            return epoch_by_shards(seed, epoch, of_split.count, of_split.per_shard, at_once, copies)

        return data_order(seed, first, count, self.n_train, of_epoch)

    def examples(self, index: Tensor, with_clean: bool) -> Examples:
        image = self.images("train", index) if with_clean else None
        condition = self.conditions("train", index)
        return Examples(index, self.moments("train", index), condition, image)

    def draw(self, stored: Tensor, draw: Draw) -> Tensor:
        """A latent from its moments and the step's noise: scale (mean + std noise). Tokens are made
        here, where a GPU does it.
        """
        mean, std = self._as_tokens(stored)
        return self.codec.scale * (mean + std * draw.normal(*mean.shape[1:]))

    def tokens(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """The posterior's mean, scaled."""
        return self.codec.scale * self._as_tokens(self.moments(split, indices))[0]

    def decode(self, tokens: Tensor, precision: str = "float32") -> Tensor:
        if self.index is not None:
            self.decoder.check_encoder(self.index.vae, self.root)
        return self.decoder.pixels(self.grid.unpatchify(tokens.float()), precision)

    def decoded_by(self) -> dict[str, str]:
        return self.decoder.record()


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): make it again with python -m bench.latents"
        ) from error


def _numbers(indices: Indices, count: int) -> np.ndarray:
    """Which examples, of so many, as numbers."""
    if isinstance(indices, slice):
        return np.arange(*indices.indices(count))
    return np.asarray(indices)
