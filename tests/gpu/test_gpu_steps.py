"""A step on a GPU is the CPU's: its losses and gradients, compiled or not, with fused updates; and
nothing in it waits for the device.
"""

import contextlib
from dataclasses import replace

import pytest
import torch
from support.arms import SMALL, StandInEncoder, arm_of, batch_of, context, method, random_backbone
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.config.compose import compose
from bench.config.groups import options
from bench.core.compat import full_float32
from bench.core.data.base import Digits
from bench.core.model.backbone import Block
from bench.core.model.method import Batch, Step
from bench.core.model.noise import NoiseLevels
from bench.core.model.streams import Draw
from bench.core.train import distributed
from bench.core.train.ema import ema_copy, ema_update
from bench.core.train.learner import Learner
from bench.core.train.loading import ahead
from bench.core.train.parts import TrainedPart

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
DEVICE = torch.device("cuda")
METHODS = options("method")


class DrawnOnTheHost(Draw):
    """The CPU's numbers, wherever they are computed with: a GPU's generator gives others."""

    def uniform(self, *shape):
        return super().uniform(*shape).to(DEVICE)

    def normal(self, *shape):
        return super().normal(*shape).to(DEVICE)


def on_device(batch):
    return Batch(**{key: None if x is None else x.to(DEVICE) for key, x in vars(batch).items()})


def losses_and_gradients(arm, batch, ctx, draw, autocast):
    step = Step(0, draw)
    with autocast:
        terms = arm(batch, ctx, step)
    torch.stack([term.value * term.weight for term in terms.values()]).sum().backward()
    norms = [p.grad.float().norm().cpu() for p in arm.parameters() if p.grad is not None]
    return {key: term.value.item() for key, term in terms.items()}, torch.stack(norms)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_both_devices(name, precision):
    built = method(name, **SMALL.get(name, {}))
    arm, ctx = arm_of(built)
    batch, rows = batch_of(), (8, slice(0, 8))
    exact = losses_and_gradients(
        arm, batch, ctx, Draw(torch.Generator().manual_seed(0), *rows), contextlib.nullcontext()
    )
    arm.zero_grad()
    arm.to(DEVICE)
    of_gpu = context(built, arm.backbone)
    if of_gpu.encoder is not None:
        of_gpu.encoder.to(DEVICE)
    draw = DrawnOnTheHost(torch.Generator().manual_seed(0), *rows)
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")
    with full_float32():
        losses, norms = losses_and_gradients(arm, on_device(batch), of_gpu, draw, autocast)
    near = 1e-4 if precision == "float32" else 0.05
    assert losses == pytest.approx(exact[0], rel=near, abs=near)
    torch.testing.assert_close(norms, exact[1], rtol=2 * near, atol=near * float(exact[1].max()))


def learner(name, *words, seed=0):
    small = ["batch=8", "images=128", "measure=none", "diagnostics_images=null", f"seed={seed}"]
    arm = method(name, **SMALL.get(name, {}))
    encoder = StandInEncoder().to(DEVICE) if "clean" in arm.needs else None
    processes = distributed.start(DEVICE.type)
    cfg = compose([*small, *words])
    part = TrainedPart(Digits("digits", 2), arm, encoder)
    return Learner(cfg, {"": part}, random_backbone(), processes)


def stepped(trained, source, steps):
    numbers = []
    for _ in range(steps):
        numbers.append(trained.step(source)[1])
        trained.images += trained.batch
    return torch.stack(numbers)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["vanilla", "selfflow"])
def test_compiled_blocks_are_the_blocks(name, precision):
    torch.compiler.reset()
    words = (f"precision={precision}", "optimizer.lr=1e-3")
    plain, compiled = learner(name, *words), learner(name, *words, "compute.compile=true")
    found = [stepped(one, one.batches(until=24), 3).cpu() for one in (plain, compiled)]
    near = 1e-3 if precision == "float32" else 0.05
    torch.testing.assert_close(found[1], found[0], rtol=near, atol=near)
    torch.compiler.reset()


@pytest.mark.parametrize("name", METHODS)
def test_nothing_in_a_step_waits_for_the_gpu(name):
    trained = learner(name)
    source = trained.batches(until=128)
    stepped(trained, source, 3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        stepped(trained, source, 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_fused_adamw_and_average_are_the_plain_ones():
    settings: dict = {"lr": 1e-3, "betas": (0.8, 0.95), "weight_decay": 0.1}
    fast, plain = random_backbone().to(DEVICE), random_backbone()
    optimizers = (
        torch.optim.AdamW(fast.parameters(), **settings, fused=True),
        torch.optim.AdamW(plain.parameters(), **settings, foreach=False, fused=False),
    )
    averages, draw = (ema_copy(fast), ema_copy(plain)), torch.Generator().manual_seed(0)
    for _ in range(3):
        for one, other in zip(fast.parameters(), plain.parameters(), strict=True):
            other.grad = torch.randn(other.shape, generator=draw)
            one.grad = other.grad.to(DEVICE)
        for optimizer in optimizers:
            optimizer.step()
        ema_update(averages[0], fast, 0.9)
        for mean, now in zip(averages[1].parameters(), plain.parameters(), strict=True):
            mean.data = 0.9 * mean + 0.1 * now.detach()
    for one, other in ((fast, plain), averages):
        for found, expected in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-6)


def test_what_is_copied_ahead_is_what_was_read():
    trained = learner("repa")
    read, copied = (list(source) for source in (trained.read(128), trained.batches(128)))
    assert len(read) == len(copied) == 16
    for one, other in zip(read, copied, strict=True):
        for host, part in zip(one, other, strict=True):
            assert (host is None) == (part is None)
            assert host is None or (part.is_cuda and torch.equal(part.cpu(), host))
    big = [replace_stored(read[0], torch.full((1 << 22,), float(n)).pin_memory()) for n in range(8)]
    sums = [item.stored.mean() for item in ahead(big, DEVICE)]
    assert [float(mean) for mean in sums] == list(range(8))


def replace_stored(examples, stored):
    return examples._replace(stored=stored)


@pytest.mark.parametrize("heads", [16, 18])  # 72 and 64 numbers a head: XL's, and B's and L's
def test_a_block_takes_the_flash_form_of_attention(heads):
    torch.manual_seed(0)
    block = Block(1152, heads).to(DEVICE)
    x, condition = torch.randn(2, 64, 1152), torch.randn(2, 1, 1152)
    noise = NoiseLevels.single(torch.rand(2, device=DEVICE))
    with torch.autocast("cuda", torch.bfloat16), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found, _ = block(x.to(DEVICE), condition.to(DEVICE), noise, None)
    exact, _ = block.cpu()(x, condition, replace(noise, levels=noise.levels.cpu()), None)
    torch.testing.assert_close(found.float().cpu(), exact, rtol=0.05, atol=0.05)
