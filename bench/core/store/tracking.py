"""Mirrors of a run's numbers in TensorBoard or Weights & Biases;
metrics.jsonl and results/ stay the truth.

    python -m bench.run method=selfflow tracking=tensorboard;   tensorboard --logdir runs
    python -m bench.run method=selfflow tracking=wandb;   wandb sync runs/<run>/wandb/offline-run-*

Both write below the run folder only: wandb runs offline unless WANDB_MODE=online is set. The step
is images seen.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from bench.core.store.files import Json
from bench.core.store.rows import Row

TRACKERS = ("none", "tensorboard", "wandb")


class Tracker(Protocol):
    """What receives numbers."""

    def log(self, images: int, numbers: dict[str, float]) -> None:
        """Take the numbers of a run after so many images."""
        ...

    def close(self) -> None:
        """Write what is still held back."""
        ...


class Nothing:
    """tracking=none."""

    def log(self, images: int, numbers: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Scalars in <run>/tensorboard.

    A resumed run hides the events that its metrics.jsonl has cut off.
    """

    def __init__(self, run_dir: Path, first: int | None):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=first)

    def log(self, images: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, images)

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """One wandb run with the run folder's name as its id, so that a resumed run goes on in it."""

    def __init__(self, run_dir: Path, config: Json):
        # by default below the user's home; read when wandb is imported
        for kind in ("CACHE", "CONFIG", "DATA"):
            below = (run_dir / "wandb" / kind.lower()).absolute()
            os.environ.setdefault(f"WANDB_{kind}_DIR", str(below))
        import wandb

        self.run = wandb.init(
            project="flow-representation-bench",
            id=run_dir.name,
            name=run_dir.name,
            dir=str(run_dir),
            config=config,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
        )
        self.run.define_metric("*", step_metric="images")  # wandb's own steps only count calls

    def log(self, images: int, numbers: dict[str, float]) -> None:
        self.run.log({"images": images} | numbers)

    def close(self) -> None:
        self.run.finish()


def check_tracker(kind: str) -> None:
    """Raise ValueError where a tracker is unknown or its package is not installed."""
    if kind not in TRACKERS:
        raise ValueError(f"tracking={kind} is unknown (choices: {', '.join(TRACKERS)})")
    if kind != "none" and importlib.util.find_spec(kind) is None:
        raise ValueError(
            f"tracking={kind} needs the package {kind}, which is not installed: pip install {kind}"
        )


def open_tracker(kind: str, run_dir: Path, first: int | None, config: Json) -> Tracker:
    """The run's tracker.

    first: images from which on an earlier start's numbers are void; config: shown with the curves.
    """
    check_tracker(kind)
    if kind == "tensorboard":
        return TensorBoard(run_dir, first)
    return WeightsAndBiases(run_dir, config) if kind == "wandb" else Nothing()


def numbers_of_line(line: Json) -> dict[str, float]:
    """A line of metrics.jsonl as {"loss/velocity": ..., "grad_norm": ...},
    without images and step.
    """
    return {
        name: value
        for name, value in _numbers_below(line).items()
        if name not in ("images", "step")
    }


def _numbers_below(node: Json) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in node.items():
        inner = _numbers_below(value) if isinstance(value, dict) else {"": float(value)}
        found |= {f"{key}/{name}".rstrip("/"): number for name, number in inner.items()}
    return found


def numbers_of_rows(rows: Iterable[Row]) -> dict[str, float]:
    """Result rows as {"results/fd_pixels": ..., "results/knn/block4/t0.5": ...};
    rows without a value are left out.
    """
    found: dict[str, float] = {}
    for row in rows:
        if row.value is not None:
            where = ([f"block{row.block}"] if row.block is not None else []) + (
                [f"t{row.t:g}"] if row.t is not None else []
            )
            of = [row.part] if row.part else []
            found["/".join(["results", *of, row.metric, *where])] = row.value
    return found
