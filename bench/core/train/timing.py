"""Where a training step's time goes.

Reading data, the method's own modules (encoder, teacher, heads), and the backbone.

On a GPU the method's part is taken from CUDA events, so that nothing waits for the device inside a
step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class Stopwatch:
    """Seconds by part since the last `read`;
    "method" is the forward passes of the modules given to `watch`.
    """

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self.seconds: dict[str, float] = {}
        self._events: list[tuple[Any, Any]] = []
        self._open: list[Any] = []
        self._start = time.perf_counter()

    @contextmanager
    def aside(self, name: str) -> Iterator[None]:
        """Like `part`, for work beside the step: waits for the device,
        and watched modules do not count meanwhile.
        """
        if self.cuda:
            torch.cuda.synchronize()
        before = len(self._events)
        with self.part(name):
            yield
            if self.cuda:
                torch.cuda.synchronize()
        del self._events[before:]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the wall time of a block of code to a part."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def watch(self, module: nn.Module) -> None:
        """Count a module's forward passes as the method's time."""
        module.register_forward_pre_hook(lambda *_: self._open.append(self._mark()))
        module.register_forward_hook(
            lambda *_: self._events.append((self._open.pop(), self._mark()))
        )

    def _mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def read(self) -> dict[str, float]:
        """{"seconds", "data", "method", "backbone", "diagnostics"} since the last read;
        waits for the device.
        """
        if self.cuda:
            torch.cuda.synchronize()
        method = sum(a.elapsed_time(b) / 1000 if self.cuda else b - a for a, b in self._events)
        now = time.perf_counter()
        total, data = now - self._start, self.seconds.get("data", 0.0)
        other = sum(seconds for name, seconds in self.seconds.items() if name != "data")
        diagnostics = self.seconds.get("diagnostics", 0.0)
        self._start, self.seconds, self._events = now, {}, []
        backbone = max(0.0, total - data - method - other)
        return {
            "seconds": total,
            "data": data,
            "method": method,
            "backbone": backbone,
            "diagnostics": diagnostics,
        }
