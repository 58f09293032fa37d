"""Whether a run with given words could start on this machine: encoder, data, method, memory, disk.

for finding in configuration(["method=selfflow", "size=L"]): ...
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from bench.config.compose import compose
from bench.config.groups import build, encoder_option
from bench.config.identity import run_id
from bench.config.needs import missing
from bench.config.parts import part_configs
from bench.config.recipes import shape_of
from bench.config.schema import Config
from bench.core.compat import import_vision
from bench.core.data.base import DataSet, described
from bench.core.data.latents import LatentData
from bench.core.data.mixed import Mixed, parts_of
from bench.core.model.backbone import SiT
from bench.core.model.conditions import Condition
from bench.core.model.sizes import Size
from bench.core.model.tokens import TokenGrid
from bench.core.train import cost
from bench.core.train.distributed import Processes
from bench.machine import latent_steps
from bench.machine.estimate import BYTES_PER_PARAMETER, estimate, what_cannot_fit
from bench.machine.host import Finding, existing, memory_bytes, slurm
from bench.machine.resources import encoder_finding, metric_findings, trained_here
from bench.machine.software import installed_version


def vision() -> Finding:
    """Whether torchvision, which timm and torch-fidelity import, fits this torch."""
    try:
        import_vision("timm")
    except (ImportError, RuntimeError) as error:
        return Finding(
            "missing",
            "torchvision",
            f"timm cannot be imported ({str(error).splitlines()[0]}): "
            "install torchvision for this torch",
        )
    version = installed_version("torchvision") or "?"
    return Finding("ok", "torchvision", f"{version}, timm imports")


def configuration(words: list[str]) -> Iterator[Finding]:
    """Whether a run with these words could start here.

    Raises ValueError for words that bench.run refuses.
    """
    cfg = compose(words)
    yield Finding("ok", "run", f"{run_id(cfg)}: {cfg.images} images, batch {cfg.batch}")
    if cfg.compute.name == "slurm":
        yield slurm(needed=True)
    if cfg.compute.device == "cuda" and not torch.cuda.is_available():
        yield Finding("missing", "GPU", "compute.device=cuda and PyTorch sees none")
    if cfg.encoder:
        yield encoder_finding(cfg.encoder, Path(cfg.cache), needed=True)
    # what is measured, and through which networks
    if cfg.measure != "none":
        read = [one.evaluation for one in part_configs(cfg).values()]
        said = cfg.evaluation.settings
        for name in dict.fromkeys(name for one in read for name in one.metrics):
            yield from metric_findings(name, Path(cfg.cache), needed=True, said=said)
        for name in dict.fromkeys(name for one in read for name in one.encoders):
            if not trained_here(option := encoder_option(name)):
                yield encoder_finding(option, Path(cfg.cache), needed=True)
    if latent_steps.on_latents(cfg):
        yield from latent_steps.staged_weights(cfg)

    # the data; of latents that are not here the recipe tells what training them would take
    data: DataSet | Mixed | None = None
    try:
        data = build(cfg.data, cache=Path(cfg.cache))
    except ValueError as error:
        yield Finding("missing", f"data {cfg.data.name}", str(error))
    if data is None and not latent_steps.on_latents(cfg):
        return
    if data is None:
        known = shape_of(cfg.data)
        assert known is not None, "the recipe of latents says their shape"
        grid, condition = known
    else:
        grid, condition = data.grid, data.condition
        for (name, own), part in zip(
            part_configs(cfg).items(), parts_of(data).values(), strict=True
        ):
            what = f"{described(part)}; {part.grid.tokens} tokens each"
            yield Finding("ok", f"data {name or part.name}", what)
            if isinstance(part, LatentData):
                yield from latent_steps.folder_of_latents(part)
            for problem in missing(own, part):
                yield Finding("missing", "measuring", problem)
    if latent_steps.on_latents(cfg) and not isinstance(data, Mixed):
        yield from latent_steps.room_of_latents(cfg, data, grid)

    # memory, disk and time
    gpu = torch.cuda.is_available() and cfg.compute.device != "cpu"
    device = torch.device("cuda" if gpu else "cpu")
    least = estimate(cfg, grid, condition, Processes(0, 1, device))
    lacks = what_cannot_fit(least, Path(cfg.runs), device)
    if lacks and cfg.compute.name != "slurm":  # whose jobs may run on another machine
        state = "warning" if cfg.anyway else "missing"
        yield Finding(state, "estimate", f"it takes at least {'; '.join(lacks)}")
        return
    size = cfg.size
    parameters = (
        _parameters(grid, size, condition)
        if cfg.encoder or cfg.data.parts
        else cost.count(build(cfg.method), grid, size, condition).parameters["backbone"]
    )
    yield from room(cfg, parameters)


def _parameters(grid: TokenGrid, size: Size, condition: Condition) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in SiT(grid, size, condition).parameters())


def room(cfg: Config, parameters: int) -> Iterator[Finding]:
    needed = BYTES_PER_PARAMETER * parameters
    gpu = torch.cuda.is_available() and cfg.compute.device != "cpu"
    free = torch.cuda.mem_get_info()[0] if gpu else memory_bytes()[1]
    says = (
        f"{parameters / 1e6:.1f}M parameters: "
        f"{needed / 1e9:.1f} GB without activations, {free / 1e9:.1f} GB free"
    )
    state = "ok" if not free or needed < 0.8 * free else "warning" if needed < free else "missing"
    yield Finding(
        state,
        "GPU memory" if gpu else "memory",
        says + ("" if state == "ok" else ": a smaller size="),
    )
    if parameters > 100e6 and not gpu:
        yield Finding(
            "warning",
            "speed",
            "more than 100M parameters without a GPU: days, unless images= is small",
        )
    disk = 4 * parameters * (3 * 4 + cfg.snapshots + 1)
    place = existing(Path(cfg.runs))
    free = shutil.disk_usage(place).free
    says = f"{disk / 1e9:.2f} GB for checkpoints and snapshots, {free / 1e9:.0f} GB free in {place}"
    yield Finding(
        "ok" if disk < free else "missing",
        "disk",
        says + ("" if disk < free else ": snapshots=..., or runs=DIR elsewhere"),
    )
