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


@pytest.mark.parametrize(
    ("shape", "patch"), [((8, 12, 12), (2, 4, 4)), ((12, 32), (4, 2)), ((6,), (3,))]
)
def test_a_patch_has_a_size_for_each_axis(shape, patch):
    grid, x = TokenGrid(shape, patch, 2), torch.randn(2, 2, *shape)
    tokens = grid.patchify(x)
    assert grid.grid == tuple(s // p for s, p in zip(shape, patch, strict=True))
    assert tokens.shape == (2, math.prod(grid.grid), 2 * math.prod(patch))
    assert torch.equal(grid.unpatchify(tokens), x)
    last = x[0][(slice(None), *(slice(s - p, s) for s, p in zip(shape, patch, strict=True)))]
    assert torch.equal(tokens[0, -1], last.flatten())  # channel, then the patch's own axes


def test_one_number_says_the_same_patch_as_one_for_each_axis():
    x = torch.randn(2, 3, 8, 4)
    assert torch.equal(
        TokenGrid((8, 4), 2, 3).patchify(x), TokenGrid((8, 4), (2, 2), 3).patchify(x)
    )
    assert repr(TokenGrid((8, 8), 2, 1)) == "TokenGrid(shape=(8, 8), patch=2, channels=1)"


@pytest.mark.parametrize("patch", [(2,), (2, 2, 2), (0, 2), 0])
def test_a_patch_of_other_axes_is_refused(patch):
    with pytest.raises(ValueError, match="does not fit the shape"):
        TokenGrid((8, 8), patch, 1)


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


def draws(n=200_000):
    draw = torch.Generator().manual_seed(0)
    return torch.rand(n, generator=draw), torch.randn(n, generator=draw)


@pytest.mark.parametrize(
    ("mean", "std", "shift"), [(0.0, 1.0, 1.0), (0.0, 1.0, 10.0), (-0.5, 0.7, 3)]
)
def test_plateau_logit_normal_has_the_density_that_it_says(mean, std, shift):
    from scipy import integrate, optimize, stats

    centre = mean + math.log(shift)

    def density(t):  # of the shifted logit-normal
        return stats.norm.pdf((math.log(t / (1 - t)) - centre) / std) / (std * t * (1 - t))

    mode = optimize.minimize_scalar(
        lambda t: -density(t), bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-10}
    ).x
    below = integrate.quad(density, 0, mode)[0]
    whole = below + density(mode) * (1 - mode)
    uniform, normal = draws()
    found = TimeDistribution("plateau_logit_normal", mean, std, shift)(uniform, normal)
    for t in (0.5 * mode, mode, (1 + mode) / 2, (1 + 3 * mode) / 4):
        part = integrate.quad(density, 0, min(t, mode))[0] + density(mode) * max(0, t - mode)
        assert (found <= t).double().mean().item() == pytest.approx(part / whole, abs=0.005)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("kind", ["uniform", "logit_normal", "plateau_logit_normal"])
def test_a_share_of_times_is_nearly_noise_and_the_rest_as_it_was(kind):
    uniform, normal = draws()
    plain = TimeDistribution(kind, shift=2.0)(uniform, normal)
    mixed = TimeDistribution(kind, shift=2.0, low_snr=0.3)(uniform, normal)
    for t in (0.2, 0.5, 0.9):
        expected = 0.7 * (plain <= t).double().mean()
        assert (mixed <= t).double().mean().item() == pytest.approx(expected.item(), abs=0.005)
    inside = (mixed > 0.95).double().mean() - 0.7 * (plain > 0.95).double().mean()
    assert inside.item() == pytest.approx(0.3, abs=0.005)
    everything = TimeDistribution(kind, low_snr=1.0)(uniform, normal)
    assert everything.min() >= 0.95 and everything.mean().item() == pytest.approx(0.975, abs=1e-3)


def test_none_and_no_share_change_no_bit():
    uniform, normal = draws(1000)
    plain, none = (TimeDistribution("logit_normal", low_snr=share) for share in (None, 0.0))
    assert torch.equal(plain(uniform, normal), none(uniform, normal))


def test_context_stands_at_the_first_level_and_is_seen_by_all():
    index = torch.tensor([[1, 0, 1]])
    two = NoiseLevels(torch.tensor([[0.2, 0.8]]), index, separated=True).with_context(2)
    assert two.per_token(5)[0].tolist() == pytest.approx([0.2, 0.2, 0.8, 0.2, 0.8])
    mask = two.attention_mask(5)[0, 0]
    assert mask[:, :2].all() and mask[2].tolist() == [True, True, True, False, True]
    each = NoiseLevels(torch.tensor([[0.1, 0.5, 0.9]])).with_context(1)
    assert each.per_token(4)[0].tolist() == pytest.approx([0.1, 0.1, 0.5, 0.9])
    one = NoiseLevels(torch.tensor([[0.3]]))
    assert one.with_context(2).per_token(5)[0].tolist() == pytest.approx([0.3] * 5)
