"""Plans: what runs will cost before anything has run, and what is said of them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from bench.cli import guarded
from bench.config.compose import compose
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.tokens import TokenGrid
from bench.evaluation.tasks import Known, all_tasks
from bench.machine.estimate import forward_flops
from bench.study import plan
from bench.study import runs as study
from bench.sweep import SWEEP
from bench.training.session import Session


def test_the_plan_is_printed_and_nothing_is_made(tmp_path, capsys):
    words = ["study=demo", "seed=0", f"runs={tmp_path / 'runs'}", "dry_run=true"]
    assert guarded(SWEEP.main, words) == 0
    shown = capsys.readouterr().out
    assert "3 runs, 0 done, 3 to do; at least " in shown and "FLOPs" in shown
    assert "repa/local_m  >= 87.7K" in shown, "an encoder that is not there yet is not counted"
    assert not (tmp_path / "runs").exists()


def test_a_plan_says_how_far_it_is(tmp_path, monkeypatch):
    said = {}

    def counted(what, parts, total, **pace):
        assert pace["every"] <= 5
        parts = list(parts)
        assert len(parts) == total
        said[what] = total
        return parts

    for module in (study, plan):
        monkeypatch.setattr(module, "counted", counted)
    plan.make(study.runs("demo", "digits", [f"runs={tmp_path}"]))
    assert said == {
        "reading the arms of demo": 3,
        "counting what each arm costs": 3,
        "timing this machine": 12,
    }


def test_costs_are_planned_where_the_data_are_not(tmp_path):
    specs = study.runs("encoder_bottleneck", "imagenet256", [f"runs={tmp_path}", "seed=0"])
    planned = {p.arm: p for p in plan.make(specs)}
    vanilla, selfflow, repa = (planned[arm] for arm in ("vanilla", "selfflow", "repa/dinov2_b"))
    # SiT-B/2 (arXiv 2401.08740, table 1): 130M parameters, 23 GFLOPs as multiply-adds; training is
    # 3 passes, 2 a pair
    assert vanilla.parameters == pytest.approx(130e6, rel=0.01)
    assert vanilla.flops == pytest.approx(3 * 2 * 23e9 * 102.4e6, rel=0.02)
    assert (
        selfflow.flops > 1.2 * vanilla.flops
        and repa.at_least
        and repa.parameters == vanilla.parameters
    )


def test_sizes_are_not_compared_on_data_that_is_learned_by_heart_without_a_warning():
    specs = study.runs("scaling", "digits", ["seed=0"])

    def told(chosen, **other):
        cfgs = [dataclasses.replace(spec.cfg, **other) for spec in chosen]
        return plan.little_room([SimpleNamespace(spec=SimpleNamespace(cfg=cfg)) for cfg in cfgs])

    warning = told(specs)
    assert warning.startswith(
        "warning: 131,072 images are 110 passes over the 1,197 training pictures of digits"
    )
    assert "images=23940 or less" in warning
    assert not told(specs, images=23_808)
    assert not told([spec for spec in specs if spec.cfg.size.name == "nano"])
    unknown = dataclasses.replace(specs[0].cfg.data, recipe={})  # a user's own pictures
    assert not told(specs, data=unknown)


def test_hours_hold_what_is_measured_afterwards(tmp_path):
    """As fast by its FLOPs as training: samples cost a forward pass an evaluation."""

    def planned(*words):
        one = [f"runs={tmp_path}", "seed=0", "evaluation.snapshots=last", *words]
        return plan.make(study.runs("demo", "digits", one), flops_per_second=1e9)[0]

    few, many = (planned("measure=full", f"evaluation.samples={n}") for n in (300, 600))
    cfg = few.spec.cfg
    evaluations = sampling_protocol(cfg.evaluation.protocol).evaluations
    forward = forward_flops(TokenGrid((8, 8), 2, 1), cfg.size)
    assert many.measuring - few.measuring == pytest.approx(300 * evaluations * forward, rel=0.1)
    assert few.hours * 3600 == pytest.approx((few.flops + few.measuring) / 1e9)
    nothing = planned("measure=none")
    assert nothing.measuring == 0 and nothing.hours * 3600 == pytest.approx(nothing.flops / 1e9)
    # in minutes below an hour, and what several workers that are asked for make of it
    minutes = f"{few.hours * 60:.0f} min of training and measuring on one worker;"
    assert few.hours < 0.5 and minutes in plan.summary([few]) and minutes in plan.summary([few], 2)
    both = few.hours + many.hours
    said = plan.summary([few, many, few], 2)
    assert f"about {(few.hours + both) / 2 * 60:.0f} min on 2;" in said
    many.hours = 30.0
    assert "30 h of training and measuring on one worker;" in plan.summary([many])


def test_networks_that_are_trained_first_are_named_until_the_cache_has_them(tmp_path):
    words = [f"runs={tmp_path / 'runs'}", f"cache={tmp_path / 'cache'}", "seed=0"]

    def said(*more):
        planned = plan.make(study.runs("demo", "digits", [*words, *more]), flops_per_second=1e9)
        return plan.summary(planned).partition("to them comes, once, the training of ")[2]

    assert said() == "local_s, local_m, local_l, an extractor of digits"
    assert said("measure=none") == "local_m"
    for made in ("encoders/local_s-digits-0a", "encoders/local_l-digits-0a"):
        (tmp_path / "cache" / made).mkdir(parents=True)
    assert said() == "local_m, an extractor of digits"
    for made in ("encoders/local_m-digits-0a", "extractors/digits-0a"):
        (tmp_path / "cache" / made).mkdir(parents=True)
    assert said() == ""


def test_networks_of_every_part_are_named(tmp_path):
    words = ["data.parts=[digits,moving_digits]", "encoder=local_m", f"cache={tmp_path}", "seed=0"]
    runs = [study.spec_of("repa", ("data=mixed", "method=repa", *words))]
    said = plan.summary(plan.make(runs, flops_per_second=1e9))
    for of_part in ("digits", "moving_digits"):
        assert f"local_m of {of_part}" in said and f"an extractor of {of_part}" in said


def test_what_samples_by_itself_is_not_measured_of_earlier_snapshots_either(tmp_path):
    asked = ["evaluation.snapshots=unsampled", "evaluation.metrics=[heldout_loss,success]"]
    session = Session(compose(["data=minigrid", "method=vanilla", f"runs={tmp_path}", *asked]))
    cost = {"forward_flops": 1.0}
    last = session.cfg.images
    found = {
        (name, task.images)
        for task in all_tasks(session, [last // 2, last], Known(cost, {"train": 9, "heldout": 9}))
        for name in task.metrics
    }
    assert found == {("heldout_loss", last // 2), ("heldout_loss", last), ("success", last)}
