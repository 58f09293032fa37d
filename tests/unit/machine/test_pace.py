"""How fast this machine is, from half a second of it."""

from __future__ import annotations

import pytest
import torch

from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.machine import pace as module
from bench.machine.estimate import forward_flops
from bench.machine.pace import pace

GRID = TokenGrid((8, 8), 2, 1)


@pytest.mark.parametrize("size", ["nano", "L"])
def test_the_pace_is_flops_by_the_clock(monkeypatch, size):
    """A machine on which an image of so many blocks takes a fixed time has a known pace."""
    rows, passed = [], [0.0]

    def seconds(model, images, device):
        assert model.size.depth == min(SIZES[size].depth, 4 if size == "nano" else 1)
        rows.append(images)
        taken = images * forward_flops(GRID, model.size) / 7e9
        passed[0] += taken
        return taken

    monkeypatch.setattr(module, "_seconds_of_a_pass", seconds)
    monkeypatch.setattr(module.time, "perf_counter", lambda: passed[0])
    found = pace(GRID, SIZES[size], 10, torch.device("cpu"), batch=16)
    assert found == pytest.approx(7e9) and max(rows) <= 16
    assert passed[0] < 2 * module.MEASURING


def test_nothing_that_is_drawn_later_depends_on_it():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert pace(GRID, SIZES["nano"], 10, torch.device("cpu"), 8, seconds=0.0) > 0
    assert torch.equal(torch.rand(4), expected)
