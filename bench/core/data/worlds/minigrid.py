"""MiniGrid's rooms and BabyAI's instructions (Chevalier-Boisvert et al., arXiv 2306.13831 and
1810.08272): pick up an object, or put one next to another.

The view is drawn with MiniGrid's own tiles, but centred on the agent and turned so that it looks
up: what is to be done then depends on the view alone, wherever the agent stands (LOG.md). The
expert is ours, shortest paths over places and headings.

    python -m bench.run data=minigrid method=selfflow
    python -m bench.run data=minigrid data.tasks=[pick,put_next] data.name=both
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bench.core.data.demonstrations import Demonstrations, demonstrated
from bench.core.data.worlds.actions import Act, Choices
from bench.core.data.worlds.world import Sight, WorldTask

ROOM_TASKS = {"pick": WorldTask("pick", 14), "put_next": WorldTask("put_next", 28)}
ROOM_ACTIONS = ("left", "right", "forward", "pick up", "drop", "wait")
LEFT, RIGHT, FORWARD, PICK_UP, DROP, WAIT = range(6)
THEIR_WAIT = 6  # MiniGrid's "done", which does nothing; its fifth opens doors
OBJECTS, COLOURS = ("ball", "key", "box"), ("blue", "green", "grey", "purple", "red", "yellow")
REACH = 3  # cells that are seen on each side of the agent
CELL_SIDE = 2  # pixels of a cell
FEWEST_OBJECTS, SMALLEST_ROOM = 2, 5
EMPTY, WALL, AGENT = 0, 1, 20  # numbers of tiles; objects lie between, loads of the agent behind
Pose = tuple[int, int, int]
"""Column, row and heading: 0 right, 1 down, 2 left, 3 up."""


def minigrid(
    name: str,
    tasks: Sequence[str],
    room: int,
    objects: int,
    horizon: int,
    episodes: int,
    heldout_episodes: int,
    *,
    loudness: float,
    cache: Path | None = None,
) -> Demonstrations:
    """Demonstrations in `Rooms`; arguments as there and as `demonstrated` takes them."""
    world = Rooms(room, objects)
    counts = (episodes, heldout_episodes)
    return demonstrated(name, world, tasks, horizon, *counts, loudness=loudness, cache=cache)


@dataclass(frozen=True)
class Rooms:
    """room: cells of a side, walls included; objects: that lie in it.

    Raises ValueError where MiniGrid is not installed, and for a room without room.
    """

    room: int
    objects: int

    tasks = ROOM_TASKS
    actions = Choices(ROOM_ACTIONS, WAIT)
    shape = (3, (2 * REACH + 1) * CELL_SIDE, (2 * REACH + 1) * CELL_SIDE)
    patch = CELL_SIDE
    words = ("pick", "put", *COLOURS, *OBJECTS)
    unsaid = frozenset({"the", "a", "up", "next", "to"})
    rollouts = 200

    def __post_init__(self) -> None:
        most = (self.room - 2) ** 2 // 2  # of the floor, half of which stays free to walk
        if self.room < SMALLEST_ROOM or not FEWEST_OBJECTS <= self.objects <= most:
            raise ValueError(
                f"data.objects={self.objects} in data.room={self.room}: choose a room of "
                f"{SMALLEST_ROOM} or more, and {FEWEST_OBJECTS} objects or more on at most half of "
                "its floor"
            )
        _levels()

    @property
    def name(self) -> str:
        return f"minigrid {importlib.metadata.version('minigrid')}, {self!r}"

    def reset(self, task: str, seed: int) -> RoomEpisode:
        level = _levels()[task](self.room, self.objects)
        with contextlib.redirect_stdout(io.StringIO()):  # rooms that it draws again
            level.reset(seed=seed)
        return RoomEpisode(level, ROOM_TASKS[task].limit)


class Thing(Protocol):
    """MiniGrid's objects, and BabyAI's descriptions of them."""

    type: str
    color: str


class LevelGrid(Protocol):
    """MiniGrid's grid; None where nothing lies."""

    def get(self, x: int, y: int) -> Thing | None: ...


class Level(Protocol):
    """What is used of BabyAI's levels. instrs: of one thing, `desc`, or of two, `desc_move` and
    `desc_fixed`.
    """

    width: int
    height: int
    grid: LevelGrid
    agent_pos: tuple[int, int]
    agent_dir: int
    carrying: Thing | None
    mission: str
    instrs: object

    def reset(self, *, seed: int) -> object: ...

    def step(self, action: int) -> tuple[object, float, bool, bool, object]: ...


class RoomEpisode:
    """An episode in a level of MiniGrid; limit: steps until it has failed."""

    def __init__(self, level: Level, limit: int):
        self._level, self._left = level, limit
        self._plan: list[int] = []  # what the expert will do, while it is done
        self.instruction: str = level.mission
        self.done = self.success = False

    def step(self, action: Act) -> None:
        Rooms.actions.check(action)
        if self.done:
            raise ValueError(f"the episode {self.instruction!r} has ended: reset the world")
        self._plan = self._plan[1:] if self._plan[:1] == [action] else []
        _, reward, ended, _, _ = self._level.step(THEIR_WAIT if action == WAIT else int(action))
        self._left -= 1
        self.success = reward > 0
        self.done = ended or self._left == 0

    def view(self) -> Sight:
        level, span = self._level, 2 * REACH + 1
        column, row = level.agent_pos
        tiles = np.full((span, span), WALL, np.uint8)
        for i in range(span):
            for j in range(span):
                x, y = column + j - REACH, row + i - REACH
                if 0 <= x < level.width and 0 <= y < level.height:
                    tiles[i, j] = _tile_of(level.grid.get(x, y))
        tiles = np.rot90(tiles, k=(level.agent_dir + 1) % 4).copy()
        carried = level.carrying
        tiles[REACH, REACH] = AGENT if carried is None else AGENT - 1 + _tile_of(carried)
        drawn = _tiles()[tiles].transpose(2, 0, 3, 1, 4)  # [3, rows, pixels, columns, pixels]
        return drawn.reshape(Rooms.shape)

    def expert(self) -> int | None:
        self._plan = self._plan or self._way()
        return self._plan[0] if self._plan else None

    def _way(self) -> list[int]:
        """Actions to the next thing that has to be done and that itself; [] where none is."""
        told, carried = self._level.instrs, self._level.carrying
        wanted: Thing = getattr(told, "desc_move", None) or getattr(told, "desc")  # noqa: B009
        if carried is not None:  # put it down where the other one is near
            if (carried.type, carried.color) != (wanted.type, wanted.color):
                return []
            others = self._where(getattr(told, "desc_fixed"))  # noqa: B009
            path = self._path(
                lambda x, y: (
                    self._level.grid.get(x, y) is None
                    and any(abs(x - a) + abs(y - b) == 1 for a, b in others)
                )
            )
            return [] if path is None else [*path, DROP]
        places = self._where(wanted)
        path = self._path(lambda x, y: (x, y) in places)
        return [] if path is None else [*path, PICK_UP]

    def _where(self, described: Thing) -> set[tuple[int, int]]:
        """LevelGrid of the objects that an instruction describes."""
        level = self._level
        return {
            (x, y)
            for x in range(level.width)
            for y in range(level.height)
            if (there := level.grid.get(x, y)) is not None
            and (there.type, there.color) == (described.type, described.color)
        }

    def _path(self, faces: Callable[[int, int], bool]) -> list[int] | None:
        """The fewest actions after which the agent faces such a place, breadth first; None: it
        cannot. Of equally few the first in the order left, right, forward.
        """
        column, row = map(int, self._level.agent_pos)
        start: Pose = (column, row, int(self._level.agent_dir))
        came: dict[Pose, tuple[Pose, int] | None] = {start: None}
        waiting = deque([start])
        while waiting:
            here = waiting.popleft()
            x, y, heading = here
            ahead = x + (1, 0, -1, 0)[heading], y + (0, 1, 0, -1)[heading]
            if faces(*ahead):
                path = list[int]()
                while (step := came[here]) is not None:
                    here, action = step
                    path.append(action)
                return path[::-1]
            reached = {LEFT: (x, y, (heading - 1) % 4), RIGHT: (x, y, (heading + 1) % 4)}
            if self._level.grid.get(*ahead) is None:
                reached[FORWARD] = (*ahead, heading)
            for action, place in reached.items():
                if place not in came:
                    came[place] = here, action
                    waiting.append(place)
        return None


def _tile_of(there: Thing | None) -> int:
    """The number of an object's tile, of nothing's, or of the wall's."""
    if there is None:
        return EMPTY
    if there.type not in OBJECTS:
        return WALL
    return 2 + len(COLOURS) * OBJECTS.index(there.type) + COLOURS.index(there.color)


@functools.cache
def _tiles() -> NDArray[np.uint8]:
    """Pictures of all tiles, uint8 [39, 3, CELL_SIDE, CELL_SIDE]: MiniGrid's, averaged."""
    from minigrid.core.grid import Grid
    from minigrid.core.world_object import Ball, Box, Key, Wall

    fine = 4  # pixels that are averaged, along each axis

    def drawn(there=None, heading=None) -> NDArray[np.float64]:
        tile = Grid.render_tile(there, heading, highlight=False, tile_size=CELL_SIDE * fine)
        return tile.reshape(CELL_SIDE, fine, CELL_SIDE, fine, 3).mean(axis=(1, 3))

    objects = [drawn(make(colour)) for make in (Ball, Key, Box) for colour in COLOURS]
    agent = drawn(heading=3)
    tiles = [drawn(), drawn(Wall()), *objects, agent, *((agent + one) / 2 for one in objects)]
    return np.rint(np.stack(tiles)).astype(np.uint8).transpose(0, 3, 1, 2).copy()


@functools.cache
def _levels() -> dict[str, Callable[[int, int], Level]]:
    """What makes a level of each task, from room and objects."""
    try:
        from minigrid.envs.babyai.core.verifier import ObjDesc, PickupInstr
        from minigrid.envs.babyai.goto import GoToLocal
        from minigrid.envs.babyai.putnext import PutNextLocal
    except ImportError as error:
        raise ValueError(
            "data=minigrid needs minigrid (the optional extra worlds): pip install minigrid"
        ) from error

    class Pick(GoToLocal):
        """Pick up one of the objects; picking up another one ends the episode."""

        def gen_mission(self) -> None:
            self.place_agent()
            objects = self.add_distractors(num_distractors=self.num_dists, all_unique=False)
            self.check_objs_reachable()
            wanted = self._rand_elem(objects)
            self.instrs = PickupInstr(ObjDesc(wanted.type, wanted.color), strict=True)

        def gen_obs(self):
            return {}  # its own view, which nobody looks at, would take most of the time

    class PutNext(PutNextLocal):
        def gen_obs(self):
            return {}

    made = {
        "pick": lambda room, objects: Pick(room_size=room, num_dists=objects),
        "put_next": lambda room, objects: PutNext(room_size=room, num_objs=objects),
    }
    return cast(dict[str, Callable[[int, int], Level]], made)
