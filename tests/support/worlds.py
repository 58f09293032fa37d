"""A world that needs no package, and what tests do without the package of another one."""

from __future__ import annotations

import os
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.core.data.demonstrations import Demonstrations
from bench.core.data.worlds.world import WorldTask, check_action


def need_minigrid():
    """Skip a test where MiniGrid is missing; BENCH_REQUIRE_WORLDS=1 makes that a failure."""
    if os.environ.get("BENCH_REQUIRE_WORLDS") == "1":
        import minigrid  # noqa: F401
    else:
        pytest.importorskip("minigrid", reason="the optional extra worlds")


class Corridor:
    """Five cells in a row: walk to the end that is named; near ends are the group "near".

    solvable: whether the expert knows the way.
    """

    name = "corridor"
    tasks: ClassVar = {"walk": WorldTask("far", 6), "hop": WorldTask("near", 3)}
    actions = ("left", "right", "wait")
    idle = 2
    shape = (3, 2, 10)
    words = ("go", "west", "east")
    unsaid = frozenset({"the", "to"})

    def __init__(self, solvable=lambda seed: True):
        self.solvable = solvable

    def reset(self, task, seed):
        draw = np.random.default_rng(seed)
        return Walk(
            int(draw.integers(2)), task == "hop", self.tasks[task].limit, self.solvable(seed)
        )


class Walk:
    def __init__(self, east, near, limit, solvable):
        self.instruction = f"go to the {'east' if east else 'west'}"
        self.goal, self.left, self.solvable = 4 * east, limit, solvable
        self.place = (3 if east else 1) if near else 2
        self.done = self.success = False

    def view(self):
        drawn = np.zeros(Corridor.shape, np.uint8)
        drawn[:, :, 2 * self.place : 2 * self.place + 2] = 200
        return drawn

    def step(self, action):
        check_action(action, Corridor.actions)
        assert not self.done
        self.place = min(max(self.place + (-1, 1, 0)[action], 0), 4)
        self.left -= 1
        self.success = self.place == self.goal
        self.done = self.success or not self.left

    def expert(self):
        if not self.solvable:
            return None
        return int(self.goal > self.place)


def corridor(*tasks, world=None, episodes=40, heldout=20, horizon=2, cache=None):
    """Demonstrations in a corridor."""
    return Demonstrations(
        "corridor", world or Corridor(), tasks or ("walk",), horizon, episodes, heldout, cache=cache
    )


class Knows(torch.nn.Module):
    """A backbone whose velocity leads to what a rule says of rows of the condition."""

    def __init__(self, data, rule):
        super().__init__()
        self.grid, self.data, self.rule = data.grid, data, rule

    def forward(self, x, t, condition):
        one_hots = 2 * torch.nn.functional.one_hot(self.rule(condition), 3).float() - 1
        cells = torch.zeros(len(x), *self.data.condition.null.shape)[:, : 5 * 12]
        x0 = self.grid.pack(cells.unflatten(1, (5, 12)), one_hots)
        return (x - x0) / t[:, None, None], {}


def walks_where_it_is_told(condition):
    """The rule that solves a corridor: east is its third word, and both actions are the same."""
    east = condition[:, -1] == 3
    return east.long()[:, None].expand(-1, 2)


def stands_still(condition):
    return torch.full((len(condition), 2), Corridor.idle)
