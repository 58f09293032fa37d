"""The losses of the methods, each worked out in the test from its paper's formula,
and the papers' traps.
"""

import math

import pytest
import torch
from support.arms import NANO, arm_of, batch_of, context, method, random_backbone, step_of

from bench.core.data.base import Digits
from bench.core.model.noise import NoiseLevels
from bench.core.model.streams import Draw

B, N = 8, 16


def draw(images=0):
    return Draw.of(0, "method", images, B, slice(0, B), "cpu")


def cosine(a, b):
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp(
        min=1e-8
    )  # a blank patch has no direction


def own_draws(images=0):
    """The method's stream as dual-timestep methods use it: second time, then the mask."""
    d = draw(images)
    s, _ = d.uniform(), d.normal()
    return s, d.uniform(N) < 0.25


def noise_of(arm, batch, ctx):
    return arm.method.noise(batch.t, step_of().draw, ctx)


def noised(batch, levels):
    return (1 - levels[..., None]) * batch.x0 + levels[..., None] * batch.x1


def velocity_loss(net, batch, noise):
    x = noised(batch, noise.per_token(N))
    return (net(x, noise, batch.condition)[0] - (batch.x1 - batch.x0)).square().mean()


def test_vanilla():
    arm, ctx = arm_of(method("vanilla"))
    batch = batch_of()
    terms = arm(batch, ctx, step_of())
    assert set(terms) == {"velocity"}
    torch.testing.assert_close(
        terms["velocity"].value, velocity_loss(arm.backbone, batch, NoiseLevels.single(batch.t))
    )


def test_selfflow_from_the_formula():
    arm, ctx = arm_of(method("selfflow"))
    # the teacher must be its own copy: change the student after the copy was taken
    with torch.no_grad():
        arm.backbone.x_embedder.proj.weight.mul_(1.5)
    batch = batch_of()
    terms = arm(batch, ctx, step_of())
    s, mask = own_draws()
    tau = torch.where(mask, s[:, None], batch.t[:, None])
    x = noised(batch, tau)
    noise = NoiseLevels(torch.stack([batch.t, s], 1), mask)
    v, features = arm.backbone(x, noise, batch.condition, taps=(1,))
    torch.testing.assert_close(terms["velocity"].value, (v - (batch.x1 - batch.x0)).square().mean())
    lower = torch.minimum(batch.t, s)
    assert ctx.ema is not None
    _, teacher = ctx.ema(
        noised(batch, lower[:, None].expand(-1, N)), lower, batch.condition, taps=(3,), stop_after=3
    )
    w = arm.heads["projector"]
    h = features[1] @ w[0].weight.T + w[0].bias
    projected = (h * torch.sigmoid(h)) @ w[2].weight.T + w[2].bias
    expected = (1 - cosine(projected, teacher[3])).mean()
    torch.testing.assert_close(terms["representation"].value, expected)
    assert terms["representation"].weight == 0.8
    # under the opposite convention the teacher's level would be the maximum: a different number
    upper = torch.maximum(batch.t, s)
    _, wrong = ctx.ema(
        noised(batch, upper[:, None].expand(-1, N)), upper, batch.condition, taps=(3,)
    )
    assert abs((1 - cosine(projected, wrong[3])).mean() - expected) > 1e-4


def test_times_are_not_sorted_and_each_token_keeps_p_of_t():
    n = 4000
    d = Draw.of(0, "method", 0, n, slice(0, n), "cpu")
    m, net = method("dual_timestep"), random_backbone()
    t = torch.rand(n, generator=torch.Generator().manual_seed(5))
    noise = m.noise(t, d, context(m, net))
    minority_is_cleaner = (noise.levels[:, 1] < noise.levels[:, 0]).double().mean()
    assert 0.47 < minority_is_cleaner < 0.53
    assert torch.equal(noise.levels[:, 0], t)
    levels = noise.per_token(N)
    for token in (0, 7):  # uniform marginal: quantiles of U(0, 1)
        q = torch.quantile(levels[:, token], torch.tensor([0.1, 0.5, 0.9]))
        torch.testing.assert_close(q, torch.tensor([0.1, 0.5, 0.9]), atol=0.03, rtol=0)
    assert abs((noise.index.double().mean()) - 0.25) < 0.01


def test_teacher_sees_the_students_noise_and_dropped_labels(monkeypatch):
    arm, ctx = arm_of(method("selfflow"))
    seen = []
    forward = type(ctx.ema).forward
    monkeypatch.setattr(
        type(ctx.ema),
        "forward",
        lambda self, *a, **k: seen.append((self is ctx.ema, a, k)) or forward(self, *a, **k),
    )
    batch = batch_of()
    batch.condition[:3] = 10  # dropped
    arm(batch, ctx, step_of())
    teacher = [(a, k) for is_ema, a, k in seen if is_ema]
    assert len(teacher) == 1
    (x, level, label), options = teacher[0]
    assert label is batch.condition and options["stop_after"] == 3
    x1 = (x - (1 - level[:, None, None]) * batch.x0) / level[:, None, None]
    torch.testing.assert_close(x1, batch.x1, atol=1e-3, rtol=1e-3)


def test_selfflow_switches():
    batch = batch_of()
    arm, ctx = arm_of(method("selfflow", masking=False))
    assert noise_of(arm, batch, ctx).levels.shape[1] == 1
    arm, ctx = arm_of(method("selfflow", near=0.2))
    noise = noise_of(arm, batch, ctx)
    gap = noise.levels[:, 0] - noise.levels[:, 1]
    assert (gap >= 0).all() and (gap <= 0.2).all() and gap.max() > 0.02
    arm, ctx = arm_of(method("selfflow", attention="separated"))
    assert noise_of(arm, batch, ctx).separated
    arm, ctx = arm_of(method("selfflow", similarity="l1"))
    l1 = arm(batch, ctx, step_of())["representation"].value
    arm2, ctx2 = arm_of(method("selfflow"))
    assert abs(l1 - arm2(batch, ctx2, step_of())["representation"].value) > 1e-3
    with pytest.raises(ValueError, match="similarity=cos is unknown"):
        method("selfflow", similarity="cos")


def test_repa_from_the_formula_and_on_the_clean_picture():
    arm, ctx = arm_of(method("repa"))
    batch = batch_of()
    terms = arm(batch, ctx, step_of())
    y = ctx.encoder(batch.clean).patches
    _, features = arm.backbone(
        noised(batch, batch.t[:, None].expand(-1, N)), batch.t, batch.condition, taps=(1,)
    )
    h = features[1]
    for layer in arm.heads["projector"]:
        h = (
            h @ layer.weight.T + layer.bias
            if isinstance(layer, torch.nn.Linear)
            else h * torch.sigmoid(h)
        )
    torch.testing.assert_close(terms["alignment"].value, -cosine(h, y).mean())
    assert terms["alignment"].weight == 0.5
    noisier = batch_of()
    noisier.x1 = noisier.x1 * 3
    seen, encode = [], ctx.encoder.forward
    ctx.encoder.forward = lambda image: seen.append(image) or encode(image)
    arm(noisier, ctx, step_of())
    assert len(seen) == 1 and torch.equal(
        seen[0], Digits("digits", 2).images("train", torch.arange(8))
    )


def test_cosine_is_taken_along_channels():
    from methods.parts import token_cosine

    a = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    b = torch.tensor([[[3.0, 0.0], [4.0, 0.0]]])
    assert token_cosine(a, b, step_of()) == pytest.approx(
        0.5
    )  # tokens: 1 and 0; along tokens it would be 0.6 and 0


def test_sra_from_the_formula():
    arm, ctx = arm_of(method("sra"))
    batch = batch_of()
    terms = arm(batch, ctx, step_of())
    u = draw().uniform()
    lower = (batch.t - 0.2 * u).clamp(min=0)
    assert ctx.ema is not None
    _, teacher = ctx.ema(
        noised(batch, lower[:, None].expand(-1, N)), lower, batch.condition, taps=(3,)
    )
    _, student = arm.backbone(
        noised(batch, batch.t[:, None].expand(-1, N)), batch.t, batch.condition, taps=(1,)
    )
    d = (arm.heads["projector"](student[1]) - teacher[3]).abs()
    smooth = torch.where(d < 0.05, 0.5 * d * d / 0.05, d - 0.025)
    torch.testing.assert_close(terms["representation"].value, smooth.mean())
    m = method("sra")
    assert m.weight_at(0) == 0.2 and m.weight_at(191_999_999) == 0.2
    assert m.weight_at(1_280_000 * 649) == pytest.approx(0.2 * 10**-0.5)
    with pytest.raises(ValueError, match=r"method.beta=-1.0 is outside"):
        method("sra", beta=-1)
    arm, ctx = arm_of(method("sra", similarity="cosine"))
    term = arm(batch, ctx, step_of())["representation"]
    torch.testing.assert_close(
        term.value, 1 - cosine(arm.heads["projector"](student[1]), teacher[3]).mean()
    )
    assert term.weight == arm.method.weight_at(1_280_000 * 649) == 0.5


def test_sras_released_cosine_compares_a_channel_over_the_tokens():
    arm, ctx = arm_of(method("sra", similarity="cosine_tokens"))
    batch, step = batch_of(), step_of()
    term = arm(batch, ctx, step)["representation"]
    lower = (batch.t - 0.2 * draw().uniform()).clamp(min=0)
    assert ctx.ema is not None
    _, teacher = ctx.ema(
        noised(batch, lower[:, None].expand(-1, N)), lower, batch.condition, taps=(3,)
    )
    _, student = arm.backbone(
        noised(batch, batch.t[:, None].expand(-1, N)), batch.t, batch.condition, taps=(1,)
    )
    a, b = arm.heads["projector"](student[1]), teacher[3]
    over_tokens = (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)).sqrt()  # [B, W]
    torch.testing.assert_close(term.value, 1 - over_tokens.mean())
    assert term.weight == arm.method.weight_at(1_280_000 * 649) == 0.5
    torch.testing.assert_close(step.logged["alignment_cosine"], cosine(a, b))  # over channels still
    for option in ({"beta": 0.1}, {"decay_images": 1}):
        with pytest.raises(ValueError, match=r"of method\.similarity=smooth_l1 alone; drop it"):
            method("sra", similarity="cosine_tokens", **option)
    choices = r"method.similarity=l1 is unknown \(choices: smooth_l1, cosine, cosine_tokens\)"
    with pytest.raises(ValueError, match=choices):
        method("sra", similarity="l1")


def test_full_masking_and_diffusion_forcing_levels():
    batch = batch_of()
    arm, ctx = arm_of(method("full_masking"))
    noise = noise_of(arm, batch, ctx)
    mask = draw().uniform(N) < 0.25
    expected = torch.where(mask, torch.ones(()), batch.t[:, None])
    assert torch.equal(noise.per_token(N), expected)
    arm, ctx = arm_of(method("diffusion_forcing"))
    noise = noise_of(arm, batch, ctx)
    assert noise.levels.shape == (B, N) and noise.index is None
    assert len(noise.levels.unique()) == B * N


def test_repa_stop_ends_the_term_and_the_encoders_pass():
    m = method("repa_stop", stop_images=64)
    arm, ctx = arm_of(m)
    assert arm(batch_of(), ctx, step_of())["alignment"].weight == 0.5
    calls = ctx.encoder.calls
    terms = arm(batch_of(), ctx, step_of(images=64))
    assert (
        ctx.encoder.calls == calls
        and terms["alignment"].weight == 0.0
        and terms["alignment"].value.item() == 0.0
    )
    sum(t.value for t in terms.values()).backward()
    assert all(p.grad is not None for p in arm.heads.parameters()), (
        "DDP wants a gradient for every parameter"
    )


def test_irepa_target_and_head():
    arm, ctx = arm_of(method("irepa"))
    batch = batch_of()
    terms = arm(batch, ctx, step_of())
    y = ctx.encoder(batch.clean).patches
    mean = y.mean(1, keepdim=True)
    std = ((y - mean) ** 2).sum(1, keepdim=True).div(N - 1).sqrt()
    target = (y - 0.6 * mean) / (std + 1e-6)
    _, features = arm.backbone(
        noised(batch, batch.t[:, None].expand(-1, N)), batch.t, batch.condition, taps=(1,)
    )
    kernel = arm.heads["projector"].convolution
    padded = torch.zeros(B, NANO.width, 6, 6)
    padded[:, :, 1:5, 1:5] = features[1].transpose(1, 2).reshape(B, NANO.width, 4, 4)
    out = torch.zeros(B, N, 12)
    for row in range(4):
        for column in range(4):
            window = padded[:, :, row : row + 3, column : column + 3]
            out[:, row * 4 + column] = (
                torch.einsum("bcij,ocij->bo", window, kernel.weight) + kernel.bias
            )
    torch.testing.assert_close(
        terms["alignment"].value, -cosine(out, target).mean(), atol=1e-5, rtol=1e-4
    )
    assert terms["alignment"].weight == 1.0


def test_irepas_released_kernel_is_a_linear_map_of_each_token():
    arm, _ = arm_of(method("irepa", kernel=1))
    batch = batch_of()
    _, features = arm.backbone(
        noised(batch, batch.t[:, None].expand(-1, N)), batch.t, batch.condition, taps=(1,)
    )
    head = arm.heads["projector"]
    weight = head.convolution.weight
    assert weight.shape == (12, NANO.width, 1, 1)
    expected = features[1] @ weight[:, :, 0, 0].T + head.convolution.bias
    torch.testing.assert_close(head(features[1]), expected)
    assert head.description == "1x1 convolution on the token grid"
    with pytest.raises(ValueError, match=r"method.kernel=2 has no middle token: choose an odd"):
        method("irepa", kernel=2)
    with pytest.raises(ValueError, match=r"method.kernel=0 is outside \[1, inf\)"):
        method("irepa", kernel=0)


def test_layersync_from_the_formula_and_only_the_student_learns():
    arm, ctx = arm_of(method("layersync"))
    batch = batch_of()
    terms = arm(batch, ctx, step_of())
    _, f = arm.backbone(
        noised(batch, batch.t[:, None].expand(-1, N)), batch.t, batch.condition, taps=(1, 3)
    )
    torch.testing.assert_close(terms["representation"].value, -cosine(f[1], f[3]).mean())
    terms["representation"].value.backward()
    assert (
        arm.backbone.blocks[2].mlp.fc1.weight.grad is None
        and arm.backbone.blocks[0].mlp.fc1.weight.grad is not None
    )


def test_dispersive_from_the_formula():
    arm, ctx = arm_of(method("dispersive", group=4))
    batch = batch_of()
    value = arm(batch, ctx, step_of())["dispersion"].value
    _, f = arm.backbone(
        noised(batch, batch.t[:, None].expand(-1, N)), batch.t, batch.condition, taps=(4,)
    )
    z = f[4].reshape(B, -1).double()
    groups = []
    for start in (0, 4):
        total = sum(
            math.exp(-float(((z[start + i] - z[start + j]) ** 2).sum()) / z.shape[1])
            for i in range(4)
            for j in range(4)
        )
        groups.append(math.log(total / 16))
    assert float(value) == pytest.approx(sum(groups) / 2, rel=1e-4)
    with pytest.raises(ValueError, match=r"method.group=1 is outside"):
        method("dispersive", group=1)


def test_haste_attention_term_and_refusals():
    nano = {"student_layers": [0, 1], "teacher_layers": [2, 3], "stop_images": 1000}
    arm, ctx = arm_of(method("haste", **nano))
    batch = batch_of()
    value = arm(batch, ctx, step_of())["attention"].value
    teachers = ctx.encoder(batch.clean, [2, 3]).attention
    x = noised(batch, batch.t[:, None].expand(-1, N))
    _, f = arm.backbone(x, batch.t, batch.condition, qk_taps=(1, 2))
    total = []
    for number, teacher in zip((1, 2), teachers, strict=True):
        q, k = f["qk", number]
        for head in range(2):
            p = torch.softmax(teacher[:, head], -1)
            logq = torch.log(
                torch.softmax(torch.einsum("bnd,bmd->bnm", q[:, head], k[:, head]) / 4.0, -1)
            )
            total.append(-(p * logq).sum(-1).mean())
    torch.testing.assert_close(value, torch.stack(total).mean(), atol=1e-5, rtol=1e-4)
    with pytest.raises(
        ValueError, match="published layer pairs for the sizes B, L, XL, not for nano"
    ):
        method("haste").blocks(NANO)

    for wrong, message in (
        ({"student_layers": [0]}, "make no pairs: give as many of each"),
        ({"student_layers": [], "teacher_layers": []}, "is no list of layers"),
        ({"teacher_layers": 3}, "is no list of layers"),
        ({"student_layers": [0, 4]}, "size nano has the layers 0 to 3"),
    ):
        with pytest.raises(ValueError, match=message):
            method("haste", **nano | wrong).blocks(NANO)
    with pytest.raises(ValueError, match="stop_images=None is not a number of images"):
        method("haste", **nano | {"stop_images": None}).ends(NANO)
