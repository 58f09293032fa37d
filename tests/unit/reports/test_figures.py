"""Builders of figures: what shares a panel, in which order,
and what a page leaves to the export.
"""

from dataclasses import replace

import pytest
from support.pages import write_run, write_runs

from reports.draw.content import MOST_PANELS, figures
from reports.output.export import export_page
from reports.output.html import render_html
from reports.page.figures import distance, training
from reports.page.pages import MOST_LEADING, build_page
from reports.study.runs import read_study

ARMS = {"vanilla": 1.0, "selfflow": 0.9, "repa/local_m": 0.95}
SIZES = ("nano", "micro", "tiny")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_runs(root, arms=ARMS, sizes=SIZES, seeds=2, snapshots=2)
    return read_study(root)


def test_sizes_have_figures_of_their_own_the_largest_open(study):
    for found in (training.curves(study)[:3], distance.against(study.rows, "images")):
        assert [figure.title.rpartition(": ")[2] for figure in found] == [
            "digits · tiny", "digits · micro", "digits · nano",
        ]  # fmt: skip
        assert [figure.folded for figure in found] == [False, True, True]


def test_training_curves_of_two_data_sets_are_not_averaged(tmp_path):
    for data in ("digits", "cifar10"):
        write_run(tmp_path, "selfflow", data=data)
    found = training.curves(read_study(tmp_path))
    assert [figure.title for figure in found] == [
        "While training: cifar10 · nano",
        "While training: digits · nano",
    ]
    for one in found:
        assert all(point.n == 1 for panel in one.panels for point in panel.series[0].points)


def test_the_first_screen_has_few_panels_and_the_others_follow(study):
    page = build_page(study, "scaling")
    whole = distance.against_size(study.rows)[0]
    many = study.rows.assign(
        metric=study.rows["metric"].replace({"label_agreement": "fd_other"}), higher_is_better=False
    )
    study_of_more = type(study)(study.name, many, study.runs)
    lead, section = (
        getattr(build_page(study_of_more, "scaling"), key) for key in ("lead", "sections")
    )
    assert page.lead.panels == whole.panels and len(whole.panels) == MOST_LEADING
    assert len(lead.panels) == MOST_LEADING
    more = section[0].figures[0]
    assert more.id == "size-more" and more.folded and more.panels


def test_no_figure_is_twice_on_the_page_of_everything(study):
    page = build_page(study, "all")
    places = {figure.id: section.title for section in page.sections for figure in section.figures}
    assert len(places) == sum(len(section.figures) for section in page.sections)
    assert places["images"] == places["training"] == "Convergence"


def test_an_export_writes_the_panels_that_a_page_leaves_out(study, tmp_path):
    panel = distance.against_size(study.rows)[0].panels[0]
    (many,) = figures("many", "Many", "Caption.", [panel] * (MOST_PANELS + 2))
    assert (
        len(many.on_page().panels) == MOST_PANELS
        and "24 of 26 panels; --export" in many.on_page().caption
    )
    page = replace(build_page(study, "cost"), lead=many, sections=[])
    assert render_html(page).count('class="panel line"') == MOST_PANELS
    export_page(page, tmp_path)
    assert len(list(tmp_path.glob("figure-many-*.csv"))) == MOST_PANELS + 2


def test_the_metric_that_verdicts_use_comes_first_and_related_ones_are_marked(study):
    panels = distance.against_size(study.rows)[0].panels
    assert [panel.title.partition(" ")[0] for panel in panels] == [
        "fd_pixels",
        "fd_local",
        "heldout_loss",
    ]
    assert ["open markers" in panel.note for panel in panels] == [False, True, False]
    marked = {line.arm: {point.related for point in line.points} for line in panels[1].series}
    assert marked == {"vanilla": {False}, "selfflow": {False}, "repa/local_m": {True}}


def test_encoders_are_compared_with_vanilla_and_self_flow_alone(tmp_path):
    others = {"vanilla": 1.0, "selfflow": 0.9, "dual_timestep": 0.95, "repa/local_m": 0.9}
    write_runs(tmp_path, arms=others, seeds=2, snapshots=1)
    assert (
        distance.against_encoder(read_study(tmp_path).rows) == []
    )  # one encoder has nothing to be ordered with
    write_runs(tmp_path, arms={"repa/local_s": 0.95}, seeds=2, snapshots=1)
    panels = [
        panel
        for found in distance.against_encoder(read_study(tmp_path).rows)
        for panel in found.panels
    ]
    assert panels and all(
        {rule.label for rule in panel.rules} == {"vanilla", "selfflow"} for panel in panels
    )
