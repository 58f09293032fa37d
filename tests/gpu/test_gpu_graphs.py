"""On a GPU a step that replays CUDA graphs is the step, of every method, and so are samples."""

import pytest
import torch
from gpu.test_gpu_steps import DEVICE, METHODS, learner, stepped
from support.arms import random_backbone, samples

from bench.core.model.graphs import Replayed
from bench.core.model.sampling import velocity_of
from bench.core.model.sampling_protocol import sampling_protocol

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
STEPS = 5  # one warms up, one is recorded, three are replays
# a large eps: where a gradient is rounding alone, Adam would make a step of its sign
COMPILED = ("optimizer.lr=1e-3", "optimizer.eps=1e-3", "precision=float32", "compute.compile=true")


def weights_after(name, *words):
    """Weights and averages after some steps, and the losses of each."""
    torch.compiler.reset()
    trained = learner(name, *COMPILED, *words)
    losses = stepped(trained, trained.batches(until=8 * STEPS), STEPS)
    torch.compiler.reset()
    return [*trained.parameters, *trained.ema.parameters()], losses


def check_same(name, *words):
    plain, graphed = weights_after(name, *words), weights_after(name, *words, "compute.graphs=true")
    near = 1e-2 if "precision=bf16" in words else 1e-4
    torch.testing.assert_close(graphed[1], plain[1], rtol=near, atol=near)
    for one, other in zip(graphed[0], plain[0], strict=True):
        torch.testing.assert_close(one, other, rtol=near, atol=near / 10)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_that_replays_graphs_is_the_step(name):
    check_same(name)


@pytest.mark.parametrize("words", ["micro_batch=4", "compute.recompute=true", "precision=bf16"])
@pytest.mark.parametrize("name", ["vanilla", "selfflow"])
def test_so_it_is_in_pieces_computed_again_and_in_bf16(name, words):
    check_same(name, words)


def test_graphs_are_replayed():
    torch.compiler.reset()
    trained = learner("vanilla", *COMPILED, "compute.graphs=true")
    source = trained.batches(until=128)
    stepped(trained, source, STEPS)
    with torch.profiler.profile() as profile:
        stepped(trained, source, 1)
    torch.compiler.reset()
    launches = {event.key: event.count for event in profile.key_averages()}
    blocks = trained.backbone.size.depth
    assert launches["cudaGraphLaunch"] == 2 * blocks  # a forward and a backward pass each


@pytest.mark.parametrize("words", [{}, {"guidance": 1.5, "guidance_low": 0.3}])
def test_samples_of_a_replayed_velocity_are_the_samples(words):
    protocol = sampling_protocol("ode50", **words)
    velocity = velocity_of(random_backbone().to(DEVICE))
    plain, replayed = (
        samples(one, protocol, (16, 4), 10, 128, "cuda")[0]
        for one in (velocity, Replayed(velocity))
    )
    torch.testing.assert_close(replayed, plain, rtol=1e-5, atol=1e-6)
