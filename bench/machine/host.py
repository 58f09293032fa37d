"""The machine that this runs on: processor, memory within the container's limit, GPUs, disk,
SLURM.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """state: ok, warning, missing or -; what: the thing; says: in words."""

    state: str
    what: str
    says: str


def machine(runs: Path) -> Iterator[Finding]:
    """Processor, memory, GPUs, and the disk that the run folders are on."""
    import torch

    yield Finding(
        "ok",
        "processor",
        f"{platform.machine()}, {cores()} cores usable, {torch.get_num_threads()} PyTorch threads",
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
            absent,
            "SLURM",
            "no sbatch on the path" + ("" if needed else ": compute=slurm is not possible here"),
        )
    try:
        found = subprocess.run(
            ["sinfo", "-h", "-o", "%P %a %D"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(absent, "SLURM", f"sinfo does not answer ({error})")
    if found.returncode:
        return Finding(
            absent, "SLURM", f"installed, but sinfo fails: {found.stderr.splitlines()[0][:100]}"
        )
    return Finding("ok", "SLURM", "partitions " + ", ".join(found.stdout.splitlines()))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> tuple[int, int]:
    """(total, available) bytes, within the container's limit where there is one;
    (0, 0) where it cannot be told.
    """
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        lines = dict(line.split(":", 1) for line in text.splitlines())
        total, free = (1024 * int(lines[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return 0, 0
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no limit says "max"
        return total, free
    return min(total, limit), min(free, limit - used)


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.expanduser().absolute()
    return next(place for place in (path, *path.parents) if place.exists())
