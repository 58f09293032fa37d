"""The run that another begins from, `init=runs/<run>`, and which of its weights those are.

    python -m bench.run data=minigrid method=selfflow init=runs/minigrid-vanilla-micro-s0-5e639187

They are the average (EMA) of its newest snapshot and, where the method is the same, the heads of
the checkpoint beside it. What they are is part of what the run is, by their hashes:

    begun_from(cfg).init_weights       # "3f5a0c1d2b4e6f70", or with heads "3f5a...+9c1d..."
    files_of(Path(cfg.init), cfg.init_weights)    # (snapshot, checkpoint or None)

The same path with other weights is another run; the same weights at another path are the same one.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
from pathlib import Path

from bench.config.schema import Config
from bench.core.store.files import Json, file_hash
from bench.core.store.runs import CONFIGURATION, RunRecord, find_run, read_part
from bench.core.store.weight_files import CHECKPOINT_NAME, checkpoints, snapshots

DIGITS = 16  # of SHA-256, as many as the names of checkpoints have
AND_HEADS = "+"


def begun_from(cfg: Config) -> Config:
    """The configuration with the hashes of the weights that `init` names.

    Of a run that is no longer there they are those that a run of the same words in `runs` began
    from, which goes on without it. Raises ValueError where there are none.
    """
    if cfg.init is None:
        return cfg
    folder = Path(cfg.init)
    cfg = dataclasses.replace(cfg, init=str(folder))
    try:
        weights = _weights_of(folder, cfg)
        gone = [one for one in _began_before(cfg) if one.startswith(f"{weights}{AND_HEADS}")]
    except ValueError:
        weights, gone = "", _began_before(cfg)
        if len(gone) != 1:
            raise
    # heads may have gone with the checkpoints, which the run that begun does not miss
    return dataclasses.replace(cfg, init_weights=gone[0] if len(gone) == 1 else weights)


def _weights_of(folder: Path, cfg: Config) -> str:
    run, there = find_run(folder), snapshots(folder)
    if run is None:
        raise ValueError(
            f"init={folder} is no folder of a run (no run.json): give one of runs/*, whose weights "
            "are to be gone on from"
        )
    if not there:
        raise ValueError(
            f"init={folder} has no snapshot to begin from: train it first, "
            f"python -m bench.run {shlex.join(run.argv)}"
        )
    images = max(there)
    heads = _heads_at(folder, images) if run.head and trains_alike(run, cfg) else ""
    return _hash_now(there[images]) + (f"{AND_HEADS}{heads}" if heads else "")


def files_of(folder: Path, weights: str) -> tuple[Path, Path | None]:
    """The snapshot of these hashes, and the checkpoint that has the heads, None where they begin
    anew. Raises ValueError where a file is not there any more.
    """
    of_snapshot, _, of_heads = weights.partition(AND_HEADS)
    newest_first = reversed(snapshots(folder).values())
    snapshot = next((path for path in newest_first if _hash_now(path) == of_snapshot), None)
    heads = [path for path in _checkpoints(folder) if path.stem.endswith(f"-{of_heads}")]
    if snapshot is None or (of_heads and not heads):
        lost = "its snapshot" if snapshot is None else "its checkpoint, which has the heads,"
        raise ValueError(
            f"init={folder}: {lost} with the weights that this run began from ({weights}) is gone, "
            "and no checkpoint of this run was saved yet: bring it back, or delete this run's "
            "folder and begin from another one"
        )
    return snapshot, heads[-1] if of_heads else None


def trains_alike(run: RunRecord, cfg: Config) -> bool:
    """Whether a run trained the same method with the same encoder, so that its heads may serve."""
    encoder = cfg.encoder.name if cfg.encoder else None
    return (run.method, run.encoder) == (cfg.method.name, encoder)


def _checkpoints(folder: Path) -> list[Path]:
    return checkpoints(folder / "checkpoints")


def _heads_at(folder: Path, images: int) -> str:
    """The hash of the checkpoint after so many images, "" where it is not there."""
    names = (CHECKPOINT_NAME.fullmatch(path.name) for path in _checkpoints(folder))
    return next((name[2] for name in names if name and int(name[1]) == images), "")


def _began_before(cfg: Config) -> list[str]:
    """The weights, each once, that runs of this method on these data began from at this path."""
    found: dict[str, None] = {}  # in order
    now = cfg.to_dict()
    for file in sorted(Path(cfg.runs).glob(f"*/{CONFIGURATION}")):
        stored = read_part(file.parent, CONFIGURATION)
        same = all(_name(stored, key) == _name(now, key) for key in ("method", "encoder", "data"))
        if stored.get("init") == cfg.init and same:
            found[str(stored.get("init_weights"))] = None
    return list(found)


def _name(configuration: Json, group: str) -> object:
    option = configuration.get(group)
    return option.get("name") if isinstance(option, dict) else None


def _hash_now(path: Path) -> str:
    """The hash of a file; kept while it stays as it is, since a study asks for it again and
    again.
    """
    stat = os.stat(path)
    return _hash(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _hash(path: Path, modified: int, size: int) -> str:
    return file_hash(path)[:DIGITS]
