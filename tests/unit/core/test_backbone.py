"""The SiT backbone against a forward pass written out token by token,
and the promises about K levels and memory.
"""

import math

import pytest
import torch
from support.arms import GRID, NANO, random_backbone

from bench.core.model.backbone import SiT
from bench.core.model.noise import NoiseLevels
from bench.core.model.sizes import SIZES, Size
from bench.core.model.tokens import TokenGrid


def dense_forward(w: dict[str, torch.Tensor], x, levels, label, depth: int, heads: int):
    """SiT for one sample from its state dict: x [N, C], one level a token,
    written with plain matrix products.
    """

    def linear(name, value):
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(value):
        return (value - value.mean(-1, keepdim=True)) / (
            value.var(-1, unbiased=False, keepdim=True) + 1e-6
        ).sqrt()

    def gelu(value):
        return (
            0.5 * value * (1 + torch.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))
        )

    conditions = []
    for t in levels:
        angles = t * torch.exp(-math.log(10000) * torch.arange(128) / 128)
        h = linear("t_embedder.mlp.0", torch.cat([angles.cos(), angles.sin()]))
        conditions.append(
            linear("t_embedder.mlp.2", h * torch.sigmoid(h))
            + w["y_embedder.embedding_table.weight"][label]
        )
    c = torch.stack(conditions)
    c = c * torch.sigmoid(c)
    h = linear("x_embedder.proj", x) + w["pos_embed"][0]
    n, width = h.shape
    for i in range(depth):
        p = f"blocks.{i}"
        s1, c1, g1, s2, c2, g2 = linear(f"{p}.adaLN_modulation.1", c).chunk(6, dim=-1)
        q, k, v = (
            part.reshape(n, heads, -1)
            for part in linear(f"{p}.attn.qkv", norm(h) * (1 + c1) + s1).chunk(3, dim=-1)
        )
        out = torch.zeros(n, heads, width // heads)
        for head in range(heads):
            weights = torch.softmax(q[:, head] @ k[:, head].T / math.sqrt(width // heads), dim=-1)
            out[:, head] = weights @ v[:, head]
        h = h + g1 * linear(f"{p}.attn.proj", out.reshape(n, width))
        m = linear(f"{p}.mlp.fc2", gelu(linear(f"{p}.mlp.fc1", norm(h) * (1 + c2) + s2)))
        h = h + g2 * m
    shift, scale = linear("final_layer.adaLN_modulation.1", c).chunk(2, dim=-1)
    return linear("final_layer.linear", norm(h) * (1 + scale) + shift)


@pytest.fixture(scope="module")
def net():
    return random_backbone()


def inputs(n=3):
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(n, 16, 4, generator=generator),
        torch.rand(n, generator=generator),
        torch.tensor([1, 7, 10])[:n],
    )


@pytest.mark.parametrize("k", [1, 2, 16])
def test_forward_equals_a_dense_one_for_any_number_of_levels(net, k):
    x, _, label = inputs(2)
    levels = torch.rand(2, k, generator=torch.Generator().manual_seed(2))
    index = torch.arange(16).expand(2, -1) * 7 % 2 if k == 2 else None
    noise = NoiseLevels(levels, index)
    v, _ = net(x, noise, label)
    for b in range(2):
        expected = dense_forward(
            net.state_dict(), x[b], noise.per_token(16)[b], int(label[b]), NANO.depth, NANO.heads
        )
        torch.testing.assert_close(v[b], expected, atol=2e-5, rtol=1e-4)


def test_two_equal_levels_are_one_and_swapping_two_changes_the_output(net):
    x, t, label = inputs()
    index = torch.rand(3, 16, generator=torch.Generator().manual_seed(3)) < 0.25
    one, _ = net(x, t, label)
    same, _ = net(x, NoiseLevels(torch.stack([t, t], 1), index), label)
    torch.testing.assert_close(one, same, atol=1e-6, rtol=0)
    two, _ = net(x, NoiseLevels(torch.stack([t, 1 - t], 1), index), label)
    swapped, _ = net(x, NoiseLevels(torch.stack([1 - t, t], 1), index), label)
    assert (two - swapped).abs().max() > 1e-2


def saved_bytes(net: SiT, noise: NoiseLevels) -> int:
    x = torch.randn(noise.levels.shape[0], net.grid.tokens, net.grid.token_dim)
    label = torch.zeros(len(x), dtype=torch.long)
    storages: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        v, _ = net(x, noise, label)
    parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
    assert v is not None
    return sum(size for pointer, size in storages.items() if pointer not in parameters)


def test_two_levels_keep_at_most_a_fifth_more_for_the_backward_pass():
    net = random_backbone(Size("test", 3, 64, 4), TokenGrid((16, 16), 2, 4))
    b, n = 8, 64
    index = torch.rand(b, n) < 0.25
    one = saved_bytes(net, NoiseLevels.single(torch.rand(b)))
    two = saved_bytes(net, NoiseLevels(torch.rand(b, 2), index))
    many = saved_bytes(net, NoiseLevels(torch.rand(b, n)))
    assert two <= 1.20 * one, two / one
    assert many > 1.3 * one, "the counter must see what a vector for each token keeps"


def test_gradients_of_two_levels_equal_those_of_a_vector_for_each_token(net):
    x, t, label = inputs()
    index = (torch.arange(16) % 3 == 0).expand(3, -1)
    two = NoiseLevels(torch.stack([t, 1 - t], 1), index)
    gradients = []
    for noise in (two, NoiseLevels(two.per_token(16))):
        net.zero_grad()
        net(x, noise, label)[0].square().mean().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_taps_and_stopping_early(net):
    x, t, label = inputs()
    v, features = net(x, t, label, taps=(1, 4), qk_taps=(2,))
    assert set(features) == {1, 4, ("qk", 2)} and features[1].shape == (3, 16, 32)
    assert features["qk", 2][0].shape == (3, 2, 16, 16)
    none, early = net(x, t, label, taps=(1,), stop_after=1)
    assert none is None and torch.equal(early[1], features[1])
    net.eval()
    assert torch.equal(net(x, t, label)[0], v)
    net.train()


def test_separated_attention_keeps_levels_apart(net):
    x, t, label = inputs()
    index = (torch.arange(16) < 6).expand(3, -1)
    noise = NoiseLevels(torch.stack([t, 1 - t], 1), index, separated=True)
    before, _ = net(x, noise, label)
    changed = x.clone()
    changed[:, :6] += 1.0  # only tokens of the second level
    after, _ = net(changed, noise, label)
    assert torch.allclose(before[:, 6:], after[:, 6:], atol=1e-6)
    assert not torch.allclose(before[:, :6], after[:, :6], atol=1e-3)


def test_a_fresh_backbone_predicts_zero():
    net = SiT(GRID, NANO, 10).initialise(torch.Generator().manual_seed(0))
    x, t, label = inputs()
    assert net(x, t, label)[0].abs().max() == 0


@pytest.mark.parametrize("name", SIZES)
def test_every_size_can_be_built_with_published_parameter_counts(name):
    with torch.device("meta"):
        net = SiT(TokenGrid((32, 32), 2, 4), SIZES[name], 1000)
    count = sum(p.numel() for p in net.parameters()) / 1e6
    published = {"S": 33, "B": 130, "L": 458, "XL": 675}  # SiT, table 1
    if name in published:
        assert count == pytest.approx(published[name], rel=0.02)


def test_blocks_are_rounded_not_truncated_and_checked():
    assert (
        SIZES["XL"].block(0.7) == 20 and SIZES["L"].block(0.3) == 7 and SIZES["B"].block(0.3) == 4
    )
    assert SIZES["L"].block({"default": 0.3, "L": 8}) == 8 and SIZES["B"].block("last") == 12
    with pytest.raises(ValueError, match="block 9 is above the depth 4"):
        NANO.block(9)
