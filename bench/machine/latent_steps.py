"""What a run on an autoencoder's latents needs beside what every run does, step by step as
docs/imagenet.md takes them: staged weights, the folder of latents, cached features, samples.

    for finding in staged_weights(cfg): ...
    for finding in folder_of_latents(cfg, data): ...
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from math import prod
from pathlib import Path

from bench.config.recipes import decoded_shape
from bench.config.schema import Config
from bench.core.data.base import DataSet
from bench.core.data.latents import LatentData
from bench.core.model.tokens import TokenGrid
from bench.machine.host import Finding, existing
from bench.machine.resources import VAES, inception, reference, vae

FEATURE_WIDTH = 768  # of a ViT-B, for the size of cached features
NEEDED_BY = "FID of bench.evaluate needs it: python -m bench.prepare"


def on_latents(cfg: Config) -> bool:
    """Whether the data are an autoencoder's latents."""
    return "decoder" in cfg.data.values


def staged_weights(cfg: Config) -> Iterator[Finding]:
    """The VAE, and of pictures of ImageNet's classes Inception and reference statistics."""
    cache, decoder = Path(cfg.cache), str(cfg.data.values["decoder"])
    word = next((word for word, one in VAES.items() if one.repository == decoder), "ema")
    files = vae(word, cache)
    staged = all(resource.found() for resource in files)
    if Path(decoder).expanduser().is_dir():
        yield Finding("ok", "VAE", decoder)
    elif staged:
        folder = files[0].path.parent
        yield Finding("warning", "VAE", f"{folder}: say data.decoder={folder}")
    else:
        yield Finding(
            "warning",
            "VAE",
            f"data.decoder={decoder} is no folder here, and samples are decoded with it: "
            f"python -m bench.prepare vae={word}",
        )
    if not cfg.data.recipe.get("reference"):
        return
    for word, resource in [
        *(("inception=true", one) for one in inception()),
        *(
            (f"reference={name}", one)
            for name in [cfg.data.recipe["reference"]]
            for one in reference(name, cache)
        ),
    ]:
        place = resource.found()
        says = f"{NEEDED_BY} {word}" if place is None else str(place)
        yield Finding("warning" if place is None else "ok", resource.what, says)


def folder_of_latents(data: LatentData) -> Iterator[Finding]:
    """Its index, and whether the decoder is the other half of the encoder that made it."""
    index = data.index
    if index is None:
        says = "no index.json (made by an earlier version): damage is not noticed"
        yield Finding("warning", "latents", says)
        return
    shards = sum(len(split.shards) for split in index.splits.values())
    with_which = ", ".join(f"{name} {version}" for name, version in index.versions.items())
    yield Finding(
        "ok",
        "latents",
        f"{shards} shards by {index.vae['name']} (encoder {index.vae['encoder']}; {with_which}), "
        f"none missing or cut; every byte: python -m bench.latents verify out={data.root}",
    )
    if Path(data.decoder.name).expanduser().is_dir():
        try:
            data.decoder.check_encoder(index.vae, data.root)
        except ValueError as error:
            yield Finding("missing", "decoder", str(error))


def room_of_latents(cfg: Config, data: DataSet | None, grid: TokenGrid) -> Iterator[Finding]:
    """Room for cached features and for samples."""
    count = data.n_train if data else int(cfg.data.recipe["pictures"])
    if cfg.encoder and cfg.compute.cache_features:
        needed = 4.0 * count * grid.tokens * FEATURE_WIDTH
        what = f"of {count} pictures where the encoder is {FEATURE_WIDTH} wide, once for all runs"
        yield _room("cached features", needed, Path(cfg.cache), what)
    samples = cfg.evaluation.samples
    needed = 2.0 * prod(decoded_shape(cfg.data)) * samples
    yield _room("samples", needed, Path(cfg.runs), f"{samples} of them, as blocks and as one file")


def _room(name: str, needed: float, folder: Path, what: str) -> Finding:
    place = existing(folder)
    free = shutil.disk_usage(place).free
    says = f"{needed / 1e9:.3g} GB ({what}), {free / 1e9:.0f} GB free in {place}"
    return Finding("ok" if needed < free else "missing", name, says)
