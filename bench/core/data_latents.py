"""Cached autoencoder latents as a data set: what REPA and its relatives train on at 256 px.

`root/{train,heldout}/` holds moments.npy [n, 8, h, w] (mean, then standard deviation, of the SD-VAE's posterior),
labels.npy [n], and images.npy uint8 [n, 3, H, W] for methods with an encoder; all are memory-mapped. A latent is drawn
afresh each time it is seen:

    z = 0.18215 * (mean + std * noise)
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.data import PictureData
from bench.core.tokens import TokenGrid

SCALE = 0.18215
CHANNELS = 4
FILES = ("moments.npy", "labels.npy", "images.npy")


class LatentData(PictureData):
    """Moments, labels and pictures on disk; decoder: a folder or name of the VAE that diffusers loads."""

    in_memory = False
    latent = True

    def __init__(self, name: str, root: str | None, patch: int, classes: int, decoder: str):
        if not root:
            raise ValueError(
                f"data={name} needs data.root=DIR with the latents that bench.prepare makes (train/ and heldout/)"
            )
        self.root, self.decoder_name, self._decoder = Path(root).expanduser(), decoder, None
        self._moments: dict[str, np.ndarray] = {}
        pictures: dict[str, Any] = {}
        labels: dict[str, Tensor] = {}
        for split in ("train", "heldout"):
            folder = self.root / split
            missing = [file for file in FILES[:2] if not (folder / file).is_file()]
            if missing:
                raise ValueError(
                    f"data.root={self.root}: {folder} lacks {', '.join(missing)}: see "
                    "bench/core/data_latents.py for the form"
                )
            self._moments[split] = np.load(folder / "moments.npy", mmap_mode="r")
            labels[split] = torch.from_numpy(np.load(folder / "labels.npy").astype(np.int64))
            if (folder / "images.npy").is_file():
                pictures[split] = np.load(folder / "images.npy", mmap_mode="r")
        shape = self._moments["train"].shape
        if shape[1] != 2 * CHANNELS or len(labels["train"]) != shape[0] or int(labels["train"].max()) >= classes:
            raise ValueError(
                f"data.root={self.root}: moments {shape} and {len(labels['train'])} labels below "
                f"{classes} do not fit together"
            )
        super().__init__(name, TokenGrid(shape[2:], patch, CHANNELS), classes, pictures, labels)
        digest = hashlib.sha256(repr((shape, self.grid)).encode())
        digest.update(self._moments["train"][:: max(1, shape[0] // 64)].tobytes())
        digest.update(labels["train"].numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    def images(self, split: str, indices: Any = slice(None)) -> Tensor:
        if split not in self._pictures:
            raise ValueError(
                f"data.root={self.root}: {split}/images.npy is missing, and methods with an encoder need the pictures"
            )
        return torch.from_numpy(np.asarray(self._pictures[split][_rows(indices)]))

    def moments(self, split: str, indices: Any) -> Tensor:
        """Mean and standard deviation as tokens, float32 [n, 2, N, C]."""
        both = torch.from_numpy(np.asarray(self._moments[split][_rows(indices)], np.float32))
        return torch.stack([self.grid.patchify(part) for part in both.chunk(2, dim=1)], dim=1)

    def draw(self, moments: Tensor, noise: Tensor) -> Tensor:
        """A latent from its moments [n, 2, N, C] and noise [n, N, C]."""
        return SCALE * (moments[:, 0] + moments[:, 1] * noise)

    def tokens(self, split: str, indices: Any = slice(None)) -> Tensor:
        """The posterior's mean, scaled: what held-out losses and probes read."""
        return SCALE * self.moments(split, indices)[:, 0]

    @torch.no_grad()
    def to_uint8(self, tokens: Tensor) -> Tensor:
        """Decoded pictures: latents / 0.18215 through the VAE's decoder; clamp(127.5 x + 128) and cast."""
        pixels = torch.cat([self._decode(part) for part in self.grid.unpatchify(tokens.float() / SCALE).split(16)])
        return (127.5 * pixels + 128).clamp(0, 255).to(torch.uint8)

    def _decode(self, latents: Tensor) -> Tensor:
        if self._decoder is None:
            try:
                from diffusers import AutoencoderKL  # type: ignore[import-not-found]
            except ImportError as error:
                raise ValueError(
                    "decoding latents needs diffusers: pip install diffusers (the optional extra vae)"
                ) from error
            try:
                self._decoder = AutoencoderKL.from_pretrained(self.decoder_name, local_files_only=True).eval()
            except OSError as error:
                raise ValueError(
                    f"the VAE {self.decoder_name} is not staged here: fetch it elsewhere with `python "
                    "-m bench.prepare vae=true` and "
                    "name its folder in data.decoder"
                ) from error
            if torch.cuda.is_available():
                self._decoder.cuda()
        device = next(self._decoder.parameters()).device
        return self._decoder.decode(latents.to(device)).sample.float().cpu()


def _rows(indices: Any) -> Any:
    return indices.numpy() if isinstance(indices, Tensor) else indices
