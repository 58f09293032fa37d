"""Which process this is, of how many, and on what device: from torchrun's or the launcher's
environment.

torchrun --nproc-per-node 2 -m bench.run method=selfflow
"""

from __future__ import annotations

import gc
import importlib
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """rank of world processes, and this one's device."""

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This process's rows of a global batch.

        Raises ValueError when the processes do not divide it.
        """
        if batch % self.world:
            raise ValueError(
                f"batch={batch} is not divisible by {self.world} processes: "
                f"choose a multiple of {self.world}"
            )
        share = batch // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process, known to all."""
        if self.world == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def first(self, value: T | None) -> T:
        """The value of the lowest rank that has one (not None), as one must, known to all."""
        values: list[T | None] = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return next(one for one in values if one is not None)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over processes of a tensor."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def barrier(self) -> None:
        """Wait for all."""
        if self.world > 1:
            dist.barrier()


def start(device: str = "auto") -> Processes:
    """Join the other processes, if any.

    device: auto (a GPU where there is one), cpu or cuda. Raises ValueError without the GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"compute.device={device} is unknown (choices: auto, cpu, cuda)")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "compute.device=cuda, but PyTorch sees no GPU here: choose compute.device=cpu, or see "
            "python -m bench.doctor"
        )
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    use_cuda, where = device != "cpu" and torch.cuda.is_available(), torch.device("cpu")
    if use_cuda:
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    if world > 1 and not dist.is_initialized():
        # imported later, its functions' defaults would be this group, and it would never end
        importlib.import_module("torch.distributed.nn.functional")
        # a long time-out: other processes wait while one trains a local encoder or downloads a file
        backend, timeout = "nccl" if use_cuda else "gloo", timedelta(hours=1)
        dist.init_process_group(backend, rank=rank, world_size=world, timeout=timeout)
    return Processes(rank, world, where)


def finish() -> None:
    """Leave the process group; its threads end with the last reference to it."""
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()
