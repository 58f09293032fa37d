"""Demonstrations: what is kept of an expert's episodes, and how a policy is told and asked."""

import numpy as np
import pytest
import torch
from support.worlds import Corridor, Plane, corridor, plane

from bench.core.data.base import described
from bench.core.data.played import (
    DEMONSTRATED_FROM,
    ROLLED_OUT_FROM,
    Played,
    instants,
    play,
)
from bench.core.data.worlds.world import word_numbers


def test_every_step_sees_now_and_the_horizon_and_waits_behind_the_end():
    lengths = np.array([3, 1])
    played = Played(np.zeros((6, 3, 2, 2), np.uint8), np.array([7, 8, 9, 6]), lengths,
                    np.array([1, 0]), ("a", "b"), 0)  # fmt: skip
    found = instants(played, horizon=2, idle=5)
    assert found.now.tolist() == [0, 1, 2, 4] and found.later.tolist() == [2, 3, 3, 5]
    assert found.actions.tolist() == [[7, 8], [8, 9], [9, 5], [6, 5]]
    assert found.asked.tolist() == [1, 1, 1, 0]


def test_tokens_are_the_view_to_come_and_the_actions_that_lead_there():
    data = corridor("walk", "hop")
    rows = torch.tensor([0, 5, 11])
    tokens = data.tokens("train", rows)
    shown = ((data.decode(tokens) + 1) * 127.5).round()
    assert torch.equal(shown, data.images("train", rows).float())
    assert torch.equal(data.actions_of(tokens), data._instants["train"].actions[rows])
    view, actions = data.grid.unpack(tokens)
    assert set(actions.flatten().tolist()) == {-1.0, 1.0} and view.shape == (3, 5, 12)
    told = data.conditions("train", rows)
    texts = [data.class_names[i] for i in data.labels("train", rows).tolist()]
    now = data._views["train"][data._instants["train"].now[rows]]
    assert torch.equal(data.told(now, texts), told)


def test_instructions_that_say_the_same_are_one_class(monkeypatch):
    """As of a world that says "a" or "the" by how many there are."""
    plain = corridor()
    reset = Corridor.reset

    def loose(world, task, seed):
        episode = reset(world, task, seed)
        if seed % 2:
            episode.instruction = episode.instruction.replace("to the", "to")
        return episode

    monkeypatch.setattr(Corridor, "reset", loose)
    data = corridor()
    assert len({text for of in data.played.values() for text in of.instructions}) == 4
    assert data.classes == 2 and data.class_names == plain.class_names == ["go east", "go west"]
    for split in ("train", "heldout"):
        assert torch.equal(data.labels(split), plain.labels(split))
        assert torch.equal(data.conditions(split), plain.conditions(split))


def test_all_numbers_of_a_view_have_mean_nought_and_deviation_one():
    data = corridor(episodes=200)
    view = data.condition.view.patchify(data._views["train"]).float()
    numbers = data.condition.standardised(view).flatten(0, 1)
    assert numbers.mean(dim=0).abs().max() < 0.01 and (numbers.std(dim=0) - 1).abs().max() < 0.01


def test_held_out_episodes_are_others_and_no_seed_is_rolled_out():
    data, world = corridor(), Corridor()
    first = [play(world, "walk", DEMONSTRATED_FROM + i) for i in (0, 40)]
    for split, (text, views, actions) in zip(("train", "heldout"), first, strict=True):
        of = data.played[split]
        assert np.array_equal(of.views[: len(views)], np.stack(views))
        assert of.actions[: len(actions)].tolist() == actions
        assert of.instructions[of.asked[0]] == text
    assert DEMONSTRATED_FROM + 60 < ROLLED_OUT_FROM
    with pytest.raises(ValueError, match=r"at most 800000 together"):
        corridor(episodes=800_000)


def test_an_expert_that_fails_is_left_out_and_counted():
    data = corridor(world=Corridor(solvable=lambda seed: seed % 4))
    assert [len(of.lengths) for of in data.played.values()] == [30, 15]
    assert "45 episodes that the expert solves, 15 that it does not" in described(data)
    with pytest.raises(ValueError, match=r"the expert fails in each of 40 demonstrations of walk"):
        corridor(world=Corridor(solvable=lambda seed: False))


def test_an_expert_that_acts_outside_the_world_is_refused(monkeypatch):
    monkeypatch.setattr("support.worlds.Walk.expert", lambda episode: 3)
    with pytest.raises(ValueError, match=r"action 3 is outside 0..2 \(left, right, wait\)"):
        corridor()


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"episodes": 1}, r"data.episodes=1 and data.heldout_episodes=20 must be 2 or more each"),
        ({"horizon": 0}, r"data.horizon=0 predicts no action"),
    ],
)
def test_what_cannot_be_demonstrated_is_refused(told, why):
    with pytest.raises(ValueError, match=why):
        corridor(**told)
    for tasks in (("run",), ("walk", "walk")):
        with pytest.raises(ValueError, match=r"give tasks of this world once each \(walk, hop\)"):
            corridor(*tasks)


def test_a_word_that_the_world_never_says_is_refused():
    assert word_numbers(Corridor(), "go to the east") == [1, 3]
    with pytest.raises(ValueError, match=r"has 'north', which this world never says"):
        word_numbers(Corridor(), "go to the north")


def test_episodes_are_played_once_and_damage_is_named(tmp_path, monkeypatch):
    first = corridor(cache=tmp_path)
    monkeypatch.setattr("support.worlds.Corridor.reset", lambda *_: pytest.fail("again"))
    again = corridor(cache=tmp_path)
    assert again.fingerprint == first.fingerprint != corridor_of_another_horizon(tmp_path)
    assert torch.equal(again.tokens("heldout"), first.tokens("heldout"))
    for file in tmp_path.rglob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged .* delete that folder"):
        corridor(cache=tmp_path)


def corridor_of_another_horizon(cache):
    return corridor(horizon=3, cache=cache).fingerprint


def test_the_usual_actions_are_the_most_frequent_of_each_step():
    data = corridor(episodes=200)
    played = data.played["train"]
    starts = np.cumsum(played.lengths) - played.lengths
    first = np.bincount(played.actions[starts]).argmax()
    found = data.usual_actions(6)
    assert found[0] == first and found[5] == np.bincount(played.actions).argmax()


def test_prompts_are_the_held_out_situations():
    data = corridor()
    assert torch.equal(data.prompts.rows, data.conditions("heldout"))
    assert len(data.prompts.texts) == data.n_heldout == len(data.images("heldout"))


def test_numbers_within_bounds_are_demonstrated_too():
    data, rows = plane(), torch.tensor([0, 5, 11])
    view, actions = data.grid.unpack(data.tokens("train", rows))
    done = data._instants["train"].actions[rows]
    assert done.shape == (3, 2, 2) and done.dtype == torch.float32
    assert torch.allclose(actions * torch.tensor([1.0, 0.5]), done)
    assert torch.allclose(data.actions_of(data.tokens("train", rows)), done)
    assert view.shape == (3, 4, 27) and data.class_names == ["glide north", "glide south"]
    for of in data.played.values():
        assert (np.abs(of.actions) <= (1, 0.5)).all()
        assert len(of.views) == len(of.actions) + len(of.lengths)
    first = play(Plane(), "north", DEMONSTRATED_FROM)[2]
    assert torch.equal(data._instants["train"].actions[0], torch.from_numpy(np.stack(first[:2])))


def test_behind_the_end_numbers_rest():
    lengths, moves = np.array([2]), np.array([[1, 2], [3, 4]], np.float32)
    played = Played(np.zeros((3, 3, 2, 2), np.uint8), moves, lengths, np.array([0]), ("a",), 0)
    found = instants(played, horizon=2, idle=np.array([0.5, 0], np.float32))
    assert found.actions.tolist() == [[[1, 2], [3, 4]], [[3, 4], [0.5, 0]]]


def test_standardised_actions_are_other_tokens_of_the_same_episodes(tmp_path):
    plain, scaled = plane(cache=tmp_path), plane(cache=tmp_path, standardised=True)
    assert plain.fingerprint != scaled.fingerprint == plane(standardised=True).fingerprint
    assert len(list(tmp_path.glob("demonstrations/*/episodes.npz"))) == 2, "one a split"
    done = scaled._instants["heldout"].actions
    assert torch.allclose(scaled.actions_of(scaled.tokens("heldout")), done, atol=1e-6)
    actions = scaled.actions.tokens(torch.from_numpy(scaled.played["train"].actions))
    assert actions.mean(dim=0).abs().max() < 1e-3


def test_an_expert_beyond_its_bounds_is_refused(monkeypatch):
    monkeypatch.setattr("support.worlds.Glide.expert", lambda episode: np.array([2.0, 0.0]))
    with pytest.raises(ValueError, match=r"\[2.0, 0.0\] is outside its bounds \(right -1..1, down"):
        plane()


def test_the_usual_numbers_are_the_mean_of_each_step():
    data = plane(episodes=100)
    played = data.played["train"]
    starts = np.cumsum(played.lengths) - played.lengths
    found = data.usual_actions(6)
    assert found[0] == pytest.approx(played.actions[starts].mean(axis=0), abs=1e-6)
    assert found[5] == pytest.approx(played.actions.mean(axis=0), abs=1e-6)
