"""Latents of a representation autoencoder (RAE, arXiv 2510.11690): patch tokens of a frozen
encoder, each number standardised, and a decoder trained to turn them back into pictures.

    z = (f(x) - mean) / std         DINOv2-B with registers at 224 px: 256 tokens of 768 numbers

Class folders of pictures are cropped as ADM does and encoded each time they are seen, as the public
code does it: a latent takes four times its picture's bytes. With flips the mirror image of each
training picture is one more example.

    python -m bench.prepare vae=rae_dinov2_b
    python -m bench.run data=imagenet256_rae data.root=ILSVRC2012 method=selfflow \\
        data.decoder=runs/cache/vae/rae_dinov2_b
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from bench.core.compat import full_float32
from bench.core.data.autoencoders import from_diffusers, weights_hash
from bench.core.data.base import Examples, Indices
from bench.core.data.class_folders import ClassFolders
from bench.core.data.folder import PICTURE
from bench.core.data.originals import adm_crop
from bench.core.data.pictures import read_picture
from bench.core.model.streams import Draw
from bench.core.model.tokens import TokenGrid

AT_ONCE = 16  # pictures that are encoded or decoded together where nobody says how many


class _Config(Protocol):
    encoder_input_size: int
    encoder_patch_size: int
    encoder_hidden_size: int


class _Latent(Protocol):
    latent: Tensor


class _Sample(Protocol):
    sample: Tensor


class _Network(Protocol):
    """diffusers' AutoencoderRAE: pixels [n, 3, S, S] in 0..1 to latents [n, C, h, w] and back."""

    config: _Config
    decoder_image_size: int

    def encode(self, x: Tensor) -> _Latent: ...
    def decode(self, z: Tensor) -> _Sample: ...
    def to(self, device: torch.device) -> _Network: ...
    def parameters(self) -> Iterator[Tensor]: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...


class RepresentationAutoencoder:
    """A frozen encoder and its decoder, loaded when first used; name: a folder, or a name in
    diffusers' own cache.
    """

    word = "vae=rae_dinov2_b"

    def __init__(self, name: str):
        self.name = name
        self._vae: _Network | None = None

    def __getstate__(self) -> dict[str, object]:
        """Processes that read pictures need no network."""
        return {"name": self.name, "_vae": None}

    def load(self) -> _Network:
        """diffusers' AutoencoderRAE. Raises ValueError saying what is missing and how to get it."""
        if self._vae is not None:
            return self._vae
        if importlib.util.find_spec("transformers") is None:
            raise ValueError(
                "a representation autoencoder's encoder is transformers' (the optional extra rae): "
                "pip install diffusers transformers"
            )
        network = from_diffusers("autoencoder_rae", "AutoencoderRAE", self.name, self.word)
        self._vae = network.requires_grad_(False)
        return network

    @property
    def grid(self) -> TokenGrid:
        """One token a place of the encoder's."""
        config = self.load().config
        side = config.encoder_input_size // config.encoder_patch_size
        return TokenGrid((side, side), 1, config.encoder_hidden_size)

    @property
    def side(self) -> int:
        """Pixels of a side of the pictures that the decoder makes."""
        return self.load().decoder_image_size

    @full_float32()
    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 [n, 3, S, S] -> latents float32 [n, C, h, w], on the pictures' device."""
        vae = self.load().to(pictures.device)
        with torch.autocast(pictures.device.type, enabled=False):
            return vae.encode(pictures.float() / 255).latent

    @full_float32()
    @torch.no_grad()
    def pixels(self, latents: Tensor, precision: str = "float32") -> Tensor:
        """Latents [n, C, h, w] -> pixels float32 [n, 3, S, S] in [-1, 1] and beyond, on the CPU.

        precision: of the arithmetic, float32 or bf16 (autocast).
        """
        vae = self.load()
        device = next(vae.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            parts = [vae.decode(part.to(device)).sample for part in latents.split(AT_ONCE)]
        return 2 * torch.cat([part.float().cpu() for part in parts]) - 1

    @cached_property
    def encoder_weights(self) -> str:
        """16 hexadecimal digits of what makes latents: encoder, and mean and deviation of each of
        its numbers.
        """
        state = self.load().state_dict()
        return weights_hash({k: v for k, v in state.items() if not k.startswith("decoder.")})

    def record(self) -> dict[str, str]:
        """Its name and 16 hexadecimal digits of all its weights."""
        digest = weights_hash(self.load().state_dict())
        return {"decoder": Path(self.name).name, "decoder_weights": digest}


class RepresentationData(ClassFolders):
    """Pictures in class folders; tokens are made of them by the autoencoder when they are asked
    for. size: pixels of a side; flips: mirror images as n further training examples.
    """

    kind = PICTURE
    latent = True

    def __init__(
        self,
        name: str,
        root: str | None,
        size: int,
        decoder: str,
        flips: bool,
        heldout: float,
        skip_damaged: bool,
        in_memory: bool | None,
        *,
        cache: Path | None = None,
    ):
        self.side, self.decoder = size, RepresentationAutoencoder(decoder)
        grid = self.decoder.grid
        if size != self.decoder.side:
            raise ValueError(
                f"data.size={size}: {decoder} makes pictures of {self.decoder.side} pixels a side, "
                f"and measuring compares like with like: data.size={self.decoder.side}"
            )
        shape, read_as = (3, size, size), f"ADM's crop, {size}"
        super().__init__(
            name, root, grid, shape, read_as, heldout, skip_damaged, in_memory, cache=cache
        )
        pictures = self.fingerprint
        self._pictures_of_train = len(self._labels["train"])
        if flips:
            self._labels["train"] = self._labels["train"].repeat(2)
        content = repr((pictures, self.decoder.encoder_weights, flips))
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]

    def read(self, path: Path) -> Tensor:
        try:
            cropped = adm_crop(read_picture(path, self.side), self.side)
        except ValueError as error:
            raise ValueError(f"{error}, or allow data.skip_damaged=true") from error
        return torch.from_numpy(cropped.transpose(2, 0, 1).copy())

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        which = torch.arange(self.size(split))[indices]
        count = self._pictures_of_train if split == "train" else self.size(split)
        pictures, mirrored = super().images(split, which % count), which >= count
        return torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)

    def examples(self, index: Tensor, with_clean: bool) -> Examples:
        image, condition = self.images("train", index), self.conditions("train", index)
        return Examples(index, image, condition, image if with_clean else None)

    def draw(self, stored: Tensor, draw: Draw) -> Tensor:
        """Tokens of pictures: nothing is drawn, and a GPU does it where there is one."""
        return self.to_tokens(stored)

    def to_tokens(self, images: Tensor) -> Tensor:
        return self.grid.patchify(self.decoder.encode(images))

    def tokens(self, split: str, indices: Indices = slice(None)) -> Tensor:
        device = next(self.decoder.load().parameters()).device
        which = torch.arange(self.size(split))[indices]
        parts = [self.images(split, part) for part in which.split(AT_ONCE)]
        return torch.cat([self.to_tokens(part.to(device)).cpu() for part in parts])

    def decode(self, tokens: Tensor, precision: str = "float32") -> Tensor:
        return self.decoder.pixels(self.grid.unpatchify(tokens.float()), precision)

    def decoded_by(self) -> dict[str, str]:
        return self.decoder.record()
