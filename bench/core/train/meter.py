"""What is measured while a run trains: the numbers of its steps, and where their time goes.

window.add(columns, numbers)              # on the device, waiting for nothing
with watch.part("data"): ...
window.means(window.read(...)), watch.read()     # when a line of metrics.jsonl is written
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import Tensor, nn


class NotFinite(Exception):
    """A loss or a gradient norm became NaN or infinite; the message names the step and the term."""


class Means(TypedDict):
    """Means over steps, as a line of metrics.jsonl has them."""

    loss: dict[str, float]
    diagnostics: dict[str, float]
    grad_norm: float


class Window:
    """The steps since the last line of metrics, a row each; columns are "loss.<term>",
    "diagnostics.<name>" and "grad_norm".

    Nothing here waits for the device but `read`.
    """

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.rows: list[Tensor] = []

    def fits(self, columns: list[str]) -> bool:
        """Whether a step with these columns belongs to the window: where a term began or ended,
        it does not.
        """
        return not self.rows or self.columns == columns

    def add(self, columns: list[str], row: Tensor) -> None:
        """A step's numbers, in the order of its columns."""
        assert self.fits(columns)
        self.columns = columns
        self.rows.append(row)

    def read(self, average: Callable[[Tensor], Tensor], first: int, remedy: str) -> Tensor:
        """The rows [steps, columns] on the CPU, float64, averaged over processes; first:
        the number of the first step.

        Raises NotFinite, naming the first bad step and the remedy.
        """
        if not self.rows:
            return torch.zeros(0)
        values = average(torch.stack(self.rows)).double().cpu()
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            step, column = (int(i) for i in bad[0])
            name, value = self.columns[column], values[step, column]
            raise NotFinite(f"{name} became {value} in step {first + step}: {remedy}")
        return values

    def means(self, values: Tensor) -> Means:
        """Of rows that were read; empties the window."""
        found = Means(loss={}, diagnostics={}, grad_norm=0.0)
        for column, mean in zip(self.columns, values.mean(dim=0).tolist(), strict=True):
            group, _, name = column.partition(".")
            if group == "grad_norm":
                found["grad_norm"] = mean
            elif group in ("loss", "diagnostics"):
                found[group][name] = mean
        self.rows = []
        return found


Moment = float | torch.cuda.Event
"""A reading of a host's clock, or a place in a GPU's queue."""


def moment(cuda: bool, clock: Callable[[], float] = time.perf_counter) -> Moment:
    """Now, as the device knows it: by a clock, or by an event that nothing waits for."""
    if not cuda:
        return clock()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def seconds_between(start: Moment, end: Moment) -> float:
    """Seconds from one moment to another, of the same kind and, on a GPU, both past."""
    if isinstance(start, float) and isinstance(end, float):
        return end - start
    assert isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event)
    return start.elapsed_time(end) / 1000


class Stopwatch:
    """Seconds by part since the last `read`: reading data, the method's own modules (encoder,
    teacher, heads: the forward passes of those given to `watch`), and the backbone.

    On a GPU the method's part is taken from CUDA events, so that nothing waits for the device
    inside a step.
    """

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self.seconds: dict[str, float] = {}
        self._passes: list[tuple[Moment, Moment]] = []
        self._open: list[Moment] = []
        self._start = time.perf_counter()

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Like `part`, for work beside the step: waits for the device,
        and watched modules do not count meanwhile.
        """
        if self.cuda:
            torch.cuda.synchronize()
        before = len(self._passes)
        with self.part(name):
            yield
            if self.cuda:
                torch.cuda.synchronize()
        del self._passes[before:]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the wall time of a block of code to a part."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def watch(self, module: nn.Module) -> None:
        """Count a module's forward passes as the method's time."""
        module.register_forward_pre_hook(lambda *_: self._open.append(moment(self.cuda)))
        module.register_forward_hook(
            lambda *_: self._passes.append((self._open.pop(), moment(self.cuda)))
        )

    def read(self) -> dict[str, float]:
        """{"seconds", "data", "method", "backbone", "diagnostics"} since the last read;
        waits for the device.
        """
        if self.cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        times = {
            "seconds": now - self._start,
            "data": self.seconds.get("data", 0.0),
            "method": sum(seconds_between(*ends) for ends in self._passes),
        }
        other = sum(seconds for name, seconds in self.seconds.items() if name != "data")
        times["backbone"] = max(0.0, times["seconds"] - times["data"] - times["method"] - other)
        times["diagnostics"] = self.seconds.get("diagnostics", 0.0)
        self._start, self.seconds, self._passes = now, {}, []
        return times
