"""Meta-World's fifty tasks of a robot's arm over a table (Yu et al., arXiv 1910.10897; Farama's
package, MuJoCo): reach, push, open a door, each with a scripted expert of its own.

An action is where the hand shall move, three numbers, and how the gripper shall pull, each in
-1..1; the environment clips what its experts ask for, and so does this. It is held for
`data.repeat` steps of the simulator. The view is a picture of the table from above its corner,
drawn finely and averaged, or the state that the experts read (`data.sight=state`, for a machine
on which nothing renders). The instruction is the task's name.

    python -m bench.run data=metaworld method=selfflow
    python -m bench.run data=metaworld data.tasks=[door_open,door_close] data.name=doors
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.core.data.demonstrations import Demonstrations, demonstrated
from bench.core.data.worlds.actions import Act, Bounds
from bench.core.data.worlds.arm_simulator import (
    ArmSimulator,
    SimulatedMoment,
    arm_simulator,
    robots_package,
)
from bench.core.data.worlds.world import Sight, WorldTask

NAMES_OF_TASKS = """
    assembly basketball bin_picking box_close button_press button_press_topdown
    button_press_topdown_wall button_press_wall coffee_button coffee_pull coffee_push dial_turn
    disassemble door_close door_lock door_open door_unlock drawer_close drawer_open faucet_close
    faucet_open hammer hand_insert handle_press handle_press_side handle_pull handle_pull_side
    lever_pull peg_insert_side peg_unplug_side pick_out_of_hole pick_place pick_place_wall
    plate_slide plate_slide_back plate_slide_back_side plate_slide_side push push_back push_wall
    reach reach_wall shelf_place soccer stick_pull stick_push sweep sweep_into window_close
    window_open
"""
ARM_TASKS = tuple(NAMES_OF_TASKS.split())
# Steps of the simulator after which an attempt has failed. Experts mostly take half as many.
ARM_LIMITS = dict.fromkeys(ARM_TASKS, 150) | {
    "basketball": 200, "bin_picking": 300, "box_close": 250, "disassemble": 200,
    "handle_pull": 250, "peg_insert_side": 200, "peg_unplug_side": 250, "stick_pull": 300,
}  # fmt: skip
ARM_MOVES = Bounds(("x", "y", "z", "gripper"), (-1.0,) * 4, (1.0,) * 4, (0.0,) * 4)


def metaworld(
    name: str,
    tasks: Sequence[str],
    sight: Literal["picture", "state"],
    size: int,
    patch: int,
    repeat: int,
    horizon: int,
    episodes: int,
    heldout_episodes: int,
    *,
    loudness: float,
    standardised: bool,
    cache: Path | None = None,
) -> Demonstrations:
    """Demonstrations over a `Tabletop`; arguments as there and as `demonstrated` takes them."""
    world, counts = Tabletop(sight, size, patch, repeat), (episodes, heldout_episodes)
    return demonstrated(
        name, world, tasks, horizon, *counts, loudness=loudness, standardised=standardised,
        cache=cache,
    )  # fmt: skip


@dataclass(frozen=True)
class Tabletop:
    """sight: what a view is; size, side: of a picture and of its patches, in pixels; repeat: steps
    of the simulator that an action lasts.

    Raises ValueError where Meta-World is not installed, and for no pixels and no steps.
    """

    sight: Literal["picture", "state"]
    size: int
    side: int
    repeat: int

    actions = ARM_MOVES
    words = tuple(sorted({word for task in ARM_TASKS for word in task.split("_")}))
    unsaid = frozenset[str]()
    rollouts = 50  # a hundred steps of physics each, ten milliseconds a view

    def __post_init__(self) -> None:
        if min(self.repeat, self.size) < 1:
            raise ValueError(
                f"data.repeat={self.repeat} and data.size={self.size}: an action lasts 1 step or "
                "more, and a view has 1 pixel or more"
            )
        robots_package()

    @property
    def name(self) -> str:
        versions = (f"{of} {importlib.metadata.version(of)}" for of in ("metaworld", "mujoco"))
        return f"{' '.join(versions)}, {self!r}"

    @property
    def tasks(self) -> Mapping[str, WorldTask]:
        return {task: WorldTask(task, -(-most // self.repeat)) for task, most in ARM_LIMITS.items()}

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size) if self.sight == "picture" else STATE_SHAPE

    @property
    def patch(self) -> int | tuple[int, ...]:
        return self.side if self.sight == "picture" else STATE_SHAPE[1:]

    def reset(self, task: str, seed: int) -> ArmEpisode:
        return ArmEpisode(self, arm_simulator(task, self.size), task, seed)


# The state as a view: what an expert reads, without the step before -------------------------------

STATE_SHAPE = (3, 1, 7)  # 21 numbers as one token, which has those of three channels
OF_NOW, OF_GOAL = slice(0, 18), slice(36, 39)
HAND_LOW, HAND_HIGH = (-0.525, 0.348, -0.0525), (0.525, 1.025, 0.7)  # metres that it may reach
# the hand and how far it is open, two things and how each is turned, the goal
STATE_LOW = np.array([*HAND_LOW, 0, *(2 * [*HAND_LOW, *[-1] * 4]), *HAND_LOW])
STATE_HIGH = np.array([*HAND_HIGH, 1, *(2 * [*HAND_HIGH, *[1] * 4]), *HAND_HIGH])


def state_as_bytes(observation: NDArray[np.float64]) -> Sight:
    """What Meta-World says [39] in steps of 1/255 of what each number may be, as STATE_SHAPE."""
    state = np.concatenate([observation[OF_NOW], observation[OF_GOAL]])
    share = np.clip((state - STATE_LOW) / (STATE_HIGH - STATE_LOW), 0, 1)
    return np.rint(255 * share).astype(np.uint8).reshape(STATE_SHAPE)


# Episodes -----------------------------------------------------------------------------------------


class ArmEpisode:
    """An episode; what happens in it is the same whatever others do in between."""

    def __init__(self, table: Tabletop, simulator: ArmSimulator, task: str, seed: int):
        self.instruction = task.replace("_", " ")
        self.done = self.success = False
        self.left_at: SimulatedMoment | None = None  # while another episode has the simulator
        self._table, self._simulator = table, simulator
        self._left = table.tasks[task].limit
        self._observed = simulator.begun(self, seed)

    def step(self, action: Act) -> None:
        ARM_MOVES.check(action)
        if self.done:
            raise ValueError(f"the episode {self.instruction!r} has ended: reset the world")
        simulated = self._simulator.turn_of(self)
        for _ in range(self._table.repeat):
            self._observed, _, _, _, said = simulated.step(np.asarray(action, np.float32))
            self.success = bool(said["success"])
            if self.success:
                break
        self._left -= 1
        self.done = self.success or self._left == 0

    def view(self) -> Sight:
        if self._table.sight == "state":
            return state_as_bytes(self._observed)
        return self._simulator.picture(self)

    def expert(self) -> NDArray[np.float32]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says at every step that it will be clipped
            wanted = self._simulator.expert.get_action(self._observed.copy())  # which some write to
        return ARM_MOVES.clipped(wanted)
