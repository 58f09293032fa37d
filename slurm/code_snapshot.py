"""A copy of the code that queued jobs run, so that editing the checkout does not change them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from bench.core.store.cache import cached_folder
from bench.core.store.environment import git_commit

PACKAGES = ("bench", "methods", "probes", "reports", "slurm")
ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def files() -> list[Path]:
    """Every file of the packages, sorted."""
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            hidden = any(
                part == "__pycache__" or part.startswith(".")
                for part in path.relative_to(ROOT).parts
            )
            if path.is_file() and not hidden and path.suffix != ".pyc":
                found.append(path)
    return sorted(found)


def take(folder: Path) -> Path:
    """Copy the code to `folder`/code-<hash> and return that; the same code is copied once."""
    digest = hashlib.sha256()
    for path in files():
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")

    def copy(to: Path) -> None:
        for package in PACKAGES:
            shutil.copytree(ROOT / package, to / package, ignore=LEFT_OUT)
        (to / "COMMIT").write_text(git_commit() + "\n", encoding="utf-8")

    return cached_folder(folder / f"code-{digest.hexdigest()[:12]}", copy)
