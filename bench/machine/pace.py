"""How fast this machine is for a size, from half a second of it: for an estimate before anything
has run.

    pace(grid, size, condition, torch.device("cpu"), batch=64)      # FLOPs a second

A product of large matrices would say what the machine could do; small models wait for memory and
for Python, and reach a tenth of that. So what is timed are forward passes of the model itself, of
few of its blocks and few images where more would take longer. A training step reaches about the
same FLOPs a second, and a sampler the very same. Their mean counts: what others do here meanwhile
slows a run too.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from bench.core.model.backbone import SiT
from bench.core.model.conditions import Condition
from bench.core.model.sizes import Size
from bench.core.model.tokens import TokenGrid
from bench.machine.estimate import forward_flops

MEASURING = 0.5  # of the whole measurement
BLOCKS = 4  # of the model, at most: what lies around them counts for little in more
LIGHT = 1e9  # FLOPs of an image in so many blocks, below which one would not be like all
LONG = 0.1  # seconds of a pass from which on more images would not be faster


def pace(
    grid: TokenGrid,
    size: Size,
    condition: Condition | int,
    device: torch.device,
    batch: int,
    seconds: float = MEASURING,
) -> float:
    """FLOPs a second of forward passes of at most `batch` images; float32 on a CPU, bf16 on a GPU.

    Takes about `seconds`, or as long as two passes of one image through one block where that is
    longer.
    """
    end = time.perf_counter() + seconds
    shallow = replace(size, depth=1)
    if forward_flops(grid, replace(size, depth=BLOCKS)) < LIGHT:
        shallow = replace(size, depth=min(size.depth, BLOCKS))
    # what a run draws later does not depend on it
    with torch.device(device), torch.random.fork_rng():
        model, rows = SiT(grid, shallow, condition), 1
    _seconds_of_a_pass(model, rows, device)  # the first one loads what the others find
    passes, taken = 0, 0.0
    while True:
        last = _seconds_of_a_pass(model, rows, device)
        passes, taken = passes + 1, taken + last
        if time.perf_counter() + last > end:
            return passes * rows * forward_flops(grid, shallow) / taken
        if last < LONG and rows < batch:
            rows, passes, taken = min(2 * rows, batch), 0, 0.0


@torch.no_grad()
def _seconds_of_a_pass(model: SiT, rows: int, device: torch.device) -> float:
    tokens = torch.zeros(rows, model.grid.tokens, model.grid.token_dim, device=device)
    condition = model.null.expand(rows, *model.null.shape)
    gpu = device.type == "cuda"
    with torch.autocast(device.type, torch.bfloat16, enabled=gpu):
        start = time.perf_counter()
        model(tokens, torch.full((rows,), 0.5, device=device), condition)
        if gpu:
            torch.cuda.synchronize(device)
    return time.perf_counter() - start
