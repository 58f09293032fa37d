"""CUDA graphs: kernels that a GPU is given all at once, where a small model would wait for its CPU
to launch them one by one. They are the same kernels, so numbers stay.

    block.compile(**REPLAYED)                   # its forward and backward pass, each a graph
    begin_step()                                # before every step of compiled blocks
    velocity = Replayed(velocity_of(backbone))  # a whole evaluation, of blocks that are not

A graph reads and writes the memory that it was recorded with: what one replay returns, the next
overwrites. PyTorch keeps account of that for compiled blocks (torch._inductor.cudagraph_trees):
all that they return lives until `begin_step`, and whoever reads it later is told so in an error.
Here the inputs are copied to where the graph reads them, and the result is copied from there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

REPLAYED = {"mode": "reduce-overhead"}
"""What torch.compile is told besides: record graphs of what it has compiled, and replay them."""

Recorded = tuple[Callable[[], None], Tensor]
"""What replays, and where the result then is."""


def check_device(key: str, device: torch.device) -> None:
    """Raise ValueError where a key asks for graphs and there is no GPU."""
    if device.type != "cuda":
        raise ValueError(
            f"{key}=true: CUDA graphs spare a GPU's waiting for its CPU, and this is computed on "
            f"a {device.type.upper()}, where nothing waits: leave it out"
        )


def begin_step() -> None:
    """What compiled blocks have returned until now is read no more. It is said once a step, before
    its first pass: else a block's call would count as a step of its own.
    """
    torch.compiler.cudagraph_mark_step_begin()


def record(function: Callable[[], Tensor]) -> Recorded:
    """The kernels of a function without arguments; nothing in it may wait for the GPU."""
    computing, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(computing)
    with torch.cuda.stream(aside):  # libraries set themselves up for a stream in its first call
        function()
    computing.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # thread_local: other threads may go on using the GPU
    with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
        result = function()
    return graph.replay, result


class Replayed:
    """A function of tensors that is recorded once for each of their shapes, and then replayed: of
    weights that stay where they are, without gradient.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        record: Callable[[Callable[[], Tensor]], Recorded] = record,
    ):
        self.function, self.record = function, record
        self._graphs: dict[object, tuple[list[Tensor], Callable[[], None], Tensor]] = {}

    def __call__(self, *given: Tensor) -> Tensor:
        key = tuple((one.shape, one.dtype, one.device) for one in given)
        if key not in self._graphs:
            held = [one.clone() for one in given]
            self._graphs[key] = (held, *self.record(lambda: self.function(*held)))
        held, replay, result = self._graphs[key]
        for place, one in zip(held, given, strict=True):
            place.copy_(one)
        replay()
        return result.clone()
