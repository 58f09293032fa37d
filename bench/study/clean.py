"""`bench.sweep action=clean`: the disk that finished runs need no longer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.store.checkpoints import checkpoints, is_whole
from bench.core.store.files import leftovers

if TYPE_CHECKING:
    from bench.study.plan import Planned
    from bench.study.request import Sweep


def clean(sweep: Sweep, planned: list[Planned]) -> int:
    """Delete what finished runs need no longer; name what is kept because a run is not finished."""
    freed = 0
    for p in planned:
        if not p.spec.id:
            continue
        if not p.done:
            if p.state.name != "new":
                print(f"{p.spec.id}: not finished, nothing deleted")
            continue
        for path in superfluous(sweep.runs / p.spec.id / "checkpoints"):
            freed += path.stat().st_size
            if sweep.dry_run:
                print(f"would delete {path}")
            else:
                path.unlink()
    print(f"{'would free' if sweep.dry_run else 'freed'} {freed / 1e6:.1f} MB")
    return 0


def superfluous(folder: Path) -> list[Path]:
    """Leftovers of killed saves, what was set aside as damaged,
    and all checkpoints but the last whole one.

    Without a whole one all checkpoints stay.
    """
    halves = [*leftovers(folder), *sorted(folder.glob("damaged-ckpt-*"))]
    there = checkpoints(folder)
    for path in reversed(there):
        if is_whole(path):
            return [*halves, *(other for other in there if other != path)]
    return halves if not there else []
