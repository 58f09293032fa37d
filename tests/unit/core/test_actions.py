"""Actions: choices by number and numbers within bounds, as tokens and back."""

import numpy as np
import pytest
import torch

from bench.core.data.worlds.actions import LEAST_SPREAD, Bounds, Choices

TURNS = Choices(("left", "right", "wait"), 2)
MOVES = Bounds(("along", "up"), (-1.0, 0.0), (3.0, 0.5), (1.0, 0.0))


def test_a_choice_is_a_one_hot_of_ones_and_minus_ones():
    tokens = TURNS.tokens(torch.tensor([[1, 2]]))
    assert tokens.tolist() == [[[-1, 1, -1], [-1, -1, 1]]]
    assert TURNS.of_tokens(tokens + 0.3).tolist() == [[1, 2]]
    assert TURNS.width == 3 and TURNS.scale == "" and TURNS.usual(np.array([1, 0, 1])) == 1


def test_numbers_are_in_minus_one_to_one_between_their_bounds():
    actions = torch.tensor([[-1.0, 0.0], [3.0, 0.5], [1.0, 0.25], [2.0, 0.375]])
    assert MOVES.tokens(actions).tolist() == [[-1, -1], [1, 1], [0, 0], [0.5, 0.5]]
    assert torch.equal(MOVES.of_tokens(MOVES.tokens(actions)), actions)
    assert MOVES.of_tokens(torch.tensor([9.0, -9.0])).tolist() == [3, 0], "cut at the bounds"
    assert MOVES.of_tokens(torch.tensor([[0.1, 0.3]])).dtype == torch.float32


def test_standardised_numbers_have_mean_nought_and_deviation_one():
    drawn = np.random.default_rng(0).uniform(MOVES.low, MOVES.high, (400, 2)).astype(np.float32)
    scaled = MOVES.standardised(drawn)
    tokens = scaled.tokens(torch.from_numpy(drawn))
    assert tokens.mean(dim=0).abs().max() < 1e-3
    assert (tokens.std(dim=0, correction=0) - 1).abs().max() < 1e-3
    assert torch.allclose(scaled.of_tokens(tokens), torch.from_numpy(drawn), atol=1e-6)
    assert scaled.scale != MOVES.scale and (scaled.low, scaled.high) == (MOVES.low, MOVES.high)
    still = MOVES.standardised(np.zeros((5, 2), np.float32))
    assert still.half == pytest.approx((LEAST_SPREAD * 2, LEAST_SPREAD * 0.25), abs=1e-4)
    with pytest.raises(ValueError, match="are no measures"):
        TURNS.standardised(np.array([0, 1]))


@pytest.mark.parametrize("action", [(3.1, 0.2), (0.0, -0.1), (np.nan, 0.2), (0.0,), 1])
def test_an_action_outside_its_bounds_is_refused(action):
    MOVES.check(np.array((3.0, 0.5), np.float32))
    with pytest.raises(ValueError, match=r"outside its bounds \(along -1..3, up 0..0.5\): a pol"):
        MOVES.check(np.array(action))


@pytest.mark.parametrize("action", [3, -1, np.array([0.5, 0.5])])
def test_what_is_no_choice_is_refused(action):
    TURNS.check(np.int64(2))
    with pytest.raises(ValueError, match=r"outside 0..2 \(left, right, wait\)"):
        TURNS.check(action)


def test_random_actions_are_never_idle_or_anywhere_within_the_bounds():
    draw = np.random.default_rng(0)
    assert {TURNS.at_random(draw) for _ in range(50)} == {0, 1}
    drawn = np.array([MOVES.at_random(draw) for _ in range(2000)])
    for action in drawn:
        MOVES.check(action)
    assert drawn.mean(axis=0) == pytest.approx([1, 0.25], abs=0.1)
    assert drawn.std(axis=0) == pytest.approx([4 / 12**0.5, 0.5 / 12**0.5], rel=0.05)


def test_what_an_environment_clips_is_clipped():
    assert MOVES.clipped([7.0, -2.0]).tolist() == [3, 0]
    assert MOVES.usual(np.array([[0, 0], [1, 0.5]], np.float32)).tolist() == [0.5, 0.25]


def test_another_program_is_sent_numbers_and_sends_them_back():
    assert TURNS.sent(np.array([1, 2])).tolist() == [[1], [2]] and TURNS.sent_as.numbers == 1
    assert TURNS.received(np.array([0.9999], np.float32)) == 1
    sent = MOVES.sent(np.array([[0.5, 0.25]]))
    assert sent.dtype == np.float32 and MOVES.received(sent[0]).tolist() == [0.5, 0.25]
    assert MOVES.sent_as == (2, "numbers_of_action", (-1, 3))
