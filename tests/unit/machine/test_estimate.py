"""A run that cannot be done on this machine is refused with the estimate, before it is begun."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from bench.commands.timing.arms import TimedArm
from bench.config.compose import compose
from bench.core.model.backbone import SiT
from bench.core.model.method import Method
from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.core.train.cost import count
from bench.core.train.distributed import Processes
from bench.machine import estimate as estimates
from bench.machine.estimate import (
    backbone_parameters,
    estimate,
    forward_flops,
    refuse_what_cannot_fit,
    what_cannot_fit,
)
from bench.training.session import Session

GRID = TokenGrid((8, 8), 2, 1)
ONE = Processes(0, 1, torch.device("cpu"))
TOO_MUCH = [
    (["batch=2147483648", "images=2147483648"], "GB of memory"),
    (["batch=2147483648", "images=2147483648", "micro_batch=1"], "GB of memory"),
    (["size.depth=100000", "size.width=1024"], "GB of memory"),
    (["size.width=1000000000"], "GB of memory"),
    (["images=1e9steps"], "days, on the fastest machine"),
    (["evaluation.samples=1e9", "measure=full", "evaluation.snapshots=all"], "GB of samples"),
]


@pytest.fixture
def machine(monkeypatch):
    """Two cores, 25 GB of memory, 100 GB of disk."""
    monkeypatch.setattr(estimates, "cores", lambda: 2)
    monkeypatch.setattr(estimates, "memory_bytes", lambda: (25 * 10**9, 20 * 10**9))
    free = SimpleNamespace(free=100 * 10**9)
    monkeypatch.setattr(estimates, "shutil", SimpleNamespace(disk_usage=lambda place: free))


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
@pytest.mark.parametrize("grid", [GRID, TokenGrid((32, 32), 2, 4)], ids=["digits", "latents"])
def test_parameters_are_those_of_the_backbone(size, grid):
    with torch.device("meta"):
        backbone = SiT(grid, size, 10)
    assert backbone_parameters(grid, size, 10) == sum(p.numel() for p in backbone.parameters())


@pytest.mark.parametrize("size", ["nano", "S", "XL"])
def test_flops_are_below_those_that_are_counted(size):
    counted = count(Method(), TokenGrid((32, 32), 2, 4), SIZES[size], 1000)
    share = forward_flops(TokenGrid((32, 32), 2, 4), SIZES[size]) / counted.forward_flops
    assert 0.9 < share <= 1
    assert counted.flops_per_image["total"] >= 2.9 * share * counted.forward_flops


def test_memory_is_below_what_a_step_takes():
    """Autograd keeps more of a block than the estimate says, and not ten times as much."""
    size, rows = SIZES["mini"], 64
    backbone = SiT(GRID, size, 10).initialise(torch.Generator())
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        x, t = torch.randn(rows, GRID.tokens, GRID.token_dim), torch.rand(rows)
        backbone(x, t, torch.zeros(rows, dtype=torch.long))
    words = ["size=mini", f"batch={rows}", "images=640"]
    least = estimate(compose(words), GRID, 10, ONE)
    activations = least.memory - 20 * least.parameters - 8 * rows
    assert activations < sum(kept.values()) + 4 * least.parameters < 10 * activations


@pytest.mark.parametrize(("words", "lacks"), TOO_MUCH, ids=lambda value: str(value)[:40])
def test_what_cannot_be_done_is_refused_before_anything_is_made(tmp_path, machine, words, lacks):
    session = Session(compose([f"runs={tmp_path / 'runs'}", *words]))
    with pytest.raises(ValueError, match=rf"cannot be done here: .* {lacks}.*anyway=true"):
        session.assemble(ONE, refuse_what_cannot_fit)
    assert not (tmp_path / "runs").exists()


def test_anyway_asks_nothing(machine):
    cfg = compose(["batch=2147483648", "images=2147483648", "anyway=true"])
    refuse_what_cannot_fit(cfg, GRID, 10, ONE)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["size=S", "images=64Mi"],
        ["batch=65536", "images=655360", "micro_batch=64"],
        ["evaluation.samples=1e9"],  # quick leaves out what takes long
        ["evaluation.samples=50000", "measure=full"],
    ],
    ids=str,
)
def test_what_can_be_done_is_not_refused(machine, tmp_path, words):
    least = estimate(compose(words), GRID, 10, ONE)
    assert what_cannot_fit(least, tmp_path, ONE.device) == []


def test_processes_share_the_batch_and_where_sharded_the_weights():
    whole = estimate(compose(["batch=1024", "images=10240"]), GRID, 10, ONE)
    four = Processes(0, 4, torch.device("cpu"))
    words = ["batch=1024", "images=10240"]
    split = estimate(compose(words), GRID, 10, four)
    sharded = estimate(compose([*words, "compute.shard=true"]), GRID, 10, four)
    learned = 20 * whole.parameters
    assert split.memory - learned == pytest.approx((whole.memory - learned) / 4, rel=0.01)
    assert split.memory - sharded.memory == pytest.approx(learned * 3 / 4)


def test_steps_to_be_timed_need_memory_alone(machine):
    words = ["batch=2147483648", "images=2147483648"]
    with pytest.raises(ValueError, match=r"cannot be done here: .*GB of memory"):
        TimedArm.of("vanilla", "own", words, ONE, 8)
    refuse_what_cannot_fit(compose(["images=1e9steps"]), GRID, 10, ONE, whole=False)


def test_the_disk_is_that_of_the_run_folders(monkeypatch, tmp_path):
    asked = []
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda place: asked.append(place) or usage(place))
    what_cannot_fit(estimate(compose([]), GRID, 10, ONE), tmp_path / "not" / "yet", ONE.device)
    assert asked == [tmp_path]
