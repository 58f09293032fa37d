"""What makes a step fast leaves it the step that it is: compiled blocks, fused updates, attention
without a mask, features computed before; and nothing in a step waits for the device.
"""

import pytest
import torch
from support.arms import SMALL, StandInEncoder, method, random_backbone
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from bench.commands.timing.clock import kept_for_backward
from bench.config.compose import compose
from bench.config.groups import options
from bench.core.data.base import Digits
from bench.core.model.backbone import Block
from bench.core.model.noise import NoiseLevels
from bench.core.train import distributed
from bench.core.train.ema import ema_copy, ema_update
from bench.core.train.learner import Learner
from bench.core.train.parts import TrainedPart

STEPS = 3
# a block of the teacher has no gradient, one whose q and k are read two outputs more
KINDS = {"selfflow": 2, "sra": 2, "haste": 2}
WAITS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique")


def learner(name, *words, cached=None):
    small = ["batch=8", "images=64", "measure=none", "compute.device=cpu", "optimizer.lr=1e-3"]
    small += ["diagnostics_images=null"]  # these look at numbers, beside the step
    arm = method(name, **SMALL.get(name, {}))
    encoder = StandInEncoder() if "clean" in arm.needs else None
    part = TrainedPart(Digits("digits", 2), arm, encoder, cached)
    processes = distributed.start("cpu")
    return Learner(compose([*small, *words]), {"": part}, random_backbone(), processes)


def stepped(trained, steps=STEPS):
    """The numbers of some steps, after which the learner has other weights."""
    source, rows = trained.batches(trained.cfg.images), []
    for _ in range(steps):
        rows.append(trained.step(source)[1])
        trained.images += trained.batch
    return torch.stack(rows)


@pytest.mark.parametrize("name", options("method"))
def test_blocks_are_compiled_once_a_kind_and_without_a_break(name, monkeypatch):
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: compile_module(self, backend="aot_eager")
    )
    plain, compiled = learner(name), learner(name, "compute.compile=true")
    torch.compiler.reset()
    counters.clear()
    torch.testing.assert_close(stepped(compiled), stepped(plain), rtol=1e-5, atol=1e-6)
    assert not counters["graph_break"] and not counters["unimplemented"]
    assert counters["stats"]["unique_graphs"] == KINDS.get(name, 1)
    for one, other in zip(compiled.ema.parameters(), plain.ema.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    torch.compiler.reset()


@pytest.mark.parametrize("name", options("method"))
def test_blocks_computed_again_give_the_same_step_and_keep_less(name):
    plain, again = learner(name), learner(name, "compute.recompute=true")
    kept = []
    for trained in (plain, again):
        with kept_for_backward(
            {one.untyped_storage().data_ptr() for one in trained.arm.parameters()}
        ) as own:
            trained.step(trained.batches(8))
        kept.append(sum(own.values()))
    assert kept[1] < 0.5 * kept[0]
    for one, other in zip(again.arm.parameters(), plain.arm.parameters(), strict=True):
        assert torch.equal(one, other)


class NothingWaits(TorchDispatchMode):
    """Refuses what needs a tensor's numbers on the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.__name__.partition(".")[0] not in WAITS, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", options("method"))
def test_nothing_in_a_step_needs_a_number_on_the_host(name):
    trained = learner(name)
    stepped(trained, 1)
    with NothingWaits():
        stepped(trained, 1)
    with pytest.raises(AssertionError, match="waits"), NothingWaits():
        torch.ones(1).item()


def test_cached_features_come_with_the_batch_and_pictures_stay_where_they_are():
    data, encoder = Digits("digits", 2), StandInEncoder()
    features = encoder(data.images("train")).patches.numpy()
    cached, plain = learner("repa", cached=features), learner("repa")
    examples = next(cached.batches(until=8))
    assert examples.clean is None
    torch.testing.assert_close(examples.patches, torch.from_numpy(features)[examples.which])
    torch.testing.assert_close(stepped(cached), stepped(plain), rtol=1e-5, atol=1e-6)
    assert not cached.ctx.encoder.calls and plain.ctx.encoder.calls == STEPS


def test_fused_adamw_is_adamw():
    assert learner("vanilla").optimizer.param_groups[0]["fused"]
    settings: dict = {"lr": 1e-3, "betas": (0.8, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    fast, plain = list(random_backbone().parameters()), list(random_backbone().parameters())
    optimizers = (
        torch.optim.AdamW(fast, **settings, fused=True),
        torch.optim.AdamW(plain, **settings, foreach=False, fused=False),
    )
    draw = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        for one, other in zip(fast, plain, strict=True):
            one.grad = torch.randn(one.shape, generator=draw)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_fused_average_is_the_average():
    backbone, ema = random_backbone(seed=1), ema_copy(random_backbone(seed=0))
    before = [p.clone() for p in ema.parameters()]
    ema_update(ema, backbone, 0.9)
    for now, then, trained in zip(ema.parameters(), before, backbone.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * then + 0.1 * trained, rtol=1e-5, atol=1e-7)


def test_attention_without_a_mask_is_attention_to_everything():
    torch.manual_seed(0)
    block, x, condition = Block(32, 2), torch.randn(2, 16, 32), torch.randn(2, 1, 32)
    noise = NoiseLevels.single(torch.rand(2))
    everything = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    torch.testing.assert_close(
        block(x, condition, noise, None)[0], block(x, condition, noise, everything)[0]
    )
