"""Cached autoencoder latents as a data set: what REPA and its relatives train on at 256 px.

`root/{train,heldout}/`, which `bench.latents` makes, holds moments.npy [n, 8, h, w] (mean, then
standard deviation, of the SD-VAE's posterior), labels.npy [n], and images.npy uint8 [n, 3, H, W]
for methods with an encoder; all are memory-mapped. A latent is drawn afresh each time it is seen:

    z = 0.18215 * (mean + std * noise)
"""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.compat import full_float32, import_vision
from bench.core.data.base import Examples, Indices, PictureData
from bench.core.model.streams import Draw
from bench.core.model.tokens import TokenGrid

SCALE = 0.18215
CHANNELS = 4
AUTOENCODER = "diffusers.models.autoencoders.autoencoder_kl"  # diffusers' own name is lazy
FILES = ("moments.npy", "labels.npy", "images.npy")
SAMPLED = 64  # rows of each file that the fingerprint reads: all would be hours of reading


class LatentData(PictureData):
    """Moments, labels and pictures on disk; decoder: a folder or name of the VAE that diffusers
    loads.
    """

    in_memory = False
    latent = True

    def __init__(self, name: str, root: str | None, patch: int, classes: int, decoder: str):
        if not root:
            raise ValueError(
                f"data={name} needs data.root=DIR with the latents that bench.latents makes "
                "(train/ and heldout/)"
            )
        self.root, self.decoder = Path(root).expanduser(), Decoder(decoder)
        self._moments: dict[str, np.ndarray] = {}
        pictures: dict[str, np.ndarray] = {}
        labels: dict[str, Tensor] = {}
        for split in ("train", "heldout"):
            folder = self.root / split
            missing = [file for file in FILES[:2] if not (folder / file).is_file()]
            if missing:
                raise ValueError(
                    f"data.root={self.root}: {folder} lacks {', '.join(missing)}: "
                    "python -m bench.latents makes them from class folders of pictures"
                )
            moments = self._moments[split] = _load(folder / "moments.npy")
            labels[split] = torch.from_numpy(np.array(_load(folder / "labels.npy"), np.int64))
            if (folder / "images.npy").is_file():
                pictures[split] = _load(folder / "images.npy")
            lengths = {len(part) for part in (moments, labels[split], pictures.get(split, moments))}
            if moments.ndim != 4 or moments.shape[1] != 2 * CHANNELS or len(lengths) > 1:
                raise ValueError(
                    f"data.root={self.root}: "
                    f"{split} has moments {moments.shape}, {len(labels[split])} labels and "
                    f"{len(pictures.get(split, []))} pictures, "
                    "which do not fit together: make it again"
                )
            if not 0 <= int(labels[split].min()) <= int(labels[split].max()) < classes:
                raise ValueError(
                    f"data.root={self.root}: "
                    f"{split} has labels outside 0..{classes - 1}: data.classes=N"
                )
        shape = self._moments["train"].shape
        super().__init__(name, TokenGrid(shape[2:], patch, CHANNELS), classes, {}, labels)
        self._images = pictures
        self.has_pictures = len(pictures) == 2
        digest = hashlib.sha256(repr((shape, self.grid)).encode())
        for split in ("train", "heldout"):
            digest.update(labels[split].numpy().tobytes())
            for part in (self._moments[split], *([pictures[split]] if split in pictures else [])):
                digest.update(
                    repr(part.shape).encode() + part[:: max(1, len(part) // SAMPLED)].tobytes()
                )
        self.fingerprint = digest.hexdigest()[:16]

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        if split not in self._images:
            raise ValueError(
                f"data.root={self.root}: "
                f"{split}/images.npy is missing, and methods with an encoder need the pictures: "
                "python -m bench.latents images=true makes them"
            )
        return torch.from_numpy(np.array(self._images[split][_rows(indices)]))

    def moments(self, split: str, indices: Indices) -> Tensor:
        """Mean and standard deviation as tokens, float32 [n, 2, N, C]."""
        both = torch.from_numpy(np.asarray(self._moments[split][_rows(indices)], np.float32))
        return torch.stack([self.grid.patchify(part) for part in both.chunk(2, dim=1)], dim=1)

    def examples(self, index: Tensor, with_clean: bool) -> Examples:
        image = self.images("train", index) if with_clean else None
        condition = self.conditions("train", index)
        return Examples(index, self.moments("train", index), condition, image)

    def draw(self, stored: Tensor, draw: Draw) -> Tensor:
        """A latent from its moments [B, 2, N, C] and the step's noise: scale (mean + std noise)."""
        return SCALE * (stored[:, 0] + stored[:, 1] * draw.normal(*stored.shape[2:]))

    def tokens(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """The posterior's mean, scaled."""
        return SCALE * self.moments(split, indices)[:, 0]

    def decode(self, tokens: Tensor, precision: str = "float32") -> Tensor:
        return self.decoder.pixels(self.grid.unpatchify(tokens.float()), precision)

    def decoded_by(self) -> dict[str, str]:
        return self.decoder.record()


class Decoder:
    """Stable Diffusion's VAE decoder, loaded when first used; name: a folder, or a name in
    diffusers' own cache.
    """

    def __init__(self, name: str):
        self.name, self._vae, self._in_bf16 = name, None, None

    @full_float32()
    @torch.no_grad()
    def pixels(self, latents: Tensor, precision: str = "float32") -> Tensor:
        """Latents [n, 4, h, w] as the backbone knows them (scaled by 0.18215)
        -> pixels [n, 3, 8 h, 8 w] on the CPU.

        precision: float32, or bf16 (weights and arithmetic), as Self-Flow decodes; the pixels are
        float32 again.
        """
        vae = self.load()
        if precision == "bf16":
            vae = self._in_bf16 = self._in_bf16 or copy.deepcopy(vae).to(torch.bfloat16)
        like = next(vae.parameters())
        decoded = [
            vae.decode(part.to(like)).sample.float().cpu() for part in (latents / SCALE).split(16)
        ]
        return torch.cat(decoded)

    def record(self) -> dict[str, str]:
        """Name of the VAE and 16 hexadecimal digits of its weights:
        published rows differ in their decoder.
        """
        digest = hashlib.sha256()
        for key, value in sorted(self.load().state_dict().items()):
            digest.update(key.encode() + value.cpu().numpy().tobytes())
        return {"decoder": Path(self.name).name, "decoder_weights": digest.hexdigest()[:16]}

    def load(self) -> Any:
        """diffusers' AutoencoderKL. Raises ValueError saying what is missing and how to get it."""
        if self._vae is not None:
            return self._vae
        try:
            AutoencoderKL = import_vision(AUTOENCODER).AutoencoderKL
        except ImportError as error:
            raise ValueError(
                "decoding latents needs diffusers (the optional extra vae): pip install diffusers"
            ) from error
        try:
            # without accelerate diffusers would say that it does as it is told here
            told = {"local_files_only": True, "low_cpu_mem_usage": False}
            vae = AutoencoderKL.from_pretrained(self.name, **told).eval()
        except OSError as error:
            raise ValueError(
                f"the VAE {self.name} is not staged here: "
                "fetch it elsewhere with `python -m bench.prepare vae=ema` "
                "and name its folder in data.decoder"
            ) from error
        self._vae = vae.cuda() if torch.cuda.is_available() else vae
        return self._vae


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): make it again with python -m bench.latents"
        ) from error


def _rows(indices: Indices) -> np.ndarray | slice:
    return indices.numpy() if isinstance(indices, Tensor) else indices
