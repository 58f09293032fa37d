"""Latents of other autoencoders than Stable Diffusion's, and of pictures with captions: what a
folder of `bench.latents` is read as, by its data set in bench/conf/data.

    python -m bench.run data=clips_wan22 data.root=clip_latents data.decoder=runs/cache/vae/wan22
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import Heard, Indices, Waves
from bench.core.data.clips import VIDEO
from bench.core.data.codecs import Flux2, Oobleck, Wan
from bench.core.data.latents import LatentData
from bench.core.data.shards import TEXTS_FILE
from bench.core.data.sounds import SOUND
from bench.core.data.sources import from_utf8
from bench.core.data.spectrogram import Spectrogram
from bench.core.model.conditions import PAD, Bytes, Prompts


class Flux2Latents(LatentData):
    """Pictures of classes as FLUX.2's latents, 16 x 16 tokens of 128 numbers at 256 pixels."""

    codec = Flux2


class ClipLatents(LatentData):
    """Videos as Wan2.2's latents, [48, 1 + (T - 1)/4, H/16, W/16]; a token is a cell."""

    codec = Wan
    noun = VIDEO.one


class SoundLatents(LatentData):
    """Recordings as Oobleck's latents, [64, n]; a token is one. Encoders and distances read log-mel
    spectrograms of one frame a latent, of samples too: of the waves that are decoded.
    """

    codec = Oobleck
    noun = SOUND.one

    @property
    def spectrogram(self) -> Spectrogram:
        """As `bench.core.data.originals` kept it."""
        assert self.index is not None, "sounds were never kept without one"
        said = self.index.made_from["spectrogram"]
        assert isinstance(said, dict)
        return Spectrogram(**said)

    def decode(self, tokens: Tensor, precision: str = "float32") -> Tensor:
        waves = super().decode(tokens, precision)
        return 2 * self.spectrogram.levels(waves.mean(dim=1)) - 1

    def heard(self, tokens: Tensor) -> Heard:
        waves = super().decode(tokens).mean(dim=1)
        return Heard(torch.nan_to_num(waves).clamp(-1, 1), self.spectrogram.rate)

    def waves(self, split: str, indices: Indices = slice(None)) -> Waves:
        """As the autoencoder gives them back: the recordings themselves are not kept."""
        samples, rate = self.heard(torch.as_tensor(self.tokens(split, indices)))
        tokens = self.grid.tokens
        middles = (torch.arange(tokens, dtype=torch.float64) + 0.5) / tokens
        return Waves(samples, rate, middles * samples.shape[1] / rate)


class CaptionedLatents(LatentData):
    """Pictures with captions as SD-VAE's latents, told the captions' bytes; samples are asked for
    the held-out captions. length: bytes of a caption that a model is told, the first.

    Raises ValueError for a folder without captions.
    """

    def __init__(
        self,
        name: str,
        root: str | None,
        patch: int,
        length: int,
        decoder: str,
        shards_at_once: int = 0,
    ):
        self.length, self.texts = length, dict[str, Sequence[str]]()
        super().__init__(name, root, patch, 2**31, decoder, shards_at_once)
        cut = 0
        for split in ("train", "heldout"):
            path = self.root / split / TEXTS_FILE
            if not path.is_file():
                raise ValueError(
                    f"data.root={self.root} has no captions ({path.name} in {split}/): python -m "
                    "bench.latents captions=DIR makes latents with them, and data=imagenet256 "
                    "reads those without"
                )
            self.texts[split] = from_utf8(np.load(path))
            cut += sum(len(text.encode()) > length for text in self.texts[split])
        self.classes = 1 + max(int(labels.max()) for labels in self._labels.values())
        self.remarks = [f"captions, of which {length} bytes are told; {cut} are longer"]

    @property
    def condition(self) -> Bytes:
        return Bytes(self.length)

    def conditions(self, split: str, indices: Indices = slice(None)) -> Tensor:
        rows, _ = self._places(split, indices)
        texts = self.texts[split]
        return self.told([texts[int(row)] for row in rows])

    def told(self, texts: Sequence[str]) -> Tensor:
        """The first bytes of texts, int64 [n, length]."""
        found = torch.full((len(texts), self.length), PAD)
        for row, text in zip(found, texts, strict=True):
            content = list(text.encode()[: self.length])
            row[: len(content)] = torch.tensor(content)
        return found

    @property
    def prompts(self) -> Prompts:
        """The held-out captions, which no training picture has."""
        texts = tuple(self.texts["heldout"])
        return Prompts(self.told(texts), self.labels("heldout"), self.condition.null, texts)


class CaptionedFlux2Latents(CaptionedLatents):
    """The same as FLUX.2's latents."""

    codec = Flux2
