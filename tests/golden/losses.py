"""Losses of the first steps of every method, as stored in losses.json.

    python tests/golden/losses.py recapture

writes them anew. Do that only after a change that is meant to change the numbers, and say in the
commit why they changed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import torch  # noqa: E402
from support.arms import SMALL, arm_of, batch_of, method, step_of  # noqa: E402

from bench.config.groups import options  # noqa: E402
from bench.core.train.ema import ema_update  # noqa: E402

STORED = Path(__file__).parent / "losses.json"
STEPS = 4


def losses(name: str) -> list[dict[str, float]]:
    """The terms of four AdamW steps of a method on fixed batches, EMA included."""
    stop = {"stop_images": 24} if name in ("haste", "repa_stop") else {}
    m = method(name, **SMALL.get(name, {}) | stop)
    arm, ctx = arm_of(m)
    optimiser = torch.optim.AdamW(arm.parameters(), lr=1e-3)
    found = []
    for step in range(STEPS):
        terms = arm(batch_of(seed=step), ctx, step_of(images=8 * step))
        found.append({key: term.value.item() for key, term in terms.items()})
        torch.stack([term.value * term.weight for term in terms.values()]).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        if ctx.ema is not None:
            ema_update(ctx.ema, arm.backbone, 0.9)
    return found


if __name__ == "__main__":
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("action", choices=["recapture"], help="write what is stored anew")
    parser.parse_args()
    torch.set_num_threads(1)
    STORED.write_text(
        json.dumps({name: losses(name) for name in options("method")}, indent=1) + "\n"
    )
