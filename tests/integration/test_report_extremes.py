"""Pages of folders at the edge: huge values, hundreds of metrics, long names, an arm without what
the others have, two seeds; each is a page with an answer in words.
"""

import json
import math
from dataclasses import asdict

import pytest
from support.pages import IMAGES, write_run, write_runs

from bench.core.store.rows import Row, write_rows
from reports.output.html import render_html
from reports.output.pdf import render_pdf
from reports.page.pages import build_page
from reports.study import runs
from reports.study.runs import read_study

ARMS = {"vanilla": 1.0, "selfflow": 0.9}
CONTEXT = {"flops": 1e12, "hours": 1.0}


def page_of(root, kind="all"):
    page = build_page(read_study(root), kind)
    json.dumps(asdict(page), allow_nan=False)
    words = " ".join(answer.sentence for answer in page.answers).split()
    assert "nan" not in {word.strip("(%),.;+-") for word in words}
    assert render_pdf(page).startswith(b"%PDF")
    return page, render_html(page)


@pytest.mark.parametrize("value", [1e308, 5e-324, -1e308, 0.0])
def test_a_value_at_the_edge_of_numbers(tmp_path, value):
    for run in write_runs(tmp_path, arms=ARMS, seeds=3, snapshots=2, probes=False):
        if "selfflow" in run.name:
            protocol = {"data": "digits", "kind": "samples", "sampler": "heun50"}
            row = Row("fd_pixels", value, 600, False, protocol, real=0.41)
            write_rows(run, "samples-fd_pixels", IMAGES, [row], CONTEXT)
    page, text = page_of(tmp_path, "convergence")
    assert page.answers and "inf" not in page.answers[0].sentence
    for path in text.split(' d="')[1:]:
        assert "nan" not in path.partition('"')[0] and "inf" not in path.partition('"')[0]


@pytest.mark.slow
def test_300_metrics_of_ten_arms_at_four_sizes_are_chosen_from(tmp_path, monkeypatch):
    """Each group of numbers is computed once, however many figures and sentences are of it."""
    arms = {f"selfflow(weight=0.{i})": 1 - 0.02 * i for i in range(9)} | {"vanilla": 1.0}
    sizes = ("nano", "micro", "mini", "tiny")
    for run in write_runs(tmp_path, arms=arms, sizes=sizes, seeds=2, snapshots=1, probes=False):
        rows = [Row(f"fd_x{i}", 1.0 + i, 600, False, {"data": "digits"}) for i in range(300)]
        write_rows(run, "many", IMAGES, rows, CONTEXT)
    compute, asked = runs.cells, []

    def counted(study, finished, group):
        asked.append(group)
        return compute(study, finished, group)

    monkeypatch.setattr(runs, "cells", counted)
    page, text = page_of(tmp_path)
    assert len(asked) == len(set(asked)) == 303
    assert len(page.lead.selectors["metric"]) == 303
    assert len(text) < 40e6
    assert "of 1212 panels" in page.lead.on_page().caption


def test_ten_arms_with_long_names(tmp_path):
    long = "selfflow(attention=separated,mask_ratio=0.125,weight=0.{})/an_encoder_with_a_name_{}"
    arms = {long.format(i, "x" * 10 * i): 1 - 0.02 * i for i in range(10)} | {"vanilla": 1.0}
    write_runs(tmp_path, arms=arms, seeds=3, snapshots=1, probes=False)
    page, _ = page_of(tmp_path, "ablation")
    assert len(page.answers[0].sentence) < 1500
    assert len({(style.colour, style.marker) for style in page.arms}) == 11


def test_an_arm_without_the_metric_of_the_others(tmp_path):
    write_runs(tmp_path, arms=ARMS, seeds=3, snapshots=1, probes=False)
    for seed in range(3):
        write_run(tmp_path, "dual_timestep", seed=seed, metrics=("heldout_loss",), probes=False)
    page, _ = page_of(tmp_path, "convergence")
    assert "Self-Flow" in page.answers[0].sentence
    rows = {row[0].arm: [cell.text for cell in row[1:]] for row in page.headline.rows}
    assert set(rows) == {"vanilla", "selfflow", "dual_timestep"}
    assert rows["dual_timestep"][0] == "–" and "±" in rows["dual_timestep"][4]


def test_two_seeds_say_that_three_are_needed_and_names_need_no_vanilla(tmp_path):
    write_runs(tmp_path, arms={"dispersive": 1.0, "sra": 0.5}, seeds=2, snapshots=1, probes=False)
    page, _ = page_of(tmp_path, "convergence")
    (answer,) = page.answers
    assert answer.question == "Does anything beat Dispersive loss?"
    assert "3 are needed" in answer.sentence and "SRA" in answer.sentence


def test_too_few_degrees_of_freedom_are_named(tmp_path):
    metrics = ("heldout_loss", "fd_pixels")
    write_runs(tmp_path, arms=ARMS, seeds=4, snapshots=1, probes=False, metrics=metrics)
    page, _ = page_of(tmp_path, "convergence")
    assert "Self-Flow is not judged, as 3 degrees of freedom are too few" in (
        page.answers[0].sentence
    )


def test_an_effect_that_is_there_is_told_with_its_interval(tmp_path):
    arms, metrics = {"vanilla": 1.0, "selfflow": 0.7, "sra": 1.0}, ("heldout_loss", "fd_pixels")
    write_runs(tmp_path, arms=arms, seeds=5, snapshots=1, probes=False, metrics=metrics)
    page, text = page_of(tmp_path, "convergence")
    sentence = page.answers[0].sentence
    change = next(one for one in page.lead.panels[0].effects if one.arm == "selfflow")
    assert math.isclose(change.value, 100 * (0.7 - 1), abs_tol=4)
    assert f"Self-Flow ({change.value:+.1f} %, 95 % {change.low:+.1f} to {change.high:+.1f} %)" in (
        sentence
    )
    assert "is better than Vanilla, also after Holm's adjustment for 2 comparisons" in sentence
    assert "SRA cannot be told from Vanilla: best guess" in sentence and "seeds" in sentence
    best = [row[0].arm for row in page.headline.rows if row[1].mark == "best"]
    assert best == ["selfflow"]
    assert '<span class="best">' in text and '<span class="second">' in text
