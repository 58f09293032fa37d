"""What bench.prepare does: fetch files, check those that are there, train local encoders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.config.compose import compose
from bench.config.groups import build
from bench.config.schema import Config
from bench.core.data.mixed import parts_of
from bench.core.data.text_sources import text_resources
from bench.core.store.files import file_hash
from bench.core.store.npm import NpmPackage
from bench.core.store.staging import Resource, command, fetch, recorded_hash, unreachable
from bench.machine import resources

CHOICES_OF = (
    "encoder=NAME, metrics=NAME, data=emoji, inception=true, reference=imagenet256, vae=ema or "
    "text=clip_text"
)


def stage(
    encoder: Sequence[str],
    metrics: Sequence[str],
    inception: bool,
    reference: str | None,
    vae: str | None,
    text: str | None,
    dry_run: bool,
    cache: Path,
    overrides: Sequence[str],
) -> int:
    """0 when all that was asked for is there, else 1; dry_run: fetch and train nothing.

    Raises ValueError where words of a run name nothing to stage.
    """
    package = None
    if not encoder and any(word.startswith("data=") for word in overrides):
        package = resources.data_package(compose(["method=vanilla", *overrides]).data)
    if overrides and not encoder and package is None:
        raise ValueError(f"{' '.join(overrides)}: what should be staged? {CHOICES_OF} (see --help)")
    # what was asked for
    wanted: list[Resource] = []
    to_train: list[Config] = []
    for name in encoder:
        cfg = _configuration(name, overrides, cache)
        assert cfg.encoder is not None
        wanted += resources.encoder_resources(cfg.encoder, cache)
        to_train += [cfg] if resources.trained_here(cfg.encoder) else []
    wanted += [file for name in metrics for file in resources.of_metric(name)]
    wanted += resources.inception() if inception else []
    wanted += resources.reference(reference, cache) if reference else []
    wanted += resources.vae(vae, cache) if vae else []
    wanted += text_resources(text, cache) if text else []
    if not wanted and not to_train and package is None:
        named = f"encoder={','.join(encoder)} needs nothing from outside"
        print(f"nothing to stage: {named if encoder else f'give {CHOICES_OF}'}")
    # each in turn
    missing = sum(not _stage(resource, dry_run) for resource in wanted)
    for cfg in to_train:
        _train(cfg, dry_run)
    if package is not None:
        missing += not _stage_package(package, cache, dry_run)
    return 1 if missing else 0


def _configuration(name: str, words: Sequence[str], cache: Path) -> Config:
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


def _stage_package(package: NpmPackage, cache: Path, dry: bool) -> bool:
    what = f"{package.name} {package.version}"
    if dry and not package.place(cache).is_dir():
        print(f"missing  {what}: not at {package.place(cache)}; {package.command}")
        return False
    try:
        print(f"there    {what}: {package.fetch(cache)}")
    except ValueError as error:
        print(f"missing  {what}: {error}")
        return False
    return True


def _train(cfg: Config, dry: bool) -> None:
    assert cfg.encoder is not None
    if dry:
        print(
            f"trained  {(cfg.encoder.inner or cfg.encoder).name}: "
            f"on {cfg.data.name}, when it is asked for, into {cfg.cache}"
        )
        return
    option = cfg.encoder.inner or cfg.encoder
    for data in parts_of(build(cfg.data, cache=Path(cfg.cache))).values():
        encoder = build(option, token_grid=data.grid.seen, dataset=data, cache=Path(cfg.cache))
        found = encoder.heldout_probe
        print(
            f"there    {encoder.name} on {data.name}: held-out probe {found['accuracy']:.3f} "
            f"({found['interval_95'][0]:.3f} to {found['interval_95'][1]:.3f}), "
            f"raw pixels {found['raw_pixels']:.3f}; "
            f"in {cfg.cache}/encoders"
        )
