"""Token grids, noise levels, the path and the time distributions,
against values worked out by hand.
"""

import math

import pytest
import torch

from bench.core.model.flow import interpolate, velocity
from bench.core.model.noise import NoiseLevels, TimeDistribution, shift_time
from bench.core.model.tokens import TokenGrid


@pytest.mark.parametrize(("shape", "patch"), [((12,), 3), ((8, 4), 2), ((4, 6, 8), 2)])
def test_tokens_go_back_to_the_data(shape, patch):
    grid = TokenGrid(shape, patch, 3)
    x = torch.randn(2, 3, *shape)
    tokens = grid.patchify(x)
    assert tokens.shape == (2, math.prod(s // patch for s in shape), 3 * patch ** len(shape))
    assert torch.equal(grid.unpatchify(tokens), x)


def test_patch_rows_are_channel_then_p1_then_p2():
    grid = TokenGrid((4, 6), 2, 3)
    x = torch.randn(1, 3, 4, 6)
    row, column = 1, 2
    patch = x[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    assert torch.equal(
        grid.patchify(x)[0, row * 3 + column],
        torch.cat([patch[c, p].flatten() for c in range(3) for p in range(2)]),
    )


def test_patching_equals_a_strided_convolution():
    grid = TokenGrid((8, 8), 2, 4)
    weight, x = torch.randn(5, 4, 2, 2), torch.randn(2, 4, 8, 8)
    convolved = torch.nn.functional.conv2d(x, weight, stride=2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(
        grid.patchify(x) @ weight.reshape(5, -1).T, convolved, atol=1e-5, rtol=1e-5
    )


def test_position_embedding_has_the_column_first():
    embedding = TokenGrid((4, 6), 2, 1).position_embedding(8)[0]
    for row in range(2):
        for column in range(3):
            expected = []
            for position in (column, row):
                angles = [position / 10000 ** (i / 2) for i in range(2)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            torch.testing.assert_close(
                embedding[row * 3 + column], torch.tensor(expected), atol=1e-6, rtol=0
            )


def test_a_patch_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="patch 3 does not divide"):
        TokenGrid((8, 8), 3, 1)


def test_path_and_its_derivative():
    x0, x1 = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    h = 1e-6
    slope = (interpolate(x0, x1, t + h) - interpolate(x0, x1, t - h)) / (2 * h)
    torch.testing.assert_close(slope, velocity(x0, x1), atol=1e-8, rtol=0)
    assert torch.equal(interpolate(x0, x1, torch.ones(2)), x1) and torch.equal(
        interpolate(x0, x1, torch.zeros(2)), x0
    )


def test_levels_per_token_and_pick_agree_with_a_loop():
    levels = torch.tensor([[0.1, 0.8], [0.5, 0.2]])
    index = torch.tensor([[0, 1, 1], [1, 0, 0]])
    noise = NoiseLevels(levels, index)
    assert torch.equal(noise.per_token(3), torch.tensor([[0.1, 0.8, 0.8], [0.2, 0.5, 0.5]]))
    vectors, x = torch.randn(2, 2, 5), torch.randn(2, 3, 5)
    picked = noise.pick(lambda v: x * v, vectors)
    for b in range(2):
        for n in range(3):
            torch.testing.assert_close(picked[b, n], x[b, n] * vectors[b, index[b, n]])


def test_separated_attention_mask():
    mask = NoiseLevels(torch.rand(1, 2), torch.tensor([[0, 1, 0]]), separated=True).attention_mask(
        3
    )
    assert mask is not None
    assert mask[0, 0].tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert NoiseLevels(torch.rand(1, 2), torch.tensor([[0, 1, 0]])).attention_mask(3) is None


def test_more_levels_than_tokens_are_refused():
    with pytest.raises(ValueError, match="5 noise levels for 3 tokens"):
        NoiseLevels(torch.rand(1, 5), torch.zeros(1, 3, dtype=torch.long)).check(3)
    with pytest.raises(ValueError, match="need an index"):
        NoiseLevels(torch.rand(1, 2)).check(3)


def test_time_distributions():
    generator = torch.Generator().manual_seed(0)
    u, z = torch.rand(200_000, generator=generator), torch.randn(200_000, generator=generator)
    uniform, logit = TimeDistribution()(u, z), TimeDistribution("logit_normal", 0.3, 1.2)(u, z)
    assert torch.equal(uniform, u)
    x = torch.logit(logit.double())
    assert abs(x.mean() - 0.3) < 0.01 and abs(x.std() - 1.2) < 0.01
    assert shift_time(torch.tensor(0.5), 3.0) == pytest.approx(0.75)
    shifted = TimeDistribution(shift=3.0)(u, z)
    torch.testing.assert_close(shifted, 3 * u / (1 + 2 * u))
    with pytest.raises(ValueError, match=r"time\.kind=gauss"):
        TimeDistribution("gauss")
