"""Samplers against the closed-form flow of a Gaussian: moments, order of convergence, guidance,
blocks.
"""

import itertools
import math

import pytest
import torch
from support.arms import samples

from bench.core.model.sampling import Field, block_prompts, euler, heun, sample_block, sde
from bench.core.model.sampling_protocol import PROTOCOLS, sampling_protocol

M, S = 1.5, 0.6


def gaussian_velocity(x, t, label):
    """E[x1 - x0 | x_t] for x0 ~ N(M, S^2), x1 ~ N(0, 1): jointly Gaussian, so linear in x."""
    t = t.reshape(-1, *(1,) * (x.dim() - 1)).to(x.dtype)
    variance = (1 - t) ** 2 * S**2 + t**2
    return -M + (t - (1 - t) * S**2) / variance * (x - (1 - t) * M)


def exact_flow(x):
    """The probability-flow ODE of a Gaussian maps quantiles:
    from N(0, 1) at t = 1 to N(M, S^2) at t = 0.
    """
    return M + S * x


def field(protocol, velocity=gaussian_velocity):
    return Field(velocity, protocol, null=torch.tensor(10))


def start(n=2000):
    return torch.randn(n, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_start_is_rounded_where_the_protocol_says_so():
    still = {}
    for precision in ("float32", "bf16"):
        protocol = sampling_protocol("ode50", steps=1, noise_precision=precision)
        still[precision], _ = sample_block(
            lambda x, t, y: torch.zeros_like(x), protocol, (4, 4), 10, 0, 0, "cpu"
        )
    assert torch.equal(still["bf16"], still["float32"].bfloat16().float())
    assert not torch.equal(still["bf16"], still["float32"])


@pytest.mark.parametrize("name", ["ode50", "heun50", "sde250", "dopri5"])
def test_moments_of_the_data_come_out(name):
    if name == "dopri5":
        pytest.importorskip("torchdiffeq")
    protocol = sampling_protocol(name)
    tokens, _ = samples(gaussian_velocity, protocol, (4, 4), 10, 1280)
    values = tokens.flatten().double()
    error = 4 * S / math.sqrt(len(values))
    bias = {"ode50": 0.03, "heun50": 0.015, "sde250": 0.02, "dopri5": 1e-4}[name]
    assert abs(values.mean() - M) < error + bias and abs(values.std() - S) < error + bias


def order(sampler, name):
    x, label = start(200), torch.zeros(200, dtype=torch.long)
    errors = []
    for steps in (20, 40, 80):
        result = sampler(field(sampling_protocol(name, steps=steps)), x, label)
        errors.append(float((result - exact_flow(x)).abs().max()))
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def test_euler_converges_with_order_one():
    assert all(0.9 < p < 1.15 for p in order(euler, "ode50"))


def test_heun_converges_with_order_two():
    # its last step is Euler's, whose own error is of second order in the step
    assert all(1.8 < p < 2.3 for p in order(heun, "heun50"))


def test_heun_spares_the_last_correction():
    calls = []
    protocol = sampling_protocol("heun50")
    heun(
        field(protocol, lambda x, t, y: calls.append(float(t[0])) or gaussian_velocity(x, t, y)),
        start(2),
        torch.zeros(2).long(),
    )
    assert len(calls) == 99 == protocol.evaluations and min(calls) > 0


def test_time_shift_of_the_steps():
    calls = []
    euler(
        field(
            sampling_protocol("ode50", steps=4, shift=3.0),
            lambda x, t, y: calls.append(float(t[0])) or x,
        ),
        start(1),
        torch.zeros(1).long(),
    )
    assert calls == pytest.approx([1.0, 3 * 0.75 / 2.5, 0.75, 0.75 / 1.5])


def test_sde250_is_the_published_loop():
    protocol, x = PROTOCOLS["sde250"], start(5)
    label = torch.zeros(5, dtype=torch.long)
    found = sde(field(protocol), x, label, torch.Generator().manual_seed(7))
    increments = torch.Generator().manual_seed(7)
    times = torch.linspace(1, 0.04, 250, dtype=torch.float64).tolist()
    for i in range(249):
        t, h = times[i], times[i + 1] - times[i]
        v = gaussian_velocity(x, torch.full((5,), t), label)
        score = -((1 - t) * v + x) / t
        w = 2 * t
        drift = v - 0.5 * w * score
        eps = torch.randn(x.shape, generator=increments, dtype=torch.float64)
        x = x + h * drift + math.sqrt(w * abs(h)) * eps
    v = gaussian_velocity(x, torch.full((5,), 0.04), label)
    torch.testing.assert_close(found, x - 0.04 * (1.96 * v + x), atol=1e-9, rtol=1e-9)


def test_guidance_is_on_inside_its_interval_ends_included():
    def velocity(x, t, label):
        return torch.where(label == 10, 1.0, 3.0).reshape(-1, 1, 1).to(x).expand_as(x)

    x, label = start(2), torch.tensor([1, 2])
    protocol = sampling_protocol("ode50", guidance=2.0, guidance_low=0.2, guidance_high=0.8)
    for t, expected in ((0.1, 3.0), (0.2, 5.0), (0.5, 5.0), (0.8, 5.0), (0.9, 3.0)):
        assert torch.all(
            field(protocol, velocity)(x, torch.tensor(t, dtype=torch.float64), label) == expected
        )
    off = sampling_protocol("ode50", guidance=1.0)
    assert torch.all(field(off, velocity)(x, torch.tensor(0.5), label) == 3.0)
    inside = field(protocol, velocity)(
        x, torch.tensor(0.9), label, decided_at=torch.tensor(0.8, dtype=torch.float64)
    )
    assert torch.all(inside == 5.0), "the second stage of Heun follows the first"
    wide = torch.cat([x, x], dim=-1)
    part = field(sampling_protocol("ode50", guidance=2.0, guided_channels=1), velocity)(
        wide, torch.tensor(0.5), label
    )
    assert torch.all(part[..., 0] == 5.0) and torch.all(part[..., 1] == 3.0)


def test_a_block_depends_on_its_number_alone():
    protocol = sampling_protocol("sde250", steps=6)

    def block(number):
        return sample_block(gaussian_velocity, protocol, (2, 3), 10, 1, number, "cpu")

    forwards, backwards = [block(b) for b in (0, 1, 2)], [block(b) for b in (2, 1, 0)]
    for (tokens, labels), (again, same) in zip(forwards, reversed(backwards), strict=True):
        assert torch.equal(tokens, again) and torch.equal(labels, same)
    assert not torch.equal(forwards[0][0], forwards[1][0]) and not torch.equal(
        forwards[0][1], forwards[1][1]
    )


def test_labels_are_uniform_at_random_or_balanced():
    random = torch.cat([block_prompts(PROTOCOLS["sde250"], 10, 0, b) for b in range(100)])
    counts = torch.bincount(random, minlength=10)
    assert counts.min() > 540 and counts.max() < 740 and counts.unique().numel() > 1
    balanced = torch.cat(
        [block_prompts(sampling_protocol("ode50", labels="balanced"), 10, 0, b) for b in range(5)]
    )
    assert torch.equal(balanced, torch.arange(320) % 10)


def test_unknown_protocol():
    with pytest.raises(ValueError, match=r"evaluation\.protocol=ode is unknown"):
        sampling_protocol("ode")


def test_heun_is_the_published_loop_with_guidance():
    """REPA's loop, written out: the interval is tested on the current t for both stages."""
    protocol = sampling_protocol(
        "heun50", steps=7, guidance=1.8, guidance_low=0.2, guidance_high=0.7
    )

    def velocity(x, t, label):
        return gaussian_velocity(x, t, label) * torch.where(label == 10, 0.5, 1.0).reshape(
            -1, 1, 1
        ).to(x)

    x, label = start(4), torch.tensor([1, 2, 3, 4])
    found = heun(field(protocol, velocity), x, label)

    def at(state, t, guided):
        times = torch.full((4,), t, dtype=torch.float64)
        conditional, null = (
            velocity(state, times, label),
            velocity(state, times, torch.full_like(label, 10)),
        )
        return null + 1.8 * (conditional - null) if guided else conditional

    times = torch.linspace(1, 0, 8, dtype=torch.float64).tolist()
    for i in range(7):
        t, then = times[i], times[i + 1]
        guided = 0.2 <= t <= 0.7
        first = at(x, t, guided)
        second = at(x + (then - t) * first, then, guided) if i < 6 else first
        x = x + (then - t) * (first + second) / 2
    torch.testing.assert_close(found, x, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": "uniform"}, r"labels=uniform is unknown \(choices: random, balanced\)"),
        ({"rounding": "floor"}, "rounding=floor is unknown"),
        ({"state": "bfloat16"}, "state=bfloat16 is unknown"),
        ({"steps": 0}, "steps=0 is too few for ode50: 1 or more"),
        ({"shift": 0.0}, "shift=0.0 of the times must be a number above 0"),
        ({"guidance": float("nan")}, "guidance=nan must be a number"),
        (
            {"guidance_low": 0.8, "guidance_high": 0.3},
            "guidance_low=0.8 is above guidance_high=0.3",
        ),
        ({"guided_channels": 0}, "guided_channels=0 must be 1 or more"),
    ],
)
def test_values_that_no_sampler_has(changes, message):
    with pytest.raises(ValueError, match=message):
        sampling_protocol("ode50", **changes)
