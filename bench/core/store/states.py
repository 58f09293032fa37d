"""What a run is doing, from its folder alone: the heartbeat in status.json, its host,
its process, its checkpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bench.core.store.lease import is_fresh, lives_here
from bench.core.store.runs import read_status

ALIVE = ("training", "measuring")


@dataclass(frozen=True)
class RunState:
    """name: new | training | measuring | stopped | failed | died | complete; speed:
    images a second; left: seconds.
    """

    name: str
    images: int = 0
    total: int = 0
    loss: float | None = None
    speed: float | None = None
    left: float | None = None
    message: str = ""

    @property
    def alive(self) -> bool:
        """Whether a process is at it."""
        return self.name in ALIVE


def run_state(folder: Path) -> RunState:
    """The state of a run folder; "new" where there is none,
    "died" where a process stopped without saying so.
    """
    status = read_status(folder)
    if not status:
        return RunState("new")
    name, message = str(status.get("state", "new")), str(status.get("message", ""))
    if name == "running":
        here = lives_here(status)
        living = is_fresh(status) if here is None else here
        name = str(status.get("phase", "training")) if living else "died"
        if not living:
            process = f"its process ({status.get('pid', '?')} on {status.get('host', '?')})"
            message = f"{process} is gone; the next start goes on from its last checkpoint"
    return RunState(
        name,
        images=status.get("images") or 0,
        total=status.get("images_total") or 0,
        loss=status.get("loss"),
        speed=status.get("images_per_second"),
        left=status.get("seconds_left"),
        message=message,
    )


def progress(folder: Path) -> float:
    """A number that grows whenever something was saved.

    Images of the newest checkpoint, plus the number of results, plus less than 1 for the blocks of
    the next result.
    """
    newest = max(
        (
            int(m[1])
            for p in folder.glob("checkpoints/ckpt-*.pt")
            if (m := re.match(r"ckpt-(\d+)-", p.name))
        ),
        default=0,
    )
    blocks = len(list(folder.glob("samples/*/blocks/*.npy")))
    return newest + len(list(folder.glob("results/*.json"))) + blocks / (blocks + 1)
