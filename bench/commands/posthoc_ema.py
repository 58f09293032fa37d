"""What bench.posthoc_ema does: rebuild averages and say how well the snapshots hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.config.words import ImageCount
from bench.core.store.runs import CONFIGURATION, read_part
from bench.core.train.posthoc import rebuild

POOR = 0.1  # relative error of a profile from which on more snapshots are advised


def rebuild_averages(
    run: Path, decay: Sequence[float], images: ImageCount | None, warmup: bool | None
) -> None:
    """Write the average of every decay that ends at `images`, and name it."""
    batch = int(read_part(run, CONFIGURATION).get("batch", 1))
    end = None if images is None else images.images("images", batch)
    for one in decay:
        path, fitted = rebuild(run, one, end, warmup)
        print(
            f"{path}: weights {fitted.age:.0f} steps old in the mean, "
            f"profile error {fitted.error:.2%}"
        )
        if fitted.error > POOR:
            print("  the snapshots do not hold this profile; a run with more snapshots=... would")
