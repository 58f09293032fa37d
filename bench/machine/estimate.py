"""What a run takes at the very least, from its numbers alone, before anything of it is built:
memory, disk and time. One that cannot fit is refused with the estimate, where it would be killed
after minutes, fill a disk overnight, or never end.

    refuse_what_cannot_fit(cfg, data.grid, data.condition, processes)       # ValueError

All of it are lower bounds, so that nothing is refused that could have been done: heads, teacher and
encoder are left out, activations are the ones that no recomputation is made of (with
`compute.recompute` a block's input alone), and a machine is taken to be as fast as the fastest of
its kind.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.config.schema import Config
from bench.core.model.conditions import Classes, Condition, condition_of
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.sizes import Size
from bench.core.model.tokens import TokenGrid
from bench.core.train.distributed import Processes
from bench.core.train.trainer import snapshots_of
from bench.machine.host import cores, existing, memory_bytes

BYTES_PER_PARAMETER = 20  # weights, gradients, two AdamW moments and the EMA copy, float32
KEPT_PER_TOKEN = 16  # numbers a token, times the width, that a block keeps for its backward pass
BYTES_PER_PIECE = 64  # a micro-batch's place in the batch
MOST_DAYS = 30  # of a training at the speed below, which none reaches
FLOPS_PER_GPU = 2.5e15  # a second: dense bf16 of the fastest there is
FLOPS_PER_CORE = 2e11  # two AVX-512 units at 3 GHz
SOON_MADE = 2**22  # numbers of an embedder that are soon made
STEP_SECONDS = 3e-3  # launching forward, backward and AdamW, of the smallest size


@dataclass(frozen=True)
class Least:
    """At least so much. memory: bytes of a process, on its device; disk: bytes of samples, as what
    training writes is known to the byte (`AssembledArm.disk_bytes`); seconds: of training, with
    measure=full of sampling too.
    """

    parameters: int
    memory: float
    disk: float
    seconds: float


def backbone_parameters(grid: TokenGrid, size: Size, condition: Condition | int) -> int:
    """Of a `SiT`, by formula: counting them would make a hundred thousand blocks first."""
    width, numbers = size.width, grid.token_dim
    embedders = (numbers + 1) * width + (256 + 1 + width + 1) * width
    told = condition_of(condition)
    rows = told.count if isinstance(told, Classes) else width
    # operators of the meta device are Python, and a second's import
    device = torch.device("cpu" if rows * width <= SOON_MADE else "meta")
    with device, torch.random.fork_rng(devices=[]):
        embedders += sum(p.numel() for p in told.embedder(width).parameters())
    block = 18 * width**2 + 15 * width  # attention 4, MLP 8, modulation 6; and their biases
    final = 2 * (width**2 + width) + (width + 1) * numbers
    return embedders + size.depth * block + final


def forward_flops(grid: TokenGrid, size: Size) -> float:
    """Of a picture's pass through the blocks' products; two a multiplication and its addition."""
    tokens, width = grid.tokens, size.width
    return 2.0 * size.depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def estimate(
    cfg: Config, grid: TokenGrid, condition: Condition | int, processes: Processes
) -> Least:
    """Of a run on this machine."""
    size, world, gpu = cfg.size, processes.world, processes.device.type == "cuda"
    parameters = backbone_parameters(grid, size, condition)
    rows = min(cfg.micro_batch or cfg.batch, -(-cfg.batch // world))
    number = 2 if gpu and cfg.precision != "float32" else 4

    # memory: what is learned, a micro-batch's activations, and the order of the whole batch
    learned = BYTES_PER_PARAMETER * parameters / (world if cfg.compute.shard else 1)
    kept = 1 if cfg.compute.recompute else KEPT_PER_TOKEN
    activations = float(rows) * grid.tokens * size.width * size.depth * kept * number
    memory = (
        learned + activations + 8.0 * cfg.batch + BYTES_PER_PIECE * (cfg.batch // world // rows)
    )

    # disk: the samples of every measured snapshot; quick leaves out what takes long
    counts = snapshots_of(cfg, cfg.size)
    samples = cfg.evaluation.samples * (len(counts) if cfg.evaluation.snapshots == "all" else 1)
    samples = samples if cfg.measure == "full" else 0
    disk = 4.0 * samples * grid.tokens * grid.token_dim

    # time: three forward passes a training step, and the sampler's
    evaluations = sampling_protocol(cfg.evaluation.protocol).evaluations
    passes = 3.0 * cfg.images + float(samples) * evaluations
    steps = cfg.images // cfg.batch
    seconds = max(passes * forward_flops(grid, size) / speed(processes), steps * STEP_SECONDS)
    return Least(parameters, memory, disk, seconds)


def estimate_samples(
    samples: int, evaluations: int, grid: TokenGrid, size: Size, processes: Processes
) -> Least:
    """Of so many samples, `evaluations` passes each: their tokens, and the passes."""
    seconds = float(samples) * evaluations * forward_flops(grid, size) / speed(processes)
    return Least(0, 0.0, 4.0 * samples * grid.tokens * grid.token_dim, seconds)


def speed(processes: Processes) -> float:
    """FLOPs a second that all processes cannot reach together."""
    gpu = processes.device.type == "cuda"
    return processes.world * FLOPS_PER_GPU if gpu else FLOPS_PER_CORE * cores()


def what_cannot_fit(least: Least, runs: Path, device: torch.device) -> list[str]:
    """What this machine has too little of, in words; [] where it may do."""
    gpu = device.type == "cuda"
    there = torch.cuda.get_device_properties(device).total_memory if gpu else memory_bytes()[0]
    place = existing(runs)
    free = shutil.disk_usage(place).free
    found = []
    if there and least.memory > there:
        kind = "GPU memory" if gpu else "memory"
        found.append(f"{least.memory / 1e9:.3g} GB of {kind}, {there / 1e9:.3g} GB are there")
    # a file system of no blocks is none to fill: that it cannot be written is said elsewhere
    if least.disk > free and os.statvfs(place).f_blocks:
        found.append(
            f"{least.disk / 1e9:.3g} GB of samples, {free / 1e9:.3g} GB are free in {place}"
        )
    if least.seconds > MOST_DAYS * 86400:
        found.append(f"{least.seconds / 86400:.3g} days, on the fastest machine of this kind")
    return found


def refuse_what_cannot_fit(
    cfg: Config,
    grid: TokenGrid,
    condition: Condition | int,
    processes: Processes,
    whole: bool = True,
) -> None:
    """Raise ValueError with the estimate for a run that cannot be done here, unless anyway=true;
    whole: else only a few steps of it are, which need its memory alone.
    """
    if cfg.anyway:
        return
    least = estimate(cfg, grid, condition, processes)
    least = least if whole else replace(least, disk=0, seconds=0)
    if lacks := what_cannot_fit(least, Path(cfg.runs), processes.device):
        raise ValueError(
            f"this run cannot be done here: {least.parameters / 1e6:.3g}M parameters, "
            f"batch={cfg.batch}, {cfg.images // cfg.batch} steps take at least {'; '.join(lacks)}. "
            "Choose a smaller size=, batch=, micro_batch=, images= or evaluation.samples=, or say "
            "anyway=true"
        )
