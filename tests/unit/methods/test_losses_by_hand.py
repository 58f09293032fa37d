"""Losses worked out in NumPy from the formulas, with a network whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.arms import GRID, NANO, arm_of, batch_of, method, step_of

from bench.core.model.method import Context
from bench.core.model.streams import Draw

B, N = 8, 16


class KnownNet:
    """v = 2 x_t - level of the token, and features that were given to it."""

    weight = None

    def __init__(self, features=None):
        self.features = features or {}

    def __call__(self, tokens, noise, label, **_):
        return 2 * tokens - noise.per_token(N)[..., None], self.features


def draw():
    return Draw.of(0, "method", 0, B, slice(0, B), "cpu")


def loss_of(name, **changes):
    batch = batch_of(B)
    net = SimpleNamespace(backbone=KnownNet(), heads=None)
    terms = method(name, **changes).loss(net, batch, Context(GRID, NANO), step_of())
    assert set(terms) == {"velocity"} and terms["velocity"].weight == 1.0
    return float(terms["velocity"].value), batch


def by_hand(batch, tau):
    """mean (v - (x1 - x0))^2 where token i of a sample stands at tau_i."""
    x0, x1, tau = (
        batch.x0.double().numpy(),
        batch.x1.double().numpy(),
        tau.astype(np.float64)[..., None],
    )
    x = (1 - tau) * x0 + tau * x1
    return float(np.mean((2 * x - tau - (x1 - x0)) ** 2))


def test_dual_timestep():
    value, batch = loss_of("dual_timestep")
    d = draw()
    s, _ = (
        d.uniform().numpy(),
        d.normal(),
    )  # a time takes a uniform and a normal number, whatever p(t) is
    tau = np.where(d.uniform(N).numpy() < 0.25, s[:, None], batch.t.numpy()[:, None])
    assert value == pytest.approx(by_hand(batch, tau), rel=1e-5)


def test_full_masking():
    value, batch = loss_of("full_masking")
    tau = np.where(draw().uniform(N).numpy() < 0.25, 1.0, batch.t.numpy()[:, None])
    assert value == pytest.approx(by_hand(batch, tau), rel=1e-5)


def test_diffusion_forcing():
    value, batch = loss_of("diffusion_forcing")
    assert value == pytest.approx(by_hand(batch, draw().uniform(N).numpy()), rel=1e-5)


def test_selfflows_l1_is_the_mean_distance_of_head_and_teacher():
    arm, ctx = arm_of(method("selfflow", similarity="l1"))
    kept = []
    arm.heads["projector"].register_forward_hook(
        lambda _m, _i, out: kept.append(out.detach().double().numpy())
    )
    forward = ctx.ema.forward
    ctx.ema.forward = lambda *a, **k: (
        kept.append(forward(*a, **k)[1][3].double().numpy()),
        forward(*a, **k),
    )[1]
    term = arm(batch_of(B), ctx, step_of())["representation"]
    student, teacher = kept
    assert (
        float(term.value.detach()) == pytest.approx(np.abs(student - teacher).mean(), rel=1e-5)
        and term.weight == 0.8
    )


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_hastes_attention_term_compares_the_first_twelve_heads():
    generator = torch.Generator().manual_seed(3)
    q, k = (
        torch.randn(2, B, 16, N, 8, generator=generator) for _ in range(2)
    )  # of two layers, 16 heads
    logits = torch.randn(2, B, 14, N, N, generator=generator)  # of a teacher with 14
    h, y = (torch.randn(B, N, 12, generator=generator) for _ in range(2))
    features = {1: h, ("qk", 2): (q[0], k[0]), ("qk", 4): (q[1], k[1])}
    m = method("haste", student_layers=[1, 3], teacher_layers=[0, 5], stop_images=1000)
    net = SimpleNamespace(backbone=KnownNet(features), heads={"projector": torch.nn.Identity()})
    asked = []

    def encoder(image, attention_of):
        asked.append(list(attention_of))
        return SimpleNamespace(patches=y, attention=tuple(logits))

    terms = m.loss(net, batch_of(B), Context(GRID, NANO, encoder=encoder), step_of())
    z = np.einsum("lbhnd,lbhmd->lbhnm", q.double().numpy(), k.double().numpy()) / np.sqrt(8)
    p = softmax(logits.double().numpy())[:, :, :12]
    expected = -(p * np.log(softmax(z)[:, :, :12])).sum(-1).mean()
    assert asked == [[0, 5]] and terms["attention"].weight == terms["alignment"].weight == 0.5
    assert float(terms["attention"].value) == pytest.approx(expected, rel=1e-5)
    cosine = (h * y).sum(-1) / (h.norm(dim=-1) * y.norm(dim=-1))
    assert float(terms["alignment"].value) == pytest.approx(-float(cosine.mean()), rel=1e-5)
