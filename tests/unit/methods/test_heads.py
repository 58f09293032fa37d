"""How train-only heads start: as the official codes start theirs, layer by layer."""

import pytest
import torch
from support.arms import arm_of, batch_of, method, random_backbone, step_of
from torch import nn

from bench.core.model.tokens import TokenGrid
from methods.irepa import ConvolutionHead
from methods.parts import ProjectionHead

STOP = {"student_layers": [0, 1], "teacher_layers": [2, 3], "stop_images": 1000}
CHANGES = {"haste": STOP}
LAYERS = {"repa": 3, "repa_stop": 3, "haste": 3, "selfflow": 2, "sra": 2}


def linears_of(name, **changes):
    """The linear layers of a method's head, drawn from seed 0."""
    arm, _ = arm_of(method(name, **CHANGES.get(name, {}) | changes))
    return [layer for layer in arm.heads.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("name", LAYERS)
def test_heads_start_uniform_within_xaviers_bound_and_without_bias(name):
    linears = linears_of(name)
    assert len(linears) == LAYERS[name]
    for linear in linears:
        bound = (6 / sum(linear.weight.shape)) ** 0.5
        largest = linear.weight.abs().max().item()
        assert 0.98 * bound < largest <= bound
        assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not linear.bias.any()


@pytest.mark.parametrize("name", LAYERS)
def test_heads_may_start_as_pytorch_starts_them(name):
    found = linears_of(name, head_init="torch")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = [nn.Linear(layer.in_features, layer.out_features) for layer in found]
    for layer, like in zip(found, expected, strict=True):
        assert torch.equal(layer.weight, like.weight) and torch.equal(layer.bias, like.bias)


def test_irepas_convolution_is_left_as_pytorch_starts_it():
    arm, ctx = arm_of(method("irepa"))
    head = arm.heads["projector"]
    assert isinstance(head, ConvolutionHead)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        like = nn.Conv2d(ctx.size.width, ctx.encoder_width, 3, padding=1)
    assert torch.equal(head.convolution.weight, like.weight)
    assert torch.equal(head.convolution.bias, like.bias) and like.bias.any()


def test_irepa_refuses_to_standardise_over_a_single_token():
    one = random_backbone(grid=TokenGrid((1,), 1, 4))
    with pytest.raises(ValueError, match=r"method=irepa standardises .* here it sees one"):
        arm_of(method("irepa"), one)


def test_a_head_of_before_is_loaded_whatever_heads_start_as_today():
    old, new = (ProjectionHead(8, 16, 4, init=init) for init in ("torch", "xavier"))
    new.load_state_dict(old.state_dict())
    x = torch.randn(3, 8)
    assert torch.equal(old(x), new(x))


def test_the_first_velocity_loss_does_not_know_how_heads_start():
    first = {}
    for init in ("xavier", "torch"):
        arm, ctx = arm_of(method("repa", head_init=init), random_backbone())
        first[init] = arm(batch_of(), ctx, step_of())["velocity"].value.item()
    assert first["xavier"] == first["torch"]
