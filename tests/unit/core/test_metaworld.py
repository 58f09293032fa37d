"""Meta-World as a world: its experts, its views, its turns, and what is refused."""

import builtins

import numpy as np
import pytest
from support.worlds import need_metaworld

from bench.core.data.played import ROLLED_OUT_FROM, play
from bench.core.data.worlds.arm_simulator import arm_simulator, robots_package
from bench.core.data.worlds.metaworld import (
    ARM_LIMITS,
    ARM_MOVES,
    ARM_TASKS,
    STATE_HIGH,
    STATE_LOW,
    Tabletop,
    state_as_bytes,
)
from bench.core.data.worlds.world import word_numbers

TASKS = ("reach", "door_open")  # the latter's door stands elsewhere in each episode


def table(sight="state"):
    need_metaworld()
    return Tabletop(sight, size=24, side=3, repeat=5)


def drawn():
    """A table that is drawn, where something renders."""
    world = table("picture")
    try:
        world.reset("reach", 0).view()
    except ValueError as error:
        pytest.skip(f"nothing renders: {error}")
    return world


def played_in_turns(world, task, seeds):
    """Views of the experts' episodes, a step of each at a time."""
    episodes = [world.reset(task, seed) for seed in seeds]
    views = [[episode.view()] for episode in episodes]
    while any(not episode.done for episode in episodes):
        for episode, seen in zip(episodes, views, strict=True):
            if not episode.done:
                episode.step(episode.expert())
                seen.append(episode.view())
    return views


def same(views, others):
    return np.array_equal(np.stack(views), np.stack(others))


# Without the package ------------------------------------------------------------------------------


def test_a_state_is_bytes_of_what_each_number_may_be():
    observation = np.zeros(39)
    observation[:18], observation[36:] = STATE_LOW[:18], STATE_HIGH[18:]
    observation[0] = (STATE_LOW[0] + STATE_HIGH[0]) / 2
    observation[3], observation[18:36] = 7, 99  # beyond, and the step before
    seen = state_as_bytes(observation)
    assert seen.shape == (3, 1, 7) and seen.dtype == np.uint8
    assert seen.ravel().tolist() == [128, 0, 0, 255, *[0] * 14, 255, 255, 255]


def test_there_are_fifty_tasks_and_each_ends():
    assert len(ARM_TASKS) == 50 == len(set(ARM_TASKS)) and set(ARM_LIMITS) == set(ARM_TASKS)


def test_a_world_that_is_not_installed_is_named_with_its_line(monkeypatch):
    real = builtins.__import__

    def lacking(name, *rest, **others):
        if name.startswith(("mujoco", "metaworld")):
            raise ImportError(name)
        return real(name, *rest, **others)

    robots_package.cache_clear()
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ValueError, match=r"data=metaworld needs Meta-World .*: pip install metaw"):
        Tabletop("state", 24, 3, 5)


@pytest.mark.parametrize(("size", "repeat"), [(24, 0), (0, 5)])
def test_an_action_of_no_step_and_a_view_of_no_pixel_are_refused(size, repeat):
    with pytest.raises(ValueError, match=rf"data.repeat={repeat} and data.size={size}: an action"):
        Tabletop("state", size, 3, repeat)


# With it ------------------------------------------------------------------------------------------


def test_it_names_the_tasks_of_the_package():
    table()
    names = {name.removesuffix("-v3").replace("-", "_") for name in robots_package().experts}
    assert names == set(ARM_TASKS)


@pytest.mark.parametrize("task", ["reach", "push", "door_open", "drawer_close"])
def test_the_expert_solves_what_is_demonstrated(task):
    world = table()
    for seed in range(ROLLED_OUT_FROM, ROLLED_OUT_FROM + 3):
        text, views, actions = play(world, task, seed)
        assert text == task.replace("_", " ") and len(views) == len(actions) + 1
        for action in actions:
            ARM_MOVES.check(action)
    assert max(np.abs(actions).max(axis=1)) == 1, "what it asks for is clipped"


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_is_the_same_whatever_others_do_in_between(task):
    world, seeds = table(), (5, 6, 7)
    alone = [play(world, task, seed)[1] for seed in seeds]
    for first, in_turn in zip(alone, played_in_turns(world, task, seeds), strict=True):
        assert same(first, in_turn)
    assert not np.array_equal(alone[0][0], alone[1][0]), "another seed begins elsewhere"
    arm_simulator.cache_clear()
    assert same(play(world, task, 6)[1], alone[1]), "and a new simulator plays it again"


def test_a_picture_shows_what_moves_and_leaves_it_as_it_is():
    world, states = drawn(), table()
    views, alone = play(world, "reach", 3)[1], play(states, "reach", 3)[2]
    assert views[0].shape == (3, 24, 24) and views[0].dtype == np.uint8
    assert views[0].std() > 20 and not np.array_equal(views[0], views[-1])
    assert np.array_equal(np.stack(play(world, "reach", 3)[2]), np.stack(alone))
    seen = played_in_turns(world, "reach", (3, 4))
    assert same(seen[0], views)


def test_an_episode_ends_at_its_limit_and_takes_no_action_more():
    world = table()
    episode = world.reset("push", 0)
    for _ in range(30):  # of 5 steps of the simulator
        assert not episode.done
        episode.step(ARM_MOVES.idle)
    assert episode.done and not episode.success
    with pytest.raises(ValueError, match=r"'push' has ended: reset the world"):
        episode.step(ARM_MOVES.idle)
    with pytest.raises(ValueError, match=r"is outside its bounds \(x -1..1, y -1..1, z -1..1, gr"):
        world.reset("push", 0).step(np.array([0, 0, 0, 1.5]))


def test_its_instructions_are_words_that_it_says():
    world = table()
    for task in ARM_TASKS:
        said = word_numbers(world, task.replace("_", " "))
        assert len(said) == 1 + task.count("_"), task


def test_where_nothing_renders_the_remedy_is_said(monkeypatch):
    world = table("picture")
    arm_simulator.cache_clear()

    def broken(*_):
        raise RuntimeError("no display")

    monkeypatch.setattr(robots_package().mujoco, "Renderer", broken)
    with pytest.raises(
        ValueError, match=r"nothing renders here \(no display\): .*data.sight=state"
    ):
        world.reset("reach", 0).view()
    assert table().reset("reach", 0).view().shape == (3, 1, 7), "the state needs no renderer"
