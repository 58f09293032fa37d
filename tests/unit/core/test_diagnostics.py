"""Diagnostics: right by an independent computation,
and training is the same bits with and without them.
"""

import copy
import json
from contextlib import nullcontext

import pytest
import torch
from support.arms import GRID, NANO, SMALL, arm_of, batch_of, method, random_backbone, step_of
from support.runs import tiny_run

from bench.config.compose import compose
from bench.config.groups import options
from bench.core.model.flow import interpolate
from bench.core.model.streams import Draw
from bench.core.store import weight_files
from bench.core.store.runs import read_metrics
from bench.core.train import distributed
from bench.core.train.diagnostics import by_noise_level, diagnose, is_due
from bench.core.train.trainer import Stopped
from bench.training.session import Session

B = 8


def draw(rows):
    return Draw.of(0, "method", 0, B, rows, "cpu")


def diagnosed(arm, ctx, batch):
    return diagnose(arm, batch, ctx, 0, draw, slice(0, B), lambda values: values, nullcontext())


@pytest.mark.parametrize("name", options("method"))
def test_every_method_has_its_numbers_and_is_left_as_it_was(name):
    arm, ctx = arm_of(method(name, **SMALL.get(name, {})))
    batch, before, random_state = (
        batch_of(B),
        copy.deepcopy(arm.state_dict()),
        torch.get_rng_state(),
    )
    found = diagnosed(arm, ctx, batch)
    terms = arm(batch, ctx, step_of())
    assert ("gradient_agreement" in found) == (len(terms) > 1)
    assert any(key.startswith("gap_t") for key in found) == bool(
        {"alignment", "representation"} & set(terms)
    )
    assert "feature_norm" in found and any(key.startswith("loss_t") for key in found)
    assert all(parameter.grad is None for parameter in arm.parameters())
    assert all(torch.equal(value, before[key]) for key, value in arm.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not arm.backbone._forward_hooks and not arm.backbone._forward_pre_hooks


def test_gradient_agreement_is_the_cosine_of_two_whole_backward_passes():
    arm, ctx = arm_of(method("selfflow"))
    block = arm.method.blocks(NANO)["student"] - 1
    gradients = []
    for term in ("velocity", "representation"):
        other = copy.deepcopy(arm)
        other(batch_of(B), ctx, step_of())[term].value.backward()
        gradients.append(
            torch.cat(
                [p.grad.flatten() for p in other.backbone.blocks[block].parameters()]
            ).double()
        )
    expected = torch.dot(*gradients) / gradients[0].norm() / gradients[1].norm()
    assert diagnosed(arm, ctx, batch_of(B))["gradient_agreement"] == pytest.approx(
        float(expected), rel=1e-4
    )


def test_loss_and_norm_of_vanilla_by_hand():
    backbone = random_backbone()
    arm, ctx = arm_of(method("vanilla"), backbone)
    batch = batch_of(64)
    found = diagnose(arm, batch, ctx, 0, draw, slice(0, 64), lambda values: values, nullcontext())
    with torch.no_grad():
        x_t = interpolate(batch.x0, batch.x1, batch.t[:, None])
        prediction, features = backbone(x_t, batch.t, batch.condition, taps=(1,))
    error = (prediction - (batch.x1 - batch.x0)).square().mean(dim=(1, 2))
    for i in range(4):
        inside = (batch.t >= i / 4) & (batch.t < (i + 1) / 4)
        assert found[f"loss_t{i}"] == pytest.approx(float(error[inside].mean()), rel=1e-5)
    assert found["feature_norm"] == pytest.approx(
        float(features[1].square().mean().sqrt()), rel=1e-5
    )


def test_levels_fall_into_quarters_and_empty_ones_are_left_out():
    levels = torch.tensor([[0.0, 0.24], [0.25, 1.0]])
    values = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert by_noise_level("gap", values, levels, lambda v: v) == {
        "gap_t0": 1.5,
        "gap_t1": 3.0,
        "gap_t3": 5.0,
    }


def test_initial_weights_have_no_gradient_to_compare():
    from bench.core.model.backbone import SiT
    from bench.core.model.streams import generator

    arm, ctx = arm_of(method("layersync"), SiT(GRID, NANO, 10).initialise(generator(0, "init", 0)))
    assert "gradient_agreement" not in diagnosed(arm, ctx, batch_of(B)), (
        "adaLN-Zero: the velocity has no gradient yet"
    )


def test_due_steps_depend_on_images_alone():
    assert [at for at in range(0, 1024, 64) if is_due(at, 64, 300)] == [0, 320, 640, 960]
    assert not any(is_due(at, 64, None) for at in range(0, 1024, 64))


def trained(runs, *words, stop_at=None):
    """A run's folder and its lines without the clock, perhaps stopped once and resumed."""
    starts = [stop_at, None] if stop_at else [None]
    for stop in starts:
        session = Session(compose(tiny_run(runs, "images=640", "log_images=192", *words)))
        session.assemble(distributed.start("cpu"))
        session.open_folder()
        seen = []
        try:
            session.train(
                lambda seen=seen, stop=stop: "a test" if stop and seen[-1] == stop else None,
                seen.append,
            )
        except Stopped:
            assert stop
        session.folder.release()
    lines = read_metrics(session.path / "metrics.jsonl")
    return session.path, [
        {key: value for key, value in line.items() if key != "time"} for line in lines
    ]


@pytest.mark.parametrize("name", ["selfflow", "diffusion_forcing"])
def test_weights_are_the_same_bits_with_and_without(tmp_path, name):
    words = [f"method={name}", "checkpoint_images=64Ki"]
    on, lines = trained(tmp_path / "on", *words, "diagnostics_images=64")
    off, plain = trained(tmp_path / "off", *words, "diagnostics_images=null")
    assert on.name == off.name, "what is logged is no part of a run's identity"
    weights = [
        [path.read_bytes() for path in weight_files.snapshots(run).values()] for run in (on, off)
    ]
    assert weights[0] == weights[1] and weights[0]
    assert all("loss_t0" in line["diagnostics"] for line in lines)
    assert not any("loss_t0" in line["diagnostics"] for line in plain)
    assert [line["loss"] for line in lines] == [line["loss"] for line in plain]


@pytest.mark.parametrize(
    "arm", ["method=selfflow", "method=repa_stop encoder=local_s method.stop_images=128"]
)
def test_a_resumed_run_writes_the_same_diagnostics(tmp_path, arm):
    words = [*arm.split(), "diagnostics_images=192", "checkpoint_images=64Ki"]
    _, whole = trained(tmp_path / "whole", *words)
    # stopped after the diagnostics of 192 images were taken, before the line that holds them
    _, resumed = trained(tmp_path / "resumed", *words, stop_at=256)
    assert json.dumps(resumed) == json.dumps(whole)
    gaps = ["gap_t3" in line["diagnostics"] for line in whole]
    assert gaps == (
        [True, True, True, True] if "selfflow" in arm else [True, False, False, False, False]
    )
