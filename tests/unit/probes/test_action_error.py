"""The error of actions: by hand, beside its yardsticks."""

import numpy as np
import pytest
import torch
from support.arms import random_backbone
from support.worlds import corridor, plane

from bench.core.data.base import PictureData
from bench.core.model.tokens import TokenGrid
from bench.core.store.rows import YARDSTICKS
from probes.action_error import ActionError
from probes.metric import Inputs, Sampled


@pytest.fixture
def robot():
    return plane(episodes=60, heldout=20, horizon=3)


def measured(data, tokens, asked):
    samples = Sampled(sampling={"protocol": "ode50"}, tokens=tokens, asked=asked)
    metric, inputs = ActionError("action_error"), Inputs(
        backbone=random_backbone(), weights="ema", sha256="", data=data, data_name="", aligned=None,
        device=torch.device("cpu"), cache=None, samples=samples,
    )  # fmt: skip
    metric.check(inputs)
    (row,) = metric.measure(inputs)
    return row


def test_actions_as_recorded_have_no_error_and_others_their_own(robot):
    asked = torch.arange(robot.n_heldout)
    tokens = robot.tokens("heldout")
    row = measured(robot, tokens, asked)
    assert row.value < 1e-12 and row.n == robot.n_heldout
    # a step that is a tenth of the range too long, in one of two numbers
    off = tokens.clone()
    view, actions = robot.grid.unpack(off)
    recorded_steps = actions[..., 0].clone()
    actions[..., 0] = recorded_steps * 0.8
    row = measured(robot, robot.grid.pack(view, actions), asked)
    by_hand = (0.2 * recorded_steps).double().square().mean() / 2
    assert row.value == pytest.approx(float(by_hand), rel=1e-4)

    beside = row.details[YARDSTICKS]
    units = robot.actions.tokens(robot.recorded_actions("heldout")).double()
    mean = robot.actions.tokens(torch.from_numpy(robot.played["train"].actions.mean(0)))
    assert beside["the usual actions"] == pytest.approx(float(((units - mean) ** 2).mean()), 1e-4)
    other = units.roll(len(units) // 2, dims=0)
    assert beside["those of another moment"] == pytest.approx(float(((units - other) ** 2).mean()))


def test_only_the_moments_that_were_asked_for_count(robot):
    asked = torch.tensor([4, 1, 4])
    assert measured(robot, robot.tokens("heldout", asked), asked).value < 1e-12
    row = measured(robot, robot.tokens("heldout", torch.tensor([4, 4, 4])), asked)
    units = robot.actions.tokens(robot.recorded_actions("heldout")).double()
    assert row.value == pytest.approx(float(((units[4] - units[1]) ** 2).mean()) / 3, abs=1e-6)


def test_of_choices_it_is_the_share_that_differs():
    data = corridor(horizon=2)
    asked = torch.arange(data.n_heldout)
    row = measured(data, data.tokens("heldout"), asked)
    assert row.value == 0 and row.protocol["of"] == "share that differs"
    view, actions = data.grid.unpack(data.tokens("heldout"))
    row = measured(data, data.grid.pack(view, -actions), asked)
    assert row.value == 1, "of three choices turned round none is the one that was taken"


def test_samples_that_are_not_finite_are_left_out_and_counted(robot):
    tokens, asked = robot.tokens("heldout").clone(), torch.arange(robot.n_heldout)
    tokens[0, 0, 0] = torch.nan
    row = measured(robot, tokens, asked)
    assert row.n == len(asked) - 1 and "1 of" in row.note
    row = measured(robot, tokens * torch.nan, asked)
    assert row.value is None and row.n == 0


def test_data_without_actions_are_refused():
    empty = {split: torch.zeros(2, 3, 4, 4, dtype=torch.uint8) for split in ("train", "heldout")}
    labels = {split: torch.zeros(2, dtype=torch.long) for split in empty}
    data = PictureData("digits", TokenGrid((4, 4), 2, 1), 1, empty, labels)
    with pytest.raises(ValueError, match=r"compares actions, and digits are pictures without any"):
        measured(data, torch.zeros(2, 4, 12), np.arange(2))
