"""Autoencoders as diffusers keeps them, from folders that were staged, and what they are known by:
hashes of their weights.

    vae = from_diffusers("autoencoder_kl", "AutoencoderKL", "vae/sd-vae-ft-ema", "vae=ema")
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.core.compat import import_vision

MODULES = "diffusers.models.autoencoders"  # diffusers' own names are lazy


def from_diffusers(module: str, kind: str, name: str, word: str) -> Any:
    """An autoencoder, on the GPU where there is one. kind: its class in a module of diffusers;
    name: a folder, or a name in diffusers' own cache; word: with which bench.prepare fetches it.

    Raises ValueError saying what is missing and how to get it.
    """
    try:
        made = getattr(import_vision(f"{MODULES}.{module}"), kind)
    except ImportError as error:
        raise ValueError(
            "decoding latents needs diffusers (the optional extra vae): pip install diffusers"
        ) from error
    try:
        # without accelerate diffusers would say that it does as it is told here
        told = {"local_files_only": True, "low_cpu_mem_usage": False}
        with warnings.catch_warnings(action="ignore"):  # of one library about another's words
            vae = made.from_pretrained(name, **told).eval()
    except OSError as error:
        raise ValueError(
            f"the VAE {name} is not staged here: "
            f"fetch it elsewhere with `python -m bench.prepare {word}` "
            "and name its folder in data.decoder"
        ) from error
    return vae.cuda() if torch.cuda.is_available() else vae


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of all names and tensors."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(key.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
