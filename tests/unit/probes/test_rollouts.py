"""Rollouts: who succeeds, under which noise, beside whom."""

import numpy as np
import pytest
import torch
from support.arms import random_backbone
from support.worlds import (
    Corridor,
    Knows,
    corridor,
    glides_where_it_is_told,
    plane,
    stands_still,
    walks_where_it_is_told,
)

from bench.core.data.base import PictureData
from bench.core.data.played import ROLLED_OUT_FROM
from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.core.numbers import wilson
from bench.core.store.rows import YARDSTICKS
from probes.metric import Inputs
from probes.rollouts import Planner, Rollouts, roll_out


def inputs(data, backbone, tmp_path, **settings):
    return Inputs(
        backbone=backbone, weights="ema", sha256="", data=data, data_name="", aligned=None,
        device=torch.device("cpu"), cache=tmp_path, settings=settings,
    )  # fmt: skip


def rows_of(data, backbone, tmp_path, **settings):
    metric, given = Rollouts("success"), inputs(data, backbone, tmp_path, **settings)
    metric.check(given)
    return {row.metric: row for row in metric.measure(given)}


def test_a_policy_that_knows_the_way_is_as_good_as_the_expert(tmp_path):
    data = corridor()
    row = rows_of(data, Knows(data, walks_where_it_is_told), tmp_path, rollouts=30)["success"]
    beside = row.details[YARDSTICKS]
    assert row.value == row.real == 1 and row.n == 30 and row.protocol["episodes"] == 30
    assert row.details["interval_95"] == list(wilson(30, 30))
    assert beside["instructions shuffled"] == 0, "an instruction of another sends it elsewhere"
    assert beside["views shuffled"] == 1, "the rule never looks"
    assert 0 < beside["at random"] < 1 and 0 < beside["the usual actions"] < 1
    assert row.protocol["seeds"].startswith(f"from {ROLLED_OUT_FROM}")


def test_groups_have_rows_of_their_own_and_a_mean(tmp_path):
    data = corridor("walk", "hop")
    first_only = Knows(data, lambda rows: torch.tensor([1, 2]).expand(len(rows), 2))  # one east
    rows = rows_of(data, first_only, tmp_path, rollouts=40)
    assert set(rows) == {"success", "success_far", "success_near"}
    mean = (rows["success_far"].value + rows["success_near"].value) / 2
    assert rows["success"].value == pytest.approx(mean) and rows["success"].n == 80
    episodes = [Corridor().reset("hop", ROLLED_OUT_FROM + i) for i in range(40)]
    east = np.mean(["east" in episode.instruction for episode in episodes])
    assert rows["success_near"].value == pytest.approx(east)


def test_an_expert_that_fails_shows_beside_the_policy(tmp_path):
    data = corridor(world=Corridor(solvable=lambda seed: seed % 2))
    row = rows_of(data, Knows(data, walks_where_it_is_told), tmp_path, rollouts=30)["success"]
    assert row.value == 1 and row.real == 0.5


def test_noise_follows_from_the_episode_and_its_looks_alone():
    data = corridor()
    backbone = random_backbone(SIZES["nano"], data.grid, condition=data.condition)
    planner = Planner(data, backbone, torch.device("cpu"), 4)
    world = Corridor()
    episodes = [world.reset("walk", seed) for seed in range(6)]
    views, texts = [e.view() for e in episodes], [e.instruction for e in episodes]
    every = planner(range(6), views, texts, 1)
    some = planner([1, 4], [views[1], views[4]], [texts[1], texts[4]], 1)
    assert np.array_equal(every[[1, 4]], some) and every.shape == (6, 2)
    assert not torch.equal(planner._noise(1, 0), planner._noise(1, 1))
    assert not torch.equal(planner._noise(1, 0), planner._noise(2, 0))


def test_a_plan_that_is_not_finite_waits_and_is_counted(tmp_path):
    data = corridor()
    broken = Knows(data, walks_where_it_is_told)
    known = broken.forward
    broken.forward = lambda x, t, c: (known(x, t, c)[0] * torch.nan, {})
    row = rows_of(data, broken, tmp_path, rollouts=10)["success"]
    assert row.value == 0 and "30 plans were not finite" in row.note  # 10 episodes, 6 of 2 steps


def test_a_policy_that_acts_outside_the_world_is_refused():
    with pytest.raises(ValueError, match=r"action 3 is outside 0..2"):
        roll_out(corridor(), "walk", 4, lambda which, *_: np.full((len(which), 2), 3))


@pytest.mark.parametrize("standardised", [False, True])
def test_a_policy_of_numbers_goes_where_it_is_told(tmp_path, standardised):
    data = plane(standardised=standardised)
    rows = rows_of(data, Knows(data, glides_where_it_is_told(data)), tmp_path)
    assert set(rows) == {"success", "success_north", "success_south"}
    row = rows["success"]
    beside = row.details[YARDSTICKS]
    assert row.value == row.real == 1 and row.n == 40, "as many as this world says, of two tasks"
    assert beside["instructions shuffled"] == 0, "that of the other task, where a task has but one"
    assert beside["views shuffled"] < 1 and beside["at random"] < 0.5
    assert beside["the usual actions"] < 1


def test_a_policy_beyond_its_bounds_is_refused():
    with pytest.raises(ValueError, match=r"action \[1.0, 0.75\] is outside its bounds"):
        roll_out(plane(), "north", 4, lambda which, *_: np.full((len(which), 2, 2), (1.0, 0.75)))


def test_a_policy_that_is_shown_nothing_costs_no_view(monkeypatch):
    data, still = plane(), np.zeros((4, 2, 2), np.float32)
    monkeypatch.setattr("support.worlds.Glide.view", lambda episode: pytest.fail("drawn"))
    assert not roll_out(data, "north", 4, lambda *_: still, blind=True).any()


def test_data_without_a_world_are_refused(tmp_path):
    empty = {split: torch.zeros(2, 3, 4, 4, dtype=torch.uint8) for split in ("train", "heldout")}
    labels = {split: torch.zeros(2, dtype=torch.long) for split in empty}
    data = PictureData("digits", TokenGrid((4, 4), 2, 1), 1, empty, labels)
    with pytest.raises(ValueError, match=r"metrics=success acts in a world, and digits are pic"):
        Rollouts("success").check(inputs(data, random_backbone(), tmp_path))


def test_yardsticks_are_rolled_out_once(tmp_path, monkeypatch):
    data = corridor()
    knows = Knows(data, walks_where_it_is_told)
    first = rows_of(data, knows, tmp_path, rollouts=10)["success"]
    monkeypatch.setattr("probes.rollouts.yardsticks", lambda *_: pytest.fail("again"))
    assert rows_of(data, knows, tmp_path, rollouts=10)["success"] == first
    (kept,) = tmp_path.rglob("episodes.json")
    kept.write_text("{")
    with pytest.raises(ValueError, match=r"damaged .* delete that folder"):
        rows_of(data, knows, tmp_path, rollouts=10)


def test_episodes_are_filmed_beside_the_expert_s(tmp_path):
    data = corridor("walk", "hop")
    clips = Rollouts("success").clips(inputs(data, Knows(data, walks_where_it_is_told), tmp_path))
    assert clips.model.dtype == torch.uint8 and clips.model.shape == (8, 3, 3, 2, 10)
    assert torch.equal(clips.model, clips.real), "who knows the way goes as the expert does"
    assert torch.equal(clips.real[7, :, -1], clips.real[7, :, 1]), "a near end is reached, and held"
    assert clips.texts[0] == Corridor().reset("walk", ROLLED_OUT_FROM).instruction + ": done"
    stands = Rollouts("success").clips(inputs(data, Knows(data, stands_still), tmp_path))
    assert stands.model.shape[2] == 7 and stands.texts[0].endswith(": not done")
    assert stands.real_texts == clips.texts == clips.real_texts
