"""Autoencoders whose latents are made once and then trained on: bytes or waves in, the posterior of
a latent out, and latents back to pixels or waves. A latent is scaled or standardised as published:

    SD-VAE (AutoencoderKL)       z = 0.18215 x                     [4, H/8, W/8]
    FLUX.2 (AutoencoderKLFlux2)  z = (x - mean) / sqrt(var + eps)  [128, H/16, W/16]
    Wan2.2 (AutoencoderKLWan)    z = (x - mean) / std              [48, 1 + (T - 1)/4, H/16, W/16]
    Oobleck (AutoencoderOobleck) z = x                             [64, samples / 2048]

FLUX.2's numbers are those of 2 x 2 cells together, and mean and variance its batch normalisation's;
Wan2.2's stand in its configuration.

    codec = codec_of("runs/cache/vae/wan22")
    codec.cells((3, 45, 256, 256))        # (48, 12, 16, 16)
    codec.moments(clips)                  # float32 [n, 96, 12, 16, 16]: means, then deviations
    codec.pixels(latents)                 # float32 [n, 3, 45, 256, 256]
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.core.compat import full_float32
from bench.core.data.autoencoders import from_diffusers, weights_hash
from bench.core.store.files import read_json

SCALE = 0.18215
CHANNELS = 4  # of SD-VAE's latents
OF_DECODER = ("decoder.", "post_quant_conv.")  # weights that make no latents
Shape = tuple[int, ...]


class Codec(ABC):
    """One of diffusers' autoencoders, loaded when first used; name: a folder, or a name in
    diffusers' own cache.

    kind: its class in diffusers; module: where that is; word: with which bench.prepare fetches it;
    scale: what its moments are multiplied by, kept as they leave the encoder; axes: of its latents;
    reads: what it encodes, in words.
    """

    kind: ClassVar[str]
    module: ClassVar[str]
    word: ClassVar[str]
    axes: ClassVar[int]
    reads: ClassVar[str]
    scale: ClassVar[float] = 1.0
    at_once: ClassVar[int] = 16  # latents that are decoded together

    def __init__(self, name: str):
        self.name, self._vae, self._in_bf16 = name, None, None
        self._encoder: str | None = None

    def load(self) -> Any:
        """diffusers' network. Raises ValueError saying what is missing and how to get it."""
        if self._vae is None:
            self._vae = from_diffusers(self.module, self.kind, self.name, self.word)
        return self._vae

    # Examples to latents --------------------------------------------------------------------------

    @abstractmethod
    def cells(self, shape: Shape) -> Shape:
        """The shape of a latent, [C, *cells], of an example's, [channels, *axes].

        Raises ValueError for what it cannot encode.
        """

    def numbers(self, examples: Tensor) -> Tensor:
        """Examples as the network reads them: bytes become x / 127.5 - 1."""
        return examples.float() / 127.5 - 1

    def standardised(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """A posterior's mean and deviation as the model is to know them."""
        return mean, std

    def raw(self, latents: Tensor) -> Tensor:
        """What the decoder reads, from what the model knows."""
        return latents

    @full_float32()
    @torch.no_grad()
    def moments(self, examples: Tensor) -> Tensor:
        """Examples [n, channels, *axes] -> mean and standard deviation of the posterior, float32
        [n, 2 C, *cells] on the CPU.
        """
        vae = self.load()
        x = self.numbers(examples.to(next(vae.parameters()).device))
        posterior = vae.encode(x).latent_dist
        return torch.cat(self.standardised(posterior.mean, posterior.std), dim=1).float().cpu()

    # Latents to examples --------------------------------------------------------------------------

    @full_float32()
    @torch.no_grad()
    def pixels(self, latents: Tensor, precision: str = "float32") -> Tensor:
        """Latents [n, C, *cells] as the backbone knows them -> what the decoder makes of them,
        float32 on the CPU: pixels [n, 3, ...] in [-1, 1] and beyond, or waves [n, channels, m].

        precision: float32, or bf16 (weights and arithmetic), as Self-Flow decodes; the pixels are
        float32 again.
        """
        vae = self.load()
        if precision == "bf16":
            vae = self._in_bf16 = self._in_bf16 or copy.deepcopy(vae).to(torch.bfloat16)
        like = next(vae.parameters())
        parts = self.raw(latents).split(self.at_once)
        return torch.cat([vae.decode(part.to(like)).sample.float().cpu() for part in parts])

    # What it is -----------------------------------------------------------------------------------

    def statistics(self) -> Mapping[str, Tensor]:
        """What beside its weights makes latents."""
        return {}

    @property
    def encoder_weights(self) -> str:
        """16 hexadecimal digits of what makes latents: the decoder is left out."""
        if self._encoder is None:
            state = {**self.load().state_dict(), **self.statistics()}
            of_encoder = {k: v for k, v in state.items() if not k.startswith(OF_DECODER)}
            self._encoder = weights_hash(of_encoder)
        return self._encoder

    def facts(self) -> dict[str, object]:
        """What is noted beside latents: name, hash of its encoder, scale, and class."""
        return {
            "name": Path(self.name).name,
            "encoder": self.encoder_weights,
            "scale": self.scale,
            "kind": self.kind,
        }

    def check_encoder(self, vae: Mapping[str, object], root: Path) -> None:
        """Raise ValueError, with both names, where latents were made by an encoder that is not this
        decoder's other half; sd-vae-ft-ema and -mse share theirs.
        """
        if self.encoder_weights != vae["encoder"]:
            raise ValueError(
                f"the latents of {root} were made by {vae['name']} (encoder {vae['encoder']}), and "
                f"data.decoder={self.name} is of another one ({self.encoder_weights}): name the "
                "VAE that made them"
            )

    def record(self) -> dict[str, str]:
        """Name of the VAE and 16 hexadecimal digits of its weights:
        published rows differ in their decoder.
        """
        digest = weights_hash({**self.load().state_dict(), **self.statistics()})
        return {"decoder": Path(self.name).name, "decoder_weights": digest}


class StableDiffusion(Codec):
    """Stable Diffusion's VAE; its moments are kept as they are, and scaled when they are read."""

    kind, module, word = "AutoencoderKL", "autoencoder_kl", "vae=ema"
    axes, reads, scale = 2, "pictures", SCALE

    def cells(self, shape: Shape) -> Shape:
        return CHANNELS, *_divided(shape[1:], 8, "size")

    def raw(self, latents: Tensor) -> Tensor:
        return latents / SCALE

    def facts(self) -> dict[str, object]:
        """Raises ValueError for a VAE whose latents are scaled by another number than `SCALE`."""
        scale = getattr(getattr(self.load(), "config", None), "scaling_factor", SCALE)
        if scale != SCALE:
            raise ValueError(
                f"vae={self.name} scales its latents by {scale}, and here they are scaled by "
                f"{SCALE}: give Stable Diffusion's, python -m bench.prepare vae=ema"
            )
        of_all = super().facts()
        del of_all["kind"]  # which was not noted while there were no others
        return of_all


class Flux2(Codec):
    """FLUX.2's VAE: the numbers of 2 x 2 cells together, standardised by its batch normalisation's
    running mean and variance.
    """

    kind, module, word = "AutoencoderKLFlux2", "autoencoder_kl_flux2", "vae=flux2"
    axes, reads = 2, "pictures"

    def cells(self, shape: Shape) -> Shape:
        config = self.load().config
        high, wide = config.patch_size
        stride = 2 ** (len(config.block_out_channels) - 1)
        channels = config.latent_channels * high * wide
        return channels, *_divided(shape[1:], stride * high, "size")

    def _together(self, x: Tensor) -> Tensor:
        """[n, c, h, w] -> [n, c p p, h / p, w / p], as pixel_unshuffle orders them."""
        return torch.nn.functional.pixel_unshuffle(x, self.load().config.patch_size[0])

    def _running(self, like: Tensor) -> tuple[Tensor, Tensor]:
        vae = self.load()
        mean = vae.bn.running_mean.view(1, -1, 1, 1)
        deviation = (vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps).sqrt()
        return mean.to(like), deviation.to(like)

    def standardised(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        shift, deviation = self._running(mean)
        return (self._together(mean) - shift) / deviation, self._together(std) / deviation

    def raw(self, latents: Tensor) -> Tensor:
        shift, deviation = self._running(latents)
        whole = latents * deviation + shift
        return torch.nn.functional.pixel_shuffle(whole, self.load().config.patch_size[0])


class Wan(Codec):
    """Wan2.2's VAE of videos (and 2.1's), standardised by the mean and deviation of each channel
    that its configuration states. The first frame is a latent frame of its own.
    """

    kind, module, word = "AutoencoderKLWan", "autoencoder_kl_wan", "vae=wan22"
    axes, reads, at_once = 3, "videos", 1

    def cells(self, shape: Shape) -> Shape:
        config = self.load().config
        frames, *sides = shape[1:]
        stride = config.scale_factor_temporal
        if frames <= stride:
            raise ValueError(
                f"frames={frames} is shorter than the stride of {self.name} in time, which makes "
                f"one latent of the first frame and one of each {stride} more: frames={stride + 1} "
                "or more"
            )
        if (frames - 1) % stride:
            fewer = frames - (frames - 1) % stride
            raise ValueError(
                f"frames={frames}: {self.name} encodes 1 + {stride} k frames and would drop the "
                f"last ones: frames={fewer} or {fewer + stride}"
            )
        sides_of = _divided(sides, config.scale_factor_spatial, "size")
        return config.z_dim, 1 + (frames - 1) // stride, *sides_of

    def statistics(self) -> Mapping[str, Tensor]:
        config = self.load().config
        return {
            "latents_mean": torch.tensor(config.latents_mean),
            "latents_std": torch.tensor(config.latents_std),
        }

    def _of_channels(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (x.view(1, -1, 1, 1, 1).to(like) for x in self.statistics().values())
        return mean, std

    def standardised(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        shift, deviation = self._of_channels(mean)
        return (mean - shift) / deviation, std / deviation

    def raw(self, latents: Tensor) -> Tensor:
        shift, deviation = self._of_channels(latents)
        return latents * deviation + shift


class Oobleck(Codec):
    """Stable Audio's VAE of waves [channels, samples]; its latents are neither scaled nor shifted.

    rate: samples a second that it was trained at.
    """

    kind, module, word = "AutoencoderOobleck", "autoencoder_oobleck", "vae=oobleck"
    axes, reads = 1, "sounds"

    @property
    def rate(self) -> int:
        """Samples a second of the waves that it reads and makes."""
        return int(self.load().config.sampling_rate)

    @property
    def channels(self) -> int:
        """Of its waves: 2 of stereo."""
        return int(self.load().config.audio_channels)

    @property
    def stride(self) -> int:
        """Samples of a latent."""
        return int(np.prod(self.load().config.downsampling_ratios))

    def numbers(self, examples: Tensor) -> Tensor:
        return examples.float()

    def cells(self, shape: Shape) -> Shape:
        return self.load().config.decoder_input_channels, shape[1] // self.stride


CODECS: dict[str, type[Codec]] = {
    codec.kind: codec for codec in (StableDiffusion, Flux2, Wan, Oobleck)
}


def codec_of(name: str) -> Codec:
    """The autoencoder of a folder, by the class that its config.json names; SD-VAE's, where there
    is none. Raises ValueError for a class of another kind.
    """
    kind = read_json(Path(name).expanduser() / "config.json").get(
        "_class_name", StableDiffusion.kind
    )
    if kind not in CODECS:
        raise ValueError(
            f"vae={name} is diffusers' {kind}, whose latents are not read here (choices: "
            f"{', '.join(CODECS)}): python -m bench.prepare vae=wan22 fetches one"
        )
    return CODECS[kind](name)


def _divided(sides: Sequence[int], stride: int, key: str) -> Shape:
    if any(side % stride for side in sides):
        shown = "x".join(map(str, sides))
        raise ValueError(
            f"{key}={sides[0]}: {shown} pixels are no multiple of the autoencoder's stride of "
            f"{stride}: {key}={max(stride, sides[0] // stride * stride)}"
        )
    return tuple(side // stride for side in sides)
