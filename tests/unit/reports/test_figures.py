"""Builders of figures: what shares a panel, in which order,
and what a page leaves to the export.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from support import pages
from support.pages import REAL, write_run, write_runs

from reports.draw.page_parts import Section
from reports.draw.panels import MOST_PANELS, figures
from reports.output.export import export_page
from reports.output.html import render_html
from reports.page.figures import ablation, distance, training
from reports.page.figures.distance import FAR, metric_of
from reports.page.figures.over_training import hours_along, results_over_training
from reports.page.pages import build_page
from reports.study.groups import Group
from reports.study.runs import StudyResults, read_study

ARMS = {"vanilla": 1.0, "selfflow": 0.9, "repa/local_m": 0.95}
SIZES = ("nano", "micro", "tiny")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_runs(root, arms=ARMS, sizes=SIZES, seeds=2, snapshots=2)
    return read_study(root)


def test_sizes_are_chosen_in_one_figure_the_largest_first(study):
    for found in (training.curves(study)[0], results_over_training(study)[0]):
        assert found.selectors["size"] == ["tiny", "micro", "nano"]
        kept = zip(found.shown, found.at_first(), strict=True)
        assert {shown["size"] for shown, first in kept if first} == {"tiny"}


def test_training_curves_of_two_data_sets_are_not_averaged(tmp_path):
    for data in ("digits", "cifar10"):
        write_run(tmp_path, "selfflow", data=data)
    (found, *_) = training.curves(read_study(tmp_path))
    assert found.selectors["size"] == ["cifar10 · nano", "digits · nano"]
    assert all(point.n == 1 for panel in found.panels for point in panel.series[0].points)


def test_a_mean_ends_where_a_seed_has_no_line(tmp_path):
    runs = write_runs(tmp_path, arms={"vanilla": 1.0}, seeds=3)
    logs = [(run / "metrics.jsonl").read_text().splitlines(True) for run in runs]
    (runs[0] / "metrics.jsonl").write_text("".join(logs[0][:10]))  # cut off
    (runs[1] / "metrics.jsonl").write_text("".join(logs[1][::2]))  # logged half as often
    panel = next(
        p
        for p in training.curves(read_study(tmp_path))[0].panels
        if p.title.startswith("training loss")
    )
    (series,) = panel.series
    images = [[json.loads(line)["images"] for line in log] for log in logs]
    assert [point.x for point in series.points] == [i for i in images[1][::2] if i <= images[0][9]]
    values = [
        {json.loads(line)["images"]: json.loads(line)["loss"]["velocity"] for line in log}
        for log in logs
    ]
    for point in series.points:
        mean = sum(of_run[point.x] for of_run in values) / 3
        assert point.y == pytest.approx(mean, rel=1e-5) and point.n == 3


def test_hours_grow_with_the_images(tmp_path):
    run = write_run(tmp_path, "vanilla", snapshots=5)
    rows = read_study(tmp_path).rows
    # of the first three snapshots two were given the hours of the third
    of_images = {1: 3.0, 2: 3.0, 3: 3.0, 4: 4.0, 5: 6.0, 6: 6.0, 8: 8.0}
    rows = rows.iloc[: len(of_images)].assign(
        run=run.name, images=list(of_images), hours=list(of_images.values())
    )
    assert hours_along(rows).tolist() == pytest.approx([1, 2, 3, 4, 5, 6, 8])


def test_the_change_over_training_is_that_of_the_means_and_ends_like_the_forest(study):
    (figure,) = results_over_training(study)
    wanted = {"size": "tiny", "over": "images", "metric": "fd_pixels"}
    panel = next(
        panel
        for panel, shown in zip(figure.panels, figure.shown, strict=True)
        if wanted.items() <= shown.items() and shown["shown"] == "change from Vanilla"
    )
    rows = study.rows[(study.rows["metric"] == "fd_pixels") & (study.rows["size"] == "tiny")]
    for series in panel.series:
        for point in series.points:
            at = rows[rows["images"] == point.x]
            means = [
                np.log(at.loc[at["arm"] == arm, "value"]).mean() for arm in (series.arm, "vanilla")
            ]
            assert point.y == pytest.approx(100 * math.expm1(means[0] - means[1]))
    (forest,) = ablation.answer(study)
    shown = zip(forest.panels, forest.shown, strict=True)
    last = next(p for p, s in shown if s == {"size": "tiny", "metric": "fd_pixels"})
    ends = {one.arm: (one.value, one.low, one.high) for one in last.effects}
    for series in panel.series:
        end = series.points[-1]
        assert (end.y, end.low, end.high) == pytest.approx(ends[series.arm])
    assert [one.value for one in last.effects] == sorted(one.value for one in last.effects)


def test_the_training_of_an_encoder_is_marked_before_its_curve(study):
    (figure,) = results_over_training(study)
    for panel, shown in zip(figure.panels, figure.shown, strict=True):
        if shown["shown"] == "values" and shown["over"] == "FLOPs":
            assert panel.starts == [("repa/local_m", 1e12)]
            break
    else:
        raise AssertionError("no panel over FLOPs")


def test_the_first_screen_is_a_forest_over_the_page(study):
    page = build_page(study, "scaling")
    assert page.lead.id == "answer" and page.lead.panels[0].kind == "forest"
    assert page.sections[0].figures[0].id == "size-effects"


def test_no_figure_is_twice_on_the_page_of_everything(study):
    page = build_page(study, "all")
    places = {figure.id: section.title for section in page.sections for figure in section.figures}
    assert len(places) == sum(len(section.figures) for section in page.sections)
    assert places["training-results"] == places["training"] == "Convergence"


def test_an_export_writes_the_panels_that_a_page_leaves_out(study, tmp_path):
    panel = distance.against_size(study)[0].panels[0]
    (many,) = figures("many", "Many", "Caption.", [panel] * (MOST_PANELS + 2))
    assert (
        len(many.on_page().panels) == MOST_PANELS
        and f"{MOST_PANELS} of {MOST_PANELS + 2} panels; --export" in many.on_page().caption
    )
    page = replace(
        build_page(study, "cost"), lead=None, sections=[Section("m", "", "", [many], [])]
    )
    assert render_html(page).count('class="panel line"') == MOST_PANELS
    export_page(page, tmp_path)
    assert len(list(tmp_path.glob("figure-many-*.csv"))) == MOST_PANELS + 2


def test_the_metric_that_verdicts_use_comes_first_and_related_ones_are_marked(study):
    panels = distance.against_size(study)[0].panels
    assert [panel.title.partition(" ")[0] for panel in panels] == [
        "fd_pixels",
        "fd_local",
        "held-out",
    ]
    assert ["open markers" in panel.note for panel in panels] == [False, True, False]
    marked = {line.arm: {point.related for point in line.points} for line in panels[1].series}
    assert marked == {"vanilla": {False}, "selfflow": {False}, "repa/local_m": {True}}


def test_encoders_are_compared_with_vanilla_and_self_flow_alone(tmp_path):
    others = {"vanilla": 1.0, "selfflow": 0.9, "dual_timestep": 0.95, "repa/local_m": 0.9}
    write_runs(tmp_path, arms=others, seeds=2, snapshots=1)
    assert (
        distance.against_encoder(read_study(tmp_path)) == []
    )  # one encoder has nothing to be ordered with
    write_runs(tmp_path, arms={"repa/local_s": 0.95}, seeds=2, snapshots=1)
    panels = [
        panel for found in distance.against_encoder(read_study(tmp_path)) for panel in found.panels
    ]
    assert panels and all(
        {rule.arm for rule in panel.rules} == {"vanilla", "selfflow"} for panel in panels
    )


def test_an_encoder_that_is_made_of_another_is_no_step_of_a_ladder(tmp_path, monkeypatch):
    monkeypatch.setitem(pages.PROBE_ACCURACY, "averaged(local_m)", 0.9)
    arms = ("vanilla", "repa/local_s", "repa/averaged(local_m)", "repa/local_m")
    write_runs(tmp_path, arms=dict.fromkeys(arms, 0.9), seeds=2, snapshots=1)
    (figure, *_) = distance.against_encoder(read_study(tmp_path))
    panel = figure.panels[0]
    of_arm = {line.arm: (line.points[0].x, line.points[0].y) for line in panel.series}
    assert [list(guide) for guide in panel.guides] == [
        sorted([of_arm["repa/local_s"], of_arm["repa/local_m"]])
    ]
    assert "repa/averaged(local_m)" in of_arm


def told(name, **protocol):
    settings = tuple((key, str(value)) for key, value in sorted(protocol.items()))
    return Group("digits", "cknna", name, 1, 1, True, protocol=settings)


def test_protocols_are_told_apart_in_words_by_the_least_that_does():
    found = [
        told("a", encoder="local_m", encoder_weights="00aa11bb22cc33dd", n=600),
        told("b", encoder="averaged(local_m)", encoder_weights="ffaa11bb22cc33dd", n=600),
        told("c", encoder="averaged(local_m)", encoder_weights="eeaa11bb22cc33dd", n=600),
        told("d", encoder="averaged(local_m)", encoder_weights="eeaa11bb22cc33dd", n=50),
    ]
    assert [metric_of(one, found)["metric"] for one in found] == [
        "CKNNA to local M",
        "CKNNA to averaged local M · n 600 · encoder weights 2 of 2",
        "CKNNA to averaged local M · n 600 · encoder weights 1 of 2",
        "CKNNA to averaged local M · n 50",
    ]
    assert metric_of(found[0], found[:1]) == {"metric": "CKNNA"}


def test_one_order_of_panels_follows_the_first_answer(tmp_path, monkeypatch):
    """By the distance that verdicts prefer nothing can be told, so the next one answers first."""
    monkeypatch.setitem(REAL, "fd_pixels", 100.0)
    write_runs(tmp_path, arms={"vanilla": 1.0, "selfflow": 0.8}, sizes=("nano", "micro"), seeds=4)
    page = build_page(read_study(tmp_path), "all")
    first = page.lead.selectors["metric"]
    assert first == ["fd_local", "fd_pixels", "held-out loss"]
    for figure in page.figures:
        own = [one for one in figure.selectors.get("metric", []) if one in first]
        assert own == [one for one in first if one in own], figure.id


def test_a_line_of_held_out_pictures_far_below_is_said_and_not_drawn(study):
    rows = study.rows.copy()
    of_local = rows["metric"] == "fd_local"
    for factor, drawn in ((1.0, True), (FAR * 1.01, False)):
        least = rows.loc[of_local & rows["final"], "value"].min()
        rows.loc[of_local, "real"] = least / factor
        panels = distance.against_size(StudyResults("", rows, study.runs))[0].panels
        (panel,) = [panel for panel in panels if panel.title.startswith("fd_local")]
        rules = [rule.label for rule in panel.rules]
        assert rules == (["held-out real pictures"] if drawn else [])
        assert ("held-out real pictures: " in panel.note) is not drawn
