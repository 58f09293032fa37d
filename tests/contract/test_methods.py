"""Every registered method.

Takes a step, overfits a batch, costs what it says, and keeps the traps of its papers closed.
"""

import inspect
import math
from pathlib import Path

import pytest
import torch
from support.arms import (
    NANO,
    SMALL,
    StandInEncoder,
    arm_of,
    batch_of,
    context,
    method,
    method_option,
    random_backbone,
    step_of,
)
from support.runs import ROOT

from bench.config.groups import locate, options
from bench.core.model.method import Arm, described_heads
from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.core.train.cost import count, flops_until

METHODS = options("method")


def built(name, **changes):
    return method(name, **SMALL.get(name, {}) | changes)


def test_every_file_is_registered_and_short():
    files = {p.stem for p in (ROOT / "methods").glob("*.py")} - {"__init__", "parts"}
    assert files == set(METHODS), (
        "a method is one file in methods/ and one YAML in bench/conf/method/"
    )
    for name in METHODS:
        path = ROOT / "methods" / f"{name}.py"
        assert len(path.read_text().splitlines()) < 150
        module = inspect.getmodule(locate(method_option(name).target))
        assert (
            module
            and module.__doc__
            and "python -m bench.run" in module.__doc__
            and "arXiv" in module.__doc__
        )


@pytest.mark.parametrize("name", METHODS)
def test_a_step_gives_finite_gradients_to_backbone_and_heads(name):
    (arm, ctx), step = arm_of(built(name)), step_of()
    terms = arm(batch_of(), ctx, step)
    assert "velocity" in terms and terms["velocity"].weight == 1.0
    sum(term.value * term.weight for term in terms.values()).backward()
    for key, parameter in arm.heads.named_parameters():
        assert (
            parameter.grad is not None
            and parameter.grad.isfinite().all()
            and parameter.grad.abs().max() > 0
        ), key
    assert all(p.grad is not None and p.grad.isfinite().all() for p in arm.backbone.parameters())
    if ctx.ema is not None:
        assert all(p.grad is None and not p.requires_grad for p in ctx.ema.parameters())
    aligns = bool(set(terms) & {"alignment", "representation"})
    assert ("alignment_cosine" in step.logged) == aligns, "the alignment cosine is logged"


@pytest.mark.parametrize("name", METHODS)
def test_overfits_one_batch_of_eight_to_a_tenth_of_its_first_loss(name):
    # in a real step the draws change; here the same step again and again must be learnt by heart
    m = built(name)
    backbone = random_backbone()
    arm, _ = arm_of(m, backbone)
    batch = batch_of()
    optimiser = torch.optim.AdamW(arm.parameters(), lr=5e-3)
    losses = []
    for _ in range(500):
        terms = arm(batch, context(m, backbone), step_of())
        losses.append(float(terms["velocity"].value.detach()))
        if losses[-1] < 0.1 * losses[0]:
            return
        torch.stack([term.value * term.weight for term in terms.values()]).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    pytest.fail(f"{name}: {losses[0]:.3f} -> {losses[-1]:.3f}")


@pytest.mark.parametrize("name", METHODS)
def test_cost_has_an_entry_for_every_group(name):
    m = built(name)
    encoder = StandInEncoder() if "clean" in m.needs else None
    cost = count(m, TokenGrid((8, 8), 2, 1), NANO, 10, encoder, (3, 8, 8) if encoder else ())
    flops = cost.flops_per_image
    assert flops["total"] == pytest.approx(
        sum(flops[g] for g in ("backbone", "heads", "teacher", "encoder"))
    )
    assert (flops["teacher"] > 0) == ("ema" in m.needs) and (flops["encoder"] > 0) == (
        "clean" in m.needs
    )
    arm, ctx = arm_of(m)
    assert cost.parameters["heads"] == sum(p.numel() for p in arm.heads.parameters())
    assert (cost.parameters["heads"] > 0) == bool(described_heads(m, ctx))


def test_shapes_without_numbers_cost_what_numbers_do(monkeypatch):
    arms = [m for m in map(built, METHODS) if "clean" not in m.needs]
    assert len(arms) >= 5
    grid = TokenGrid((8, 8), 2, 1)
    of_numbers = [count(m, grid, NANO, 10) for m in arms]
    monkeypatch.setattr("bench.core.train.cost.SMALL", 0)
    assert [count(m, grid, NANO, 10) for m in arms] == of_numbers


def test_cost_changes_where_a_term_ends():
    grid, encoder = TokenGrid((8, 8), 2, 1), StandInEncoder()
    repa, vanilla = (
        count(method(name), grid, NANO, 10, encoder, (3, 8, 8)) for name in ("repa", "vanilla")
    )
    stops = count(method("repa_stop", stop_images=128), grid, NANO, 10, encoder, (3, 8, 8))
    spent = 128 * repa.flops_per_image["total"] + 896 * vanilla.flops_per_image["total"]
    assert flops_until(stops.to_json(), 1024) == spent
    assert (
        flops_until(stops.to_json(), 100)
        == flops_until(repa.to_json(), 100)
        == 100 * repa.flops_per_image["total"]
    )


def test_haste_asks_the_encoder_once():
    grid, encoder = TokenGrid((8, 8), 2, 1), StandInEncoder()
    arm, ctx = arm_of(built("haste"))
    arm(batch_of(), ctx, step_of())
    assert ctx.encoder.calls == 1
    repa, haste = (
        count(built(name), grid, NANO, 10, encoder, (3, 8, 8)).flops_per_image
        for name in ("repa", "haste")
    )
    attention = 2 * (2 * 16 * 16 * 12)  # the stand-in's own logits, of two layers
    assert haste["encoder"] == repa["encoder"] + attention and haste["heads"] == repa["heads"]


def test_backbone_flops_equal_the_formula():
    n, w, d, c = 16, 32, 4, 4
    tokens = (
        n * (2 * c * w + d * 2 * (3 * w * w + w * w + 8 * w * w) + 2 * w * c) + d * 4 * n * n * w
    )
    condition = 2 * 256 * w + 2 * w * w + d * 12 * w * w + 4 * w * w
    assert (
        count(method("vanilla"), TokenGrid((8, 8), 2, 1), NANO, 10).forward_flops
        == tokens + condition
    )


def test_vanilla_builds_and_pays_for_nothing_else():
    m = method("vanilla")
    arm, ctx = arm_of(m)
    assert (
        not m.needs and not list(arm.heads.parameters()) and ctx.ema is None and ctx.encoder is None
    )
    cost = count(m, TokenGrid((8, 8), 2, 1), NANO, 10)
    assert cost.flops_per_image["backbone"] == cost.flops_per_image["total"]


def test_the_core_names_no_method_encoder_or_probe_and_imports_nothing_outside():
    # timm is a package too, noise is also what a random stream is for, and a video has frames
    words_of_its_own = ("timm", "noise", "frames")
    names = [
        f'"{name}"' for name in (*METHODS, *options("encoder")) if name not in words_of_its_own
    ]
    paths = list((ROOT / "bench" / "core").rglob("*.py"))
    assert len(paths) > 30
    for path in paths:
        text = path.read_text()
        assert not [name for name in names if name in text], path
        for line in text.splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]):
                top = words[1]
                assert not top.startswith(("methods", "probes", "reports", "slurm")), (path, line)
                assert not top.startswith("bench") or top.startswith("bench.core"), (path, line)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("repa", "B", {"student": 4}),
        ("repa", "L", {"student": 8}),
        ("repa", "XL", {"student": 8}),
        ("selfflow", "B", {"student": 4, "teacher": 8}),
        ("selfflow", "L", {"student": 7, "teacher": 17}),
        ("selfflow", "XL", {"student": 8, "teacher": 20}),
        ("sra", "B", {"student": 3, "teacher": 8}),
        ("sra", "L", {"student": 6, "teacher": 16}),
        ("sra", "XL", {"student": 8, "teacher": 20}),
        ("layersync", "XL", {"student": 8, "teacher": 16}),
        ("layersync", "L", {"student": 8, "teacher": 18}),
        ("layersync", "B", {"student": 4, "teacher": 8}),
        ("dispersive", "B", {"student": 12}),
    ],
)
def test_published_blocks(name, size, expected):
    assert method(name).blocks(SIZES[size]) == expected


def test_a_teacher_block_above_the_depth_is_refused():
    with pytest.raises(ValueError, match="block 9 is above the depth 4"):
        method("selfflow", teacher_block=9).blocks(NANO)


@pytest.mark.parametrize(
    "where", [1.5, 0, -1, math.nan, math.inf, True, None, [1], "2", {"XL": 1}, {"nano": None}]
)
def test_what_is_no_block_is_refused_in_one_sentence(where):
    with pytest.raises(
        ValueError,
        match=r"block .*: give a block from 1 to 4, a fraction of the depth below 1, or last",
    ):
        NANO.block(where)


def test_a_mapping_needs_no_default_where_it_names_the_size():
    assert (
        NANO.block({"nano": "last"}) == 4
        and NANO.block({"default": 0.5, "XL": 8}) == 2
        and NANO.block(1.0) == 1
    )


@pytest.mark.parametrize("student", [3, "last"])
def test_layersync_learns_from_a_deeper_block(student):
    with pytest.raises(ValueError, match=r"set method.student_block below method.teacher_block"):
        method("layersync", student_block=student, teacher_block=3).blocks(NANO)


def test_yaml_lists_every_parameter():
    for name in METHODS:
        option = method_option(name)
        fields = set(locate(option.target).__dataclass_fields__)
        assert fields == set(option.values), name
        text = Path(ROOT / "bench/conf/method" / f"{name}.yaml").read_text()
        assert text.startswith("#"), "a YAML begins with what the method is and its paper"


def test_heads_are_not_in_the_sampled_model():
    arm, _ = arm_of(method("selfflow"))
    assert isinstance(arm, Arm)
    assert not [key for key in arm.backbone.state_dict() if "projector" in key or "head" in key]
