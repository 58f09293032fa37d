"""Where the weights of a run lie, by the names of files alone: nothing here reads one, or needs
PyTorch, which `bench.core.store.checkpoints` does.

checkpoints/ckpt-<images>-<sha256, 16 digits>.pt     what a run resumes from
snapshots/<images>.safetensors                       the EMA backbone, kept for good
"""

from __future__ import annotations

import re
from pathlib import Path

CHECKPOINT_NAME = re.compile(r"ckpt-(\d{12})-([0-9a-f]{16})\.pt")


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoint files by images, oldest first."""
    return sorted(path for path in folder.glob("ckpt-*.pt") if CHECKPOINT_NAME.fullmatch(path.name))


def snapshot_path(run_dir: Path, images: int) -> Path:
    """Where the EMA backbone at `images` lies."""
    return run_dir / "snapshots" / f"{images:012d}.safetensors"


def snapshots(run_dir: Path) -> dict[int, Path]:
    """{images: path} of the run's snapshots, in order."""
    return {int(path.stem): path for path in sorted((run_dir / "snapshots").glob("*.safetensors"))}
