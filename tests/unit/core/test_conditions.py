"""What a model is told: classes and texts, dropped rows, and context that nothing else sees."""

import pytest
import torch
from support.arms import GRID, NANO, random_backbone

from bench.core.model.conditions import PAD, Bytes, Classes, Prompts
from bench.core.model.noise import NoiseLevels
from bench.core.model.sampling import Field, sample_block
from bench.core.model.sampling_protocol import sampling_protocol

TEXT = Bytes(6)


def told(*texts):
    return TEXT.encode(texts)


def test_texts_are_bytes_and_come_back():
    rows = told("owl", "zoö")
    assert rows[0].tolist() == [111, 119, 108, PAD, PAD, PAD]
    assert rows[1].tolist() == [122, 111, 195, 182, PAD, PAD]
    assert TEXT.decode(rows) == ["owl", "zoö"] and TEXT.decode(TEXT.null[None]) == [""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a caption is empty"),
        ("  ", "a caption is empty"),
        ("lettering", "has 9 bytes and 6 are read"),
        ("zooö€", "has 8 bytes and 6 are read"),
        ("\ud800", "is not UTF-8"),
    ],
)
def test_what_is_no_caption_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        told("owl", text)


def test_a_texts_context_is_in_nothing_that_a_pass_returns():
    net = random_backbone(condition=TEXT)
    x, rows = torch.randn(3, 16, 4), told("owl", "hen", "cat")
    dual = NoiseLevels(torch.rand(3, 2), torch.rand(3, 16) < 0.5)
    each = NoiseLevels(torch.rand(3, 16))
    for noise in (torch.rand(3), dual, each):
        velocity, features = net(x, noise, rows, taps=(1, 4), qk_taps=(2,))
        assert velocity.shape == x.shape and velocity.isfinite().all()
        assert {features[block].shape for block in (1, 4)} == {(3, 16, NANO.width)}
        q, k = features["qk", 2]
        assert q.shape == k.shape == (3, NANO.heads, 16, NANO.width // NANO.heads)


def test_a_text_is_read_in_its_order_and_dropped_as_a_whole():
    net = random_backbone(condition=TEXT)
    x, t = torch.randn(2, 16, 4)[:1].expand(2, -1, -1), torch.full((2,), 0.5)
    one, other = net(x, t, told("ab", "ba"))[0]
    assert not torch.allclose(one, other, atol=1e-4)
    null = net(x, t, net.null.expand(2, -1))[0]
    assert torch.equal(null[0], null[1]) and not torch.allclose(null[0], one, atol=1e-4)


def test_guidance_of_texts_goes_away_from_the_null_text():
    net, rows = random_backbone(condition=TEXT), told("owl", "hen")
    x, t = torch.randn(2, 16, 4).double(), torch.tensor(0.7)

    def velocity(x, t, condition):
        return net(x.float(), t.float(), condition)[0].detach()

    times = torch.full((2,), 0.7)
    with_text, without = (velocity(x, times, r) for r in (rows, TEXT.null.expand(2, -1)))
    guided = Field(velocity, sampling_protocol("ode50", guidance=3.0), TEXT.null)(x, t, rows)
    expected = without + 3 * (with_text - without)
    torch.testing.assert_close(guided, expected.double(), atol=1e-4, rtol=1e-4)


def test_samples_ask_for_prompts_in_order_where_they_are_balanced():
    texts = ("owl", "hen", "cat")
    prompts = Prompts(told(*texts), torch.zeros(3, dtype=torch.int64), TEXT.null, texts)
    seen = []

    def velocity(x, t, condition):
        seen.append(condition)
        return torch.zeros_like(x)

    protocol = sampling_protocol("ode50", steps=1, labels="balanced")
    _, asked = sample_block(velocity, protocol, (2, 2), prompts, 0, 1, "cpu")
    assert asked.tolist() == [(64 + i) % 3 for i in range(64)]
    assert TEXT.decode(seen[0]) == [texts[i] for i in asked]


def test_a_class_is_a_row_of_the_table_and_the_last_is_null():
    net = random_backbone(classes=7)
    assert net.condition == Classes(7) and int(net.null) == 7 and net.null.shape == ()
    pooled, context, beside = net.y_embedder(torch.tensor([3]))
    assert context is beside is None
    assert torch.equal(pooled[0], net.y_embedder.embedding_table.weight[3])
    assert "null" not in net.state_dict() and net.grid == GRID
