"""Where a run ran: versions, device, code. Stored in env.json and with every result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.store.files import Json

if TYPE_CHECKING:
    import torch

RECORDED_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "timm",
    "torch-fidelity",
    "safetensors",
    "hydra-core",
)


def versions() -> dict[str, str]:
    """Installed versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def git_commit() -> str:
    """The commit of this code, with "+" when files are changed; "unknown" outside a checkout."""
    here = Path(__file__).parent
    copied = here.parents[2] / "COMMIT"  # in the copy of the code that a cluster's jobs run
    if copied.exists():
        return copied.read_text(encoding="utf-8").strip()
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--abbrev=12", "--dirty=+"]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def environment(device: torch.device, threads: int) -> Json:
    """Versions, device, processor and code."""
    import torch

    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "versions": versions(),
        "commit": git_commit(),
        "device": device.type,
        "device_name": name,
        "threads": threads,
        "cores": os.cpu_count(),
        "host": socket.gethostname(),
        "platform": sys.platform,
    }
