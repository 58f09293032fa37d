"""Stage what a machine without a network will need:
`python -m bench.prepare encoder=dinov2_g inception=true`.

Run it where there is a network and on the same caches, or copy them over. Every file arrives whole
or not at all, once however many processes ask; its SHA-256 is printed and written beside it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from bench.cli import guarded
from bench.config.schema import Config, Option
from bench.core.store.staging import Resource, command, fetch, recorded_hash, unreachable

HELP = """\
usage: python -m bench.prepare [encoder=NAME[,NAME...]] [inception=true] [reference=imagenet256|imagenet512]
                               [vae=ema|mse] [dry_run=true] [cache=DIR] [KEY=VALUE ...] [--help]

Fetch what a machine without a network will need, check it, and say where it lies.
  encoder=NAME     code and weights of an encoder (bench/conf/encoder); local_s|m|l are trained on the data instead
  inception=true   Inception's weights, for FID, sFID, IS, precision, recall and KID (91 MB)
  reference=...    ADM's reference statistics (2 GB for imagenet256), into CACHE/reference
  vae=ema          the VAE that decodes ImageNet latents, into CACHE/vae; name its folder in data.decoder
  dry_run=true     say what is there and what is missing, with the commands that would fetch it
  cache=DIR        of things that belong to no other cache (default runs/cache)
Other words are those of bench.run: encoder.ref=..., data=cifar10 data.root=DIR (what a local encoder is trained on).

Files go where they are looked for: $TORCH_HOME/hub (default ~/.cache/torch/hub) and its checkpoints/.

Examples:
  python -m bench.prepare encoder=dinov2_b,dinov2_g inception=true reference=imagenet256 vae=ema
  python -m bench.prepare encoder=timm encoder.name=vit_base_patch16_dinov3.lvd1689m
  python -m bench.prepare encoder=dinov2_g dry_run=true"""

ADM = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet"
REFERENCES = {
    "imagenet256": f"{ADM}/256/VIRTUAL_imagenet256_labeled.npz",
    "imagenet512": f"{ADM}/512/VIRTUAL_imagenet512.npz",
}
VAES = ("ema", "mse")
VAE_FILES = {"config.json": 0.01, "diffusion_pytorch_model.safetensors": 335}
OWN = ("inception", "reference", "vae", "dry_run", "cache")


def inception() -> list[Resource]:
    """torch-fidelity's Inception weights."""
    from probes.extractors.inception import resource

    return [resource()]


def reference(name: str, cache: Path) -> list[Resource]:
    """ADM's reference statistics. Raises ValueError for an unknown name."""
    if name not in REFERENCES:
        raise ValueError(f"reference={name} is unknown (choices: {', '.join(REFERENCES)})")
    url = REFERENCES[name]
    return [
        Resource(f"ADM's statistics of {name}", cache / "reference" / url.rsplit("/", 1)[1], url)
    ]


def vae(name: str, cache: Path) -> list[Resource]:
    """Stable Diffusion's VAE as a folder for diffusers. Raises ValueError for an unknown name."""
    name = "ema" if name == "true" else name
    if name not in VAES:
        raise ValueError(f"vae={name} is unknown (choices: {', '.join(VAES)})")
    base = f"https://huggingface.co/stabilityai/sd-vae-ft-{name}/resolve/main"
    folder = cache / "vae" / f"sd-vae-ft-{name}"
    return [
        Resource(f"sd-vae-ft-{name}'s {file}", folder / file, f"{base}/{file}", size)
        for file, size in VAE_FILES.items()
    ]


def encoder_resources(option: Option, cache: Path) -> list[Resource]:
    """What an encoder needs from outside, by the `resources` of its module;
    nothing for one that is trained here.
    """
    module = importlib.import_module(option.target.partition(":")[0])
    find = getattr(module, "resources", None)
    return find(option.values, cache) if find else []


def trained_here(option: Option) -> bool:
    """Whether the harness trains this encoder itself."""
    return not hasattr(importlib.import_module(option.target.partition(":")[0]), "resources")


def main(argv: list[str]) -> int:
    """The command: 0 when all that was asked for is there, else 1.

    Raises ValueError for bad input.
    """
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    words = [word.partition("=")[::2] for word in argv]
    own = {key: value for key, value in words if key in OWN}
    if bad := [
        f"{key}={own[key]}"
        for key in ("inception", "dry_run")
        if own.get(key, "true") not in ("true", "false")
    ]:
        raise ValueError(f"{bad[0]}: write true or false")
    cache = Path(own.get("cache", "runs/cache")).expanduser()
    names = [name for key, value in words if key == "encoder" for name in value.split(",")]
    rest = [f"{key}={value}" for key, value in words if key not in OWN and key != "encoder"]
    if rest and not names:
        raise ValueError(
            f"{' '.join(rest)}: what should be staged? encoder=NAME, inception=true, "
            "reference=imagenet256 or "
            "vae=ema (see --help)"
        )
    wanted: list[Resource] = []
    to_train: list[Config] = []
    for name in names:
        cfg = _configuration(name, rest, cache)
        assert cfg.encoder is not None
        wanted += encoder_resources(cfg.encoder, cache)
        to_train += [cfg] if trained_here(cfg.encoder) else []
    wanted += inception() if own.get("inception") == "true" else []
    wanted += reference(own["reference"], cache) if "reference" in own else []
    wanted += vae(own["vae"], cache) if "vae" in own else []
    if not wanted and not to_train:
        needed = (
            "needs nothing from outside"
            if names
            else "names nothing: encoder=NAME, inception=true, reference=..., vae=ema"
        )
        print(f"nothing to stage: {' '.join(argv)} {needed}")
    dry = own.get("dry_run") == "true"
    missing = sum(not _stage(resource, dry) for resource in wanted)
    for cfg in to_train:
        _train(cfg, dry)
    return 1 if missing else 0


def _configuration(name: str, words: list[str], cache: Path) -> Config:
    from bench.config.compose import compose

    method = [] if any(word.startswith("method=") for word in words) else ["method=repa"]
    return compose([*method, f"encoder={name}", f"cache={cache}", *words])


def _stage(resource: Resource, dry: bool) -> bool:
    place = resource.found()
    if place is None and not dry and resource.url:
        if problem := unreachable(resource.url):
            print(f"missing  {resource.what}: {problem}; elsewhere: {command(resource)}")
            return False
        place = fetch(resource)
    if place is None:
        print(
            f"missing  {resource.what}: not at {resource.path}"
            + (f"; {command(resource)}" if resource.url else "")
        )
        return False
    from bench.core.store.files import file_hash

    digest = (
        recorded_hash(place) if place.is_file() else ""
    )  # an archive's is of the file that was unpacked
    if digest and file_hash(place) != digest:
        print(
            f"damaged  {resource.what}: {place} does not have the SHA-256 beside it: "
            "remove both and run this again"
        )
        return False
    print(f"there    {resource.what}: {place}" + (f" (SHA-256 {digest})" if digest else ""))
    return True


def _train(cfg: Config, dry: bool) -> None:
    assert cfg.encoder is not None
    if dry:
        print(
            f"trained  {cfg.encoder.name}: "
            f"on {cfg.data.name}, when it is asked for, into {cfg.cache}"
        )
        return
    from bench.config.groups import build

    data = build(cfg.data)
    encoder = build(cfg.encoder, token_grid=data.grid, dataset=data, cache=Path(cfg.cache))
    found = encoder.heldout_probe
    print(
        f"there    {encoder.name} on {data.name}: held-out probe {found['accuracy']:.3f} "
        f"({found['interval_95'][0]:.3f} to {found['interval_95'][1]:.3f}), "
        f"raw pixels {found['raw_pixels']:.3f}; "
        f"in {cfg.cache}/encoders"
    )


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
