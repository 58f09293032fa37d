"""Run folders as others may have them: what a page reads, without checkpoints and without the names
of this machine.

    copy_run(Path("runs/digits-vanilla-nano-s0-1a2b3c4d"), copies / "one", "runs")
    pack_runs(copies, out)                                        # out/runs.tar.xz
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

from bench.core.store.runs import RUN_FILES

ARCHIVE = "runs.tar.xz"
TRAINED = ("extractors", "encoders")  # folders of a cache
LARGEST_NETWORK = 4_000_000  # of one network: larger ones are staged, not trained on the spot


def anonymous(content: object, runs: str) -> object:
    """The same JSON without the folder of the runs, of other absolute paths the last part,
    and no host or process.
    """
    if isinstance(content, dict):
        return {
            key: anonymous(value, runs)
            for key, value in content.items()
            if key not in ("host", "pid", "started")
        }
    if isinstance(content, list):
        return [anonymous(value, runs) for value in content]
    if not isinstance(content, str):
        return content
    content = content.replace(runs, "runs")
    key, equals, value = content.rpartition("=")  # a word of the command, or a plain value
    return f"{key}{equals}{Path(value).name}" if value.startswith("/") else content


def copy_run(run: Path, to: Path, runs: str, grids: int = 1) -> None:
    """The files of one run that a page reads, anonymous; grids: of its sample pictures the last so
    many.
    """
    to.mkdir(parents=True)
    for path in [*(run / name for name in RUN_FILES), *sorted((run / "results").glob("*.json"))]:
        if not path.exists():
            continue
        target = to / path.relative_to(run)
        target.parent.mkdir(exist_ok=True)
        if path.suffix == ".jsonl":
            shutil.copy(path, target)
        else:
            target.write_text(
                json.dumps(anonymous(json.loads(path.read_text(encoding="utf-8")), runs), indent=1),
                encoding="utf-8",
            )
    kinds = {
        "grid-*.png": grids,
        "features_pca-*": 1,
        "real.png": 1,
        **dict.fromkeys(("grid-*.wav", "real.wav", "grid-*.apng", "real.apng"), 1),
    }
    # those of the whole, and those of each part of data of several kinds
    for folder in (run / "samples", *sorted(run.glob("parts/*/samples"))):
        pictures, target = folder.glob, to / folder.relative_to(run)
        for path in [path for kind, n in kinds.items() for path in sorted(pictures(kind))[-n:]]:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target / path.name)


def copy_trained(cache: Path, to: Path) -> None:
    """The small networks that runs trained on the spot, as runs find them: those of another
    processor have other weights, and rows that rest on them would not meet these.
    """
    for folder in sorted(path for kind in TRAINED for path in (cache / kind).glob("*/")):
        size = sum(path.stat().st_size for path in folder.iterdir())
        if size <= LARGEST_NETWORK:
            shutil.copytree(folder, to / folder.relative_to(cache))


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def pack_runs(copies: Path, out: Path) -> Path:
    """The copies of runs as out/runs.tar.xz, which unpacks to runs/; returns its path."""
    path = out / ARCHIVE
    with tarfile.open(path, "w:xz") as archive:
        archive.add(copies, "runs", filter=_without_owner)
    return path
