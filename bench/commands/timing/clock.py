"""Seconds, bytes and the device's own limit: what a timed step is set beside.

    seconds = step_seconds(step, steps=20, device=torch.device("cuda"))    # one a step
    matrix_peak(torch.device("cpu"), "float32")                           # FLOP/s

On a CPU seconds are the process's own, so that a machine's other users do not count; on a GPU the
time between two places of its queue, idle gaps included.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.train.meter import Moment, moment, seconds_between


def now(device: torch.device) -> Moment:
    """The process's time on a CPU, a place in the queue of a GPU."""
    return moment(device.type == "cuda", time.process_time)


def wait(device: torch.device) -> None:
    """Until a GPU has done everything that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_seconds(step: Callable[[], object], steps: int, device: torch.device) -> list[float]:
    """Seconds of each of some calls in a row."""
    wait(device)
    moments = [now(device)]
    for _ in range(steps):
        step()
        moments.append(now(device))
    wait(device)
    return [seconds_between(*pair) for pair in itertools.pairwise(moments)]


def matrix_peak(device: torch.device, precision: str) -> float:
    """FLOP/s of a large matrix product of random numbers: 8192^3 on a GPU, 1024^3 on a CPU."""
    side = 8192 if device.type == "cuda" else 1024
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    step_seconds(lambda: a @ b, 3, device)
    return 2.0 * side**3 / statistics.median(step_seconds(lambda: a @ b, 10, device))


class Parts:
    """Where the time of a step goes: calls and passes of modules, by name."""

    def __init__(self, device: torch.device):
        self.device = device
        self.spans: list[tuple[str, Moment, Moment]] = []
        self._undo: list[Callable[[], None]] = []

    def call(self, name: str, owner: object, method: str) -> None:
        """Count a method of an object."""
        inner: Callable[..., object] = getattr(owner, method)

        def timed(*args: object, **kwargs: object) -> object:
            start = now(self.device)
            result = inner(*args, **kwargs)
            self.spans.append((name, start, now(self.device)))
            return result

        setattr(owner, method, timed)
        self._undo.append(lambda: delattr(owner, method))

    def module(self, name: str, module: nn.Module) -> None:
        """Count a module's forward passes, and its backward passes where it learns."""
        kinds: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
            (module.register_forward_pre_hook, module.register_forward_hook)
        ]
        if any(parameter.requires_grad for parameter in module.parameters()):
            kinds.append(
                (module.register_full_backward_pre_hook, module.register_full_backward_hook)
            )
        for before, after in kinds:
            begun: list[Moment] = []

            def begin(*_: object, begun: list[Moment] = begun) -> None:
                begun.append(now(self.device))

            def end(*_: object, begun: list[Moment] = begun) -> None:
                self.spans.append((name, begun.pop(), now(self.device)))

            self._undo += [before(begin).remove, after(end).remove]

    def read(self) -> dict[str, float]:
        """Seconds by name in all; what was watched is no longer."""
        for undo in self._undo:
            undo()
        wait(self.device)
        found: dict[str, float] = {}
        for name, start, end in self.spans:
            found[name] = found.get(name, 0.0) + seconds_between(start, end)
        return found


# Memory -------------------------------------------------------------------------------------------


def step_bytes(
    step: Callable[[], object], held: Iterable[Tensor], device: torch.device
) -> tuple[int, int]:
    """(at most at once, of them the step's own) bytes of a step.

    held: weights, moments and averages. On a GPU as PyTorch's allocator saw it; on a CPU counted:
    what is held, and what the forward pass keeps for the backward pass.
    """
    if device.type == "cuda":
        wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        wait(device)
        most = torch.cuda.max_memory_allocated(device)
        return most, most - before
    tensors = list(held)
    known = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    with kept_for_backward(known) as kept:
        step()
    own = sum(kept.values())
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors) + own, own


@contextmanager
def kept_for_backward(known: set[int]) -> Iterator[dict[int, int]]:
    """{where: bytes} of the storages that autograd keeps within, without those known before."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept
