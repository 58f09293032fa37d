"""The first screen of runs on several data sets: one sentence an arm, one line a data set, by the
numbers of each data set's own runs.
"""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel
from support.pages import REAL, write_runs

from reports.output.numbers import panel_rows
from reports.output.terminal import terminal_answer
from reports.page import over_data
from reports.page.pages import build_page
from reports.study.runs import read_study

FACTORS = {"digits": 1.0, "notes": 0.7, "words": 1.3}
SEEDS = 7


def written(root, factors, **more):
    for data, factor in factors.items():
        arms = {"vanilla": 1.0, "selfflow": factor}
        given = {"seeds": SEEDS, "snapshots": 1, "probes": False} | more
        write_runs(root, arms, data=data, **given)
    return read_study(root)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return written(tmp_path_factory.mktemp("runs"), FACTORS)


def test_an_arm_has_a_sentence_and_a_data_set_a_place_in_it(study):
    (answer,) = over_data.against_on_all(study, "vanilla")
    said = answer.sentence
    assert answer.question == "Does anything beat Vanilla?"
    assert said.startswith("On three data sets, Self-Flow is better than Vanilla on notes (-")
    assert "; is worse than Vanilla on words (+" in said
    assert "; cannot be told from it on digits (" in said and "By held-out loss, " in said
    assert said.count("also after Holm's adjustment for 3 comparisons") >= 2


def test_a_terminal_says_of_every_line_which_data_set_and_arm_it_is_of(study):
    blocks = terminal_answer(build_page(study, "all")).split("\n\n")
    tables = [block for block in blocks if block.split()[:2] == ["data", "arm"]]
    assert len(tables) == 2, "a block a metric"
    for block in tables:
        heads, *lines = block.splitlines()
        assert heads.split()[-1] == "seeds" and "from Vanilla" in heads
        assert [line.split()[0] for line in lines] == sorted([*FACTORS, *FACTORS])
        assert [line.split()[1] for line in lines[:2]] == ["vanilla", "selfflow"]
        assert [" %" in line for line in lines] == [False, True] * len(FACTORS)


def test_the_figure_has_the_paired_interval_of_every_data_set(study):
    (figure,) = over_data.changes_over_data(study, "vanilla")
    metrics = figure.selectors["metric"]
    panel = figure.panels[metrics.index("fd_pixels")]
    assert [one.on for one in panel.effects] == sorted(FACTORS)
    for one in panel.effects:
        final = study.final[
            (study.final["data"] == one.on) & (study.final["metric"] == "fd_pixels")
        ]
        logs = [
            np.log(final[final["arm"] == arm].sort_values("seed")["value"].to_numpy(float))
            for arm in ("selfflow", "vanilla")
        ]
        ends = ttest_rel(*logs).confidence_interval(0.95)
        shown = [100 * math.expm1(end) for end in (ends.low, ends.high)]
        assert (one.low, one.high) == pytest.approx(shown)
    # as numbers, with the data set of each line
    head, *lines = panel_rows(panel)
    assert head[:2] == ["data", "arm"] and [line[0] for line in lines] == sorted(FACTORS)


def test_the_page_begins_with_all_of_them_and_two_data_sets_have_their_own(study, tmp_path):
    page = build_page(study, "all")
    assert len(page.answers) == 1 and page.lead.panels[0].effects[0].on == "digits"
    lines = [(row[0].text, row[1].arm) for row in page.headline.rows]
    assert lines == [(data, arm) for data in sorted(FACTORS) for arm in ("vanilla", "selfflow")]
    assert not any("Runs differ" in one for one in page.notices)
    two = build_page(written(tmp_path, {"digits": 1.0, "notes": 0.7}), "all")
    assert len(two.answers) == 2 and not two.lead.panels[0].effects[0].on


def test_what_is_too_long_for_a_first_screen_is_left_to_one_data_set(study, monkeypatch):
    monkeypatch.setattr(over_data, "LINES_AT_FIRST", 5)
    assert over_data.results_over_data(study, "vanilla") is None
    page = build_page(study, "all")
    assert page.headline is not None and len(page.headline.rows) == 2


def test_of_many_data_sets_the_ends_are_said(study):
    changes = over_data._told(*over_data._leads(study, "vanilla")["digits"], "vanilla")
    many = {f"part{number}": changes for number in range(6)}
    said = over_data._sentence(many, "vanilla")
    assert said.startswith("Self-Flow cannot be told from Vanilla on all of them (")


def test_what_is_not_there_is_left_empty_and_one_seed_is_not_judged(tmp_path):
    written(tmp_path, {"digits": 0.7, "words": 0.7}, seeds=1)
    study = written(tmp_path, {"notes": 0.7}, seeds=1, metrics=["fd_pixels"])
    page = build_page(study, "all")
    said = page.answers[0].sentence
    assert "Self-Flow is not judged on notes (-" in said
    assert "as one shared seed tells too little where 3 are needed" in said
    heads = [column.label for column in page.headline.columns]
    of_notes = next(row for row in page.headline.rows if row[0].text == "notes")
    assert of_notes[heads.index("held-out loss ↓")].text == "–"
    assert of_notes[heads.index("fd_pixels ↓")].text != "–"


def test_samples_as_near_as_held_out_ones_are_not_judged(tmp_path, monkeypatch):
    monkeypatch.setitem(REAL, "fd_pixels", 100.0)
    study = written(tmp_path, FACTORS, metrics=["fd_pixels"])
    (answer,) = over_data.against_on_all(study, "vanilla")
    assert "Self-Flow cannot be judged on notes, words and digits, where samples" in answer.sentence
