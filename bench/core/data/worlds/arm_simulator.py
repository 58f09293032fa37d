"""Meta-World's environments, of which the episodes of a task use one in turns, and what draws them.

A model takes 20 MB and a tenth of a second to make, what tells two episodes apart a few KB: each
gets its own back when it has its turn, and goes on as if there had been no other. Its view is drawn
`FINE` times as large as it is and averaged, by MuJoCo with EGL or OSMesa (`MUJOCO_GL`).

    simulator = arm_simulator("door_open", size=24)
    observation = simulator.begun(episode, seed=900_000)       # float64 [39]
    simulator.turn_of(episode).step(action)
"""

from __future__ import annotations

import atexit
import ctypes.util
import functools
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from types import ModuleType
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.data.worlds.world import Sight

LOOKED_AT, DISTANCE, AZIMUTH, ELEVATION = (0.0, 0.72, 0.12), 1.0, 135.0, -45.0  # metres, degrees
FINE = 3  # pixels that are averaged to one, along each axis
NOT_DRAWN = ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE")  # a frame takes 50 times as long
ROBOTS_INSTALL = "pip install metaworld packaging"  # it imports the latter and does not say so
NO_RENDERER = (
    "apt-get install libegl1 libgl1-mesa-dri (or libosmesa6 and MUJOCO_GL=osmesa), or choose "
    "data.sight=state"
)
REMEMBERED = (np.ndarray, np.generic, int, float, str, type(None))  # of an environment's attributes


class ArmExpert(Protocol):
    def get_action(self, obs: NDArray[np.float64]) -> NDArray[np.float32]: ...


class ArmModel(Protocol):
    """What is used of MuJoCo's models."""

    body_pos: NDArray[np.float64]
    body_quat: NDArray[np.float64]
    site_pos: NDArray[np.float64]


class Simulated(Protocol):
    """What is used of Meta-World's environments; data: MuJoCo's, of all that moves."""

    model: ArmModel
    data: object
    seeded_rand_vec: bool
    _freeze_rand_vec: bool

    def seed(self, seed: int) -> object: ...

    def reset(self) -> tuple[NDArray[np.float64], object]: ...

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, Mapping[str, float]]: ...


class ArmRenderer(Protocol):
    """What is used of MuJoCo's renderers."""

    def update_scene(self, data: object, camera: object) -> None: ...

    def render(self) -> NDArray[np.uint8]: ...


class SimulatedMoment(NamedTuple):
    """All that tells an episode of a task from another: the physics, where fixed things were put,
    and what the environment remembers.
    """

    physics: NDArray[np.float64]
    places: list[NDArray[np.float64]]
    remembered: dict[str, object]


class InTurn(Protocol):
    """An episode; left_at: how it stands while another one has the simulator."""

    left_at: SimulatedMoment | None


class ArmSimulator:
    """The simulator of a task; size: pixels of a picture's side."""

    def __init__(self, task: str, size: int):
        self._mujoco, environments, experts = robots_package()
        name = f"{task.replace('_', '-')}-v3"
        self.simulated = environments[f"{name}-goal-observable"](seed=0)
        self.simulated._freeze_rand_vec, self.simulated.seeded_rand_vec = False, True
        self.expert, self._size = experts[name](), size
        self._of: InTurn | None = None
        self._untouched = self._moment()

    def begun(self, episode: InTurn, seed: int) -> NDArray[np.float64]:
        """What is observed as an episode begins."""
        self._leave()
        self._return_to(self._untouched)
        self._of = episode
        self.simulated.seed(seed)
        return self.simulated.reset()[0]

    def turn_of(self, episode: InTurn) -> Simulated:
        """The simulator as an episode left it."""
        if self._of is not episode and episode.left_at is not None:
            self._leave()
            self._return_to(episode.left_at)
            self._of = episode
        return self.simulated

    def picture(self, episode: InTurn) -> Sight:
        """uint8 [3, size, size]. Raises ValueError where nothing renders."""
        self.turn_of(episode)
        self._derive()
        renderer = self._renderer
        camera = self._mujoco.MjvCamera()
        camera.lookat[:], camera.distance = LOOKED_AT, DISTANCE
        camera.azimuth, camera.elevation = AZIMUTH, ELEVATION
        renderer.update_scene(self.simulated.data, camera)
        drawn = renderer.render().reshape(self._size, FINE, self._size, FINE, 3)
        return np.rint(drawn.mean(axis=(1, 3))).astype(np.uint8).transpose(2, 0, 1).copy()

    @cached_property
    def _renderer(self) -> ArmRenderer:
        mujoco, model = self._mujoco, self.simulated.model
        quality = getattr(model, "vis").quality  # noqa: B009
        quality.offsamples = quality.shadowsize = 0
        try:
            renderer = mujoco.Renderer(model, self._size * FINE, self._size * FINE)
        except Exception as error:  # each way to render has kinds of its own
            raise ValueError(
                f"data=metaworld draws its views with MuJoCo, and nothing renders here ({error}): "
                f"{NO_RENDERER}"
            ) from error
        atexit.register(renderer.close)  # later than that its destructor cannot
        for name in NOT_DRAWN:
            renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{name}")] = False
        return renderer

    def _leave(self) -> None:
        if self._of is not None:
            self._of.left_at = self._moment()

    def _moment(self) -> SimulatedMoment:
        remembered: dict[str, object] = {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in vars(self.simulated).items()
            if isinstance(value, REMEMBERED) and not _is_of_the_simulator(value)
        }
        return SimulatedMoment(
            self._physics(), [place.copy() for place in self._places()], remembered
        )

    def _return_to(self, moment: SimulatedMoment) -> None:
        for place, was in zip(self._places(), moment.places, strict=True):
            place[:] = was
        for name, value in moment.remembered.items():
            kept = value.copy() if isinstance(value, np.ndarray) else value
            setattr(self.simulated, name, kept)
        self._set_physics(moment.physics)
        self._derive()

    def _derive(self) -> None:
        """Compute where everything is, which leaves the next step what it would have been."""
        physics = self._physics()
        self._mujoco.mj_forward(self.simulated.model, self.simulated.data)
        self._set_physics(physics)

    def _physics(self) -> NDArray[np.float64]:
        mujoco, model = self._mujoco, self.simulated.model
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, self.simulated.data, physics, kind)
        return physics

    def _set_physics(self, physics: NDArray[np.float64]) -> None:
        mujoco, of = self._mujoco, self.simulated
        mujoco.mj_setState(of.model, of.data, physics, mujoco.mjtState.mjSTATE_INTEGRATION)

    def _places(self) -> list[NDArray[np.float64]]:
        """Where an episode's beginning puts what does not move by itself."""
        model = self.simulated.model
        return [model.body_pos, model.body_quat, model.site_pos]


def _is_of_the_simulator(value: object) -> bool:
    """Whether an array looks into MuJoCo's own memory, which its physics fill."""
    while isinstance(value, np.ndarray):
        value = value.base
    return value is not None and not isinstance(value, REMEMBERED)


@functools.cache
def arm_simulator(task: str, size: int) -> ArmSimulator:
    return ArmSimulator(task, size)


class RobotsPackage(NamedTuple):
    """MuJoCo, and by name what makes Meta-World's environments and experts."""

    mujoco: ModuleType
    environments: Mapping[str, Callable[..., Simulated]]
    experts: Mapping[str, Callable[[], ArmExpert]]


@functools.cache
def robots_package() -> RobotsPackage:
    """Raises ValueError where it is not installed."""
    # what MuJoCo draws with is settled as it is imported; unasked it wants a window
    found = ctypes.util.find_library("EGL")
    os.environ.setdefault("MUJOCO_GL", "egl" if found else "disable")
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's: threads for so few pixels only wait
    try:
        import mujoco
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
        from metaworld.policies import ENV_POLICY_MAP
    except ImportError as error:
        raise ValueError(
            f"data=metaworld needs Meta-World (the optional extra robots): {ROBOTS_INSTALL}"
        ) from error
    except (AttributeError, RuntimeError) as error:  # of a library that is not there
        raise ValueError(
            f"MUJOCO_GL={os.environ['MUJOCO_GL']} draws nothing here ({error}): {NO_RENDERER}"
        ) from error
    return RobotsPackage(mujoco, ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE, ENV_POLICY_MAP)
