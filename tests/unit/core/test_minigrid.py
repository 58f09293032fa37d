"""MiniGrid as a world: its expert, its view, and what is refused."""

import builtins

import numpy as np
import pytest
from support.worlds import need_minigrid

from bench.core.data.played import ROLLED_OUT_FROM, play
from bench.core.data.worlds.minigrid import ROOM_ACTIONS, ROOM_TASKS, Rooms, _levels
from bench.core.data.worlds.world import word_numbers

FORWARD, PICK_UP, WAIT = (ROOM_ACTIONS.index(name) for name in ("forward", "pick up", "wait"))


@pytest.fixture
def rooms():
    need_minigrid()
    return Rooms(room=6, objects=3)


def shortest(world, task, seed, limit):
    """Fewest actions to success, all sequences tried breadth first by what is seen."""
    seen, waiting = set(), [[]]
    while waiting:
        following = []
        for actions in waiting:
            for action in range(5):
                episode = world.reset(task, seed)
                for one in [*actions, action]:
                    episode.step(one)
                if episode.success:
                    return len(actions) + 1
                state = episode.view().tobytes()
                if not episode.done and state not in seen:
                    seen.add(state)
                    following.append([*actions, action])
        waiting = following if len(following[0]) < limit else []
    return None


@pytest.mark.parametrize("task", ROOM_TASKS)
def test_the_expert_solves_every_room(rooms, task):
    for seed in range(ROLLED_OUT_FROM, ROLLED_OUT_FROM + 40):
        assert play(rooms, task, seed) is not None, seed


def test_the_expert_takes_the_shortest_way(rooms):
    for seed in range(3):
        _, _, actions = play(rooms, "pick", seed)
        assert shortest(rooms, "pick", seed, 14) == len(actions)


def test_an_episode_follows_from_its_seed_and_the_actions(rooms):
    first, again = (play(rooms, "put_next", 5) for _ in range(2))
    assert first[0] == again[0] and first[2] == again[2]
    assert all(np.array_equal(a, b) for a, b in zip(first[1], again[1], strict=True))
    assert play(rooms, "put_next", 6)[0] != first[0]


def test_the_view_looks_up_from_the_agent_and_turns_with_it(rooms):
    episode = rooms.reset("pick", 1)
    tiles = episode.view().reshape(3, 7, 2, 7, 2).transpose(1, 3, 0, 2, 4)
    episode.step(0)
    turned = episode.view().reshape(3, 7, 2, 7, 2).transpose(1, 3, 0, 2, 4)
    # turned left, what was on the left is ahead; the agent's own tile stays
    assert np.array_equal(turned, np.rot90(tiles, k=-1))
    middle = turned[3, 3]
    while np.array_equal(episode.view(), before := episode.view()):
        episode.step(FORWARD)
        if not np.array_equal(episode.view(), before):
            break
    moved = episode.view().reshape(3, 7, 2, 7, 2).transpose(1, 3, 0, 2, 4)
    assert np.array_equal(moved[3, 3], middle)
    assert np.array_equal(np.delete(moved[1:], 3, axis=1), np.delete(turned[:-1], 3, axis=1))


def test_picking_up_another_object_ends_the_episode(rooms):
    for seed in range(5):
        episode = rooms.reset("pick", seed)
        level, wanted = episode._level, episode._level.instrs.desc

        def is_another(x, y, level=level, wanted=wanted):
            there = level.grid.get(x, y)
            others = there is not None and there.type in ("ball", "key", "box")
            return others and (there.type, there.color) != (wanted.type, wanted.color)

        for action in [*episode._path(is_another), PICK_UP]:
            assert not episode.done
            episode.step(action)
        assert episode.done and not episode.success


def test_an_episode_ends_at_its_limit_and_takes_no_action_more(rooms):
    episode = rooms.reset("put_next", 3)
    for _ in range(ROOM_TASKS["put_next"].limit):
        assert not episode.done
        episode.step(WAIT)
    assert episode.done and not episode.success
    with pytest.raises(ValueError, match=r"has ended: reset the world"):
        episode.step(WAIT)
    for action in (-1, 6):
        with pytest.raises(ValueError, match=rf"action {action} is outside 0..5 \(left, right"):
            rooms.reset("pick", 0).step(action)


def test_its_instructions_are_words_that_it_says(rooms):
    for task, count in (("pick", 3), ("put_next", 5)):
        for seed in range(20):
            assert len(word_numbers(rooms, rooms.reset(task, seed).instruction)) == count


@pytest.mark.parametrize(("room", "objects"), [(4, 2), (6, 1), (6, 9)])
def test_rooms_without_room_are_refused(room, objects):
    with pytest.raises(ValueError, match=rf"data.objects={objects} in data.room={room}: choose"):
        Rooms(room, objects)


def test_a_world_that_is_not_installed_is_named_with_its_line(monkeypatch):
    real = builtins.__import__

    def lacking(name, *rest, **others):
        if name.startswith("minigrid"):
            raise ImportError(name)
        return real(name, *rest, **others)

    _levels.cache_clear()
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ValueError, match=r"data=minigrid needs minigrid .*: pip install minigrid"):
        Rooms(6, 3)
