"""A world that needs no package, and what tests do without the package of another one."""

from __future__ import annotations

import importlib.util
import os
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.core.data.demonstrations import demonstrated
from bench.core.data.worlds.actions import Bounds, Choices
from bench.core.data.worlds.world import WorldTask


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
    actions = Choices(("left", "right", "wait"), 2)
    shape = (3, 2, 10)
    patch = 2
    words = ("go", "west", "east")
    unsaid = frozenset({"the", "to"})
    rollouts = 200

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
        Corridor.actions.check(action)
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
    return demonstrated(
        "corridor", world or Corridor(), tasks or ("walk",), horizon, episodes, heldout, cache=cache
    )


class Knows(torch.nn.Module):
    """A backbone whose velocity leads to what a rule says of rows of the condition."""

    def __init__(self, data, rule):
        super().__init__()
        self.grid, self.data, self.rule = data.grid, data, rule

    def forward(self, x, t, condition):
        actions = self.data.actions.tokens(self.rule(condition))
        view = self.data.condition.view
        x0 = self.grid.pack(torch.zeros(len(x), view.tokens, view.token_dim), actions)
        return (x - x0) / t[:, None, None], {}


def walks_where_it_is_told(condition):
    """The rule that solves a corridor: east is its third word, and both actions are the same."""
    east = condition[:, -1] == 3
    return east.long()[:, None].expand(-1, 2)


def stands_still(condition):
    return torch.full((len(condition), 2), Corridor.actions.idle)


def need_metaworld():
    """Skip a test where Meta-World is missing; BENCH_REQUIRE_ROBOTS=1 makes that a failure."""
    # not imported: how MuJoCo draws is settled then, which the world says first
    if importlib.util.find_spec("metaworld") is None:
        assert os.environ.get("BENCH_REQUIRE_ROBOTS") != "1", "the extra robots is missing"
        pytest.skip("the optional extra robots")


class Plane:
    """A field of 6 x 6 cells: glide to the corner that is named, by numbers within bounds."""

    name = "plane"
    tasks: ClassVar = {"north": WorldTask("north", 5), "south": WorldTask("south", 5)}
    actions = Bounds(("right", "down"), (-1.0, -0.5), (1.0, 0.5), (0.0, 0.0))
    shape = (3, 6, 6)
    patch = 3
    words = ("glide", "north", "south")
    unsaid = frozenset({"please"})
    rollouts = 20

    def reset(self, task, seed):
        return Glide(task, np.random.default_rng(seed))


class Glide:
    def __init__(self, task, draw):
        self.instruction = f"please glide {task}"
        self.place = draw.uniform((1, 2), (4, 3))
        self.goal = np.array((5.0, 0.0 if task == "north" else 5.0))
        self.left, self.done, self.success = 5, False, False

    def view(self):
        drawn = np.zeros(Plane.shape, np.uint8)
        column, row = self.place.round().astype(int)
        drawn[:, row, column] = 250
        return drawn

    def step(self, action):
        Plane.actions.check(action)
        assert not self.done
        self.place = np.clip(self.place + 2 * np.asarray(action, float), 0, 5)
        self.left -= 1
        self.success = bool(np.abs(self.place - self.goal).max() < 1)
        self.done = self.success or not self.left

    def expert(self):
        return Plane.actions.clipped((self.goal - self.place) / 2)


def plane(*tasks, episodes=40, heldout=20, horizon=2, **told):
    """Demonstrations over a plane."""
    tasks = tasks or ("north", "south")
    return demonstrated("plane", Plane(), tasks, horizon, episodes, heldout, **told)


def glides_where_it_is_told(data):
    """The rule that solves a plane: from the bright cell it sees to the corner that it is told."""

    def rule(condition):
        view = data.condition.view
        numbers = condition[:, : view.tokens * view.token_dim]
        seen = view.unpatchify(numbers.unflatten(1, (view.tokens, view.token_dim)))[:, 0]
        cell = seen.flatten(1).argmax(dim=1)
        place = torch.stack([cell % 6, cell // 6], dim=1).float()
        goal = torch.where(condition[:, -1:] == 2, torch.tensor([5.0, 0.0]), 5.0)
        plan, low, high = [], torch.tensor(Plane.actions.low), torch.tensor(Plane.actions.high)
        for _ in range(data.horizon):
            plan.append(torch.clamp((goal - place) / 2, low, high))
            place = place + 2 * plan[-1]
        return torch.stack(plan, dim=1)

    return rule
