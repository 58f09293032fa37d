"""Arms that are given as many FLOPs as vanilla, and not as many images: `match: flops`."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from bench.config.groups import build
from bench.core.data.base import Digits
from bench.core.model.sizes import SIZES
from bench.core.train.cost import count, flops_until, images_of
from bench.study import plan, studies
from bench.study.runs import named_by_flops, runs
from reports.study.runs import StudyResults

FILE = """\
description: Equal FLOPs
claims: []
match: {match}
arms:
  vanilla: [method=vanilla]
  selfflow: [method=selfflow]
  repa: [method=repa, encoder=local_s]
data:
  digits: {{lasts: seconds, sizes: [nano], seeds: 2}}
"""
IMAGES = 131072  # the recipe's


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Writes the study with a `match` and gives its runs by (arm, seed, matched)."""
    monkeypatch.setattr(studies, "FOLDER", tmp_path)

    def ask(match, *words, **how):
        (tmp_path / "mine.yaml").write_text(FILE.format(match=match))
        found = runs("mine", "digits", [f"runs={tmp_path / 'runs'}", *words], **how)
        return {(run.arm, run.cfg.seed if run.cfg else None, run.matched): run for run in found}

    return ask


def flops_an_image(cfg):
    """Of an arm without an encoder, counted anew."""
    grid = Digits("digits", 2).grid
    return count(build(cfg.method), grid, SIZES["nano"], 10).flops_per_image["total"]


def test_images_are_the_inverse_of_flops():
    cost = {"flops_per_image": {"total": 4.0}}
    assert images_of(cost, 400.0) == 100
    ending = cost | {"ends": 50, "flops_per_image_after": {"total": 2.0}}
    for images in (10, 50, 51, 300):
        assert images_of(ending, flops_until(ending, images)) == pytest.approx(images)


def test_arms_are_trained_to_their_own_end_at_vanillas_flops(asked):
    made = asked("flops")
    vanilla, selfflow = made["vanilla", 0, ("flops",)], made["selfflow", 0, ("flops",)]
    assert vanilla.cfg.images == IMAGES and "-flops-" not in vanilla.id
    spent = flops_an_image(vanilla.cfg) * IMAGES
    own = flops_an_image(selfflow.cfg)
    assert own > 1.2 * flops_an_image(vanilla.cfg), "the teacher's pass is in its cost"
    assert abs(own * selfflow.cfg.images - spent) <= own * selfflow.cfg.batch / 2
    assert selfflow.cfg.images % selfflow.cfg.batch == 0
    assert f"images={selfflow.cfg.images}" in selfflow.overrides
    assert selfflow.id.startswith("digits-selfflow-nano-s0-flops-")
    assert f"name={selfflow.cfg.name}" in selfflow.overrides
    seeds = {run.cfg.seed for run in made.values()}
    assert seeds == {0, 1} and len({run.id for run in made.values()}) == 6


def test_more_images_of_vanilla_are_more_images_of_all(asked):
    few = asked("flops", "images=64Ki")["selfflow", 0, ("flops",)]
    many = asked("flops", "images=128Ki")["selfflow", 0, ("flops",)]
    assert many.cfg.images == pytest.approx(2 * few.cfg.images, abs=2 * few.cfg.batch)
    assert many.id == few.id, "as with equal images, their number is no part of the name"


def test_both_comparisons_share_the_runs_that_they_can(asked):
    made = asked("[images, flops]", "seed=0")
    assert set(made) == {
        ("vanilla", 0, ("images", "flops")),
        ("selfflow", 0, ("images",)),
        ("selfflow", 0, ("flops",)),
        ("repa", 0, ("images",)),
        ("repa", 0, ("flops",)),
    }
    plain = asked("images", "seed=0")["selfflow", 0, ("images",)]
    assert made["selfflow", 0, ("images",)] == plain
    assert named_by_flops(plain.cfg).name == made["selfflow", 0, ("flops",)].cfg.name


def test_an_encoder_that_is_not_at_hand_leaves_the_images_open(asked):
    made = asked("flops", "seed=0")
    repa = made["repa", 0, ("flops",)]
    assert not repa.counted and repa.id.startswith("digits-repa-local_s-nano-s0-flops-")
    (line,) = (line for line in plan.table(plan.make([repa])).splitlines() if repa.id in line)
    assert line.split()[1:5] == ["repa/local_s", ">=", "87.7K", "?"]


def test_what_a_run_of_another_seed_wrote_down_is_its_cost(asked, tmp_path):
    made = asked("flops")
    vanilla, repa = (made[arm, 1, ("flops",)] for arm in ("vanilla", "repa"))
    each = flops_an_image(vanilla.cfg)
    cost = {"flops_per_image": {"total": 2 * each}, "encoder_training_flops": each * IMAGES / 2}
    folder = tmp_path / "runs" / repa.id
    folder.mkdir(parents=True)
    parts = {"parameters": {"backbone": 10, "heads": 5}, "forward_flops": 1.0}
    measured = {"seconds_per_step": None, "peak_memory_bytes": None}
    stored = {"schema_version": 1} | cost | parts | measured
    (folder / "cost.json").write_text(json.dumps(stored))
    other = asked("flops")["repa", 0, ("flops",)]
    assert other.counted and other.cfg.images == IMAGES / 4, "half is the encoder's own training"
    (planned,) = plan.make([other])
    assert planned.images == IMAGES / 4


def test_an_encoder_is_built_where_the_study_is_run(asked, capsys):
    made = asked("flops", "seed=0", "images=1Mi", build_encoders=True)
    repa = made["repa", 0, ("flops",)]
    assert repa.counted and 0 < repa.cfg.images < 2**20
    assert "counting the FLOPs of repa with encoder local_s at size nano" in capsys.readouterr().out


def test_too_few_images_for_an_encoders_training_are_not_possible(asked):
    made = asked("flops", "seed=0", "images=64", build_encoders=True)
    repa = made["repa", None, ("flops",)]
    assert repa.id is None and "cost less than the training of encoder local_s" in repa.reason


def test_a_page_finds_the_rows_that_are_matched(asked):
    planned = tuple(asked("[images, flops]", "seed=0").values())
    rows = pd.DataFrame({"run": [*(run.id for run in planned), "another"]})
    study = StudyResults("mine", rows, {}, planned)
    at_equal_flops = set(study.rows_matched("flops")["run"])
    assert at_equal_flops == {run.id for run in planned if "flops" in run.matched}
    of_vanilla = {run.id for run in planned if run.arm == "vanilla"}
    assert at_equal_flops & set(study.rows_matched("images")["run"]) == of_vanilla
    assert study.rows_matched("images")["run"].nunique() == 3
