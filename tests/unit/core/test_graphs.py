"""CUDA graphs without a GPU: the compiler is told of them, every step says where it begins, nothing
that a replay overwrites is kept, and where they cannot be is said.
"""

import gc
import weakref

import pytest
import torch
from support.arms import NANO, random_backbone
from unit.core.test_fast_steps import learner, stepped

from bench.config.compose import compose
from bench.config.groups import options
from bench.core.model.graphs import Replayed, begin_step
from bench.core.model.sampling import sample_block, velocity_of
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.train import distributed
from bench.training.arm import assemble

GRAPHS = ("compute.compile=true", "compute.graphs=true")


def test_blocks_are_compiled_with_graphs_where_they_are_asked_for(monkeypatch):
    told: list[dict] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **words: told.append(words))
    learner("selfflow", "compute.compile=true")
    assert told == [{}] * 2 * NANO.depth  # the student's blocks and the teacher's
    told.clear()
    learner("selfflow", *GRAPHS)
    assert told == [{"mode": "reduce-overhead"}] * 2 * NANO.depth


def test_a_step_of_several_pieces_begins_once_and_before_its_first_block(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **words: None)
    seen: list[str] = []
    monkeypatch.setattr("bench.core.train.learner.begin_step", lambda: seen.append("step"))
    for words, expected in ((GRAPHS, ["step", "pass", "pass"] * 2), ((), ["pass"] * 4)):
        trained = learner("vanilla", "micro_batch=4", *words)
        trained.backbone.blocks[0].register_forward_hook(lambda *_: seen.append("pass"))
        stepped(trained, 2)
        assert seen == expected
        seen.clear()


@pytest.mark.parametrize("name", options("method"))
@pytest.mark.parametrize("words", [(), ("micro_batch=4",), ("compute.recompute=true",)])
def test_nothing_that_a_block_returned_outlives_its_step(name, words):
    if name == "dispersive":
        words = tuple(word for word in words if not word.startswith("micro_batch"))
    trained, kept = learner(name, *words), []

    def see(module, given, returned):
        for one in (returned[0], *(returned[1] or ())):
            kept.append(weakref.ref(one.untyped_storage()))

    for block in (*trained.backbone.blocks, *trained.ema.blocks):
        block.register_forward_hook(see)
    numbers = stepped(trained, 2)
    gc.collect()
    assert numbers.isfinite().all() and len(kept) >= 2 * NANO.depth
    assert all(one() is None for one in kept)
    assert all(parameter.grad is None for parameter in trained.parameters)


def recorded(function):
    """What a graph does: the same kernels on the same memory."""
    result = function().clone()
    return lambda: result.copy_(function()), result


def test_what_is_replayed_is_copied_in_and_out():
    calls: list[tuple] = []

    def function(x, scale):
        calls.append((x.data_ptr(), scale.data_ptr()))
        return x * scale

    replayed = Replayed(function, recorded)
    given = [(torch.full((2, 3), float(n)), torch.tensor(2.0)) for n in range(3)]
    found = [replayed(*one) for one in given]
    for n, one in enumerate(found):  # the earlier results are not overwritten
        assert torch.equal(one, torch.full((2, 3), 2.0 * n))
    assert len(set(calls)) == 1  # one place, and none of what is handed over
    assert not {x.data_ptr() for x, _ in given} & {x for x, _ in calls}
    assert replayed(torch.ones(4, 3), torch.tensor(3.0)).tolist() == [[3.0] * 3] * 4
    assert len(set(calls)) == 2
    assert torch.equal(replayed(*given[2]), found[2]) and len(set(calls)) == 2


@pytest.mark.parametrize("words", [{}, {"guidance": 1.5, "guidance_low": 0.3}])
def test_samples_of_a_replayed_velocity_are_the_samples(words):
    velocity, protocol = velocity_of(random_backbone()), sampling_protocol("ode50", **words)
    many: list[int] = []

    def counting(function):
        many.append(1)
        return recorded(function)

    found, plain = (
        sample_block(one, protocol, (16, 4), 10, seed=0, block=1, device="cpu")[0]
        for one in (Replayed(velocity, counting), velocity)
    )
    assert torch.equal(found, plain)
    assert len(many) == (2 if words else 1)  # with and without guidance


def test_the_compiler_knows_where_a_step_begins():
    from torch._inductor.cudagraph_trees import CUDAGraphTreeManager, MarkStepBox

    before = MarkStepBox.mark_step_counter
    try:
        begin_step()
        first = CUDAGraphTreeManager.get_curr_generation()
        begin_step()
        assert CUDAGraphTreeManager.get_curr_generation() != first
        assert CUDAGraphTreeManager.user_invoked_mark_step()
    finally:
        MarkStepBox.mark_step_counter = before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compute.graphs=true",), "compute.compile=true"),
        ((*GRAPHS, "compute.shard=true"), "compute.shard=true"),
    ],
)
def test_graphs_that_cannot_be_are_refused(words, said):
    with pytest.raises(ValueError, match=said):
        compose(words)


def test_graphs_without_a_gpu_are_refused_before_anything_is_built():
    cfg = compose([*GRAPHS, "compute.device=cpu", "measure=none"])
    with pytest.raises(ValueError, match=r"compute\.graphs=true.*a CPU"):
        assemble(cfg, distributed.start("cpu"))
