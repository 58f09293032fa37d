"""Averages of other lengths from a run's snapshots: post-hoc EMA, arXiv 2312.02696
(`bench.core.train.posthoc`).

    python -m bench.posthoc_ema run=runs/digits-vanilla-nano-s0-1a2b3c4d decay=0.99,0.998
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.keys import Flag, Folder, ImagesSeen, Number, Several

POSTHOC_EMA = Command(
    "posthoc_ema",
    does="Rebuild the EMA of other decays from a run's snapshots, in "
    "DIR/posthoc/<images>-decay<D>[-warmup].safetensors.\n\n"
    "python -m bench.evaluate run=DIR ema=FILE samples and measures it.",
    body="bench.commands.posthoc_ema:rebuild_averages",
    keys={
        "run": Folder("a run folder with snapshots", required=True),
        "decay": Several(
            "the decays wanted, below 1: an average over about 1 / (1 - D) steps",
            of=Number("decay", within="[0, 1)", shape="D"),
            required=True,
        ),
        "images": ImagesSeen(
            "where the average ends, as 64Ki or 400steps; default: the last snapshot"
        ),
        "warmup": Flag(
            "whether the average warms up, min(D, (1 + n) / (10 + n)); default: as in the run",
            default=None,
        ),
    },
    examples={"run=runs/digits-vanilla-nano-s0-1a2b3c4d decay=0.99,0.998": ""},
)

if __name__ == "__main__":
    POSTHOC_EMA.start()
