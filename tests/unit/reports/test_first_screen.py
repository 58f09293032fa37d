"""The first screen shows by what a study's claims judge: a share of samples that are right leads
where distances have no room, in points, with the higher one the better.
"""

import json
import math
from statistics import mean, variance

import pytest
from scipy.stats import ttest_rel
from support.pages import IMAGES, REAL, write_runs

from bench.core.store.rows import Row, write_rows
from reports.findings.sentences import joined
from reports.output.terminal import terminal_answer
from reports.page.pages import build_page
from reports.page.tables import share_tables
from reports.study import runs
from reports.study.runs import StudyResults, read_study

WORDS = {"vanilla": [0.70, 0.75, 0.71, 0.78, 0.72, 0.74, 0.69], "selfflow": []}
WORDS["selfflow"] = [
    one + more
    for one, more in zip(WORDS["vanilla"], [0.1, 0.12, 0.09, 0.1, 0.13, 0.1, 0.11], strict=True)
]


@pytest.fixture
def study(tmp_path, monkeypatch) -> StudyResults:
    """Two arms whose distances are below those of held-out pictures, and that write words."""
    monkeypatch.setitem(REAL, "fd_pixels", 100.0)
    monkeypatch.setitem(REAL, "fd_local", 100.0)
    seeds = len(WORDS["vanilla"])
    arms = {"vanilla": 1.0, "selfflow": 1.0}
    for run in write_runs(tmp_path, arms=arms, seeds=seeds, snapshots=1, probes=False):
        arm = "selfflow" if "selfflow" in run.name else "vanilla"
        value = WORDS[arm][json.loads((run / "run.json").read_text())["seed"]]
        row = Row("word_accuracy", value, 600, True, {"data": "digits"}, real=0.99)
        write_rows(run, "reading", IMAGES, [row], {"flops": 1e12, "hours": 1.0})
    return read_study(tmp_path)


def test_words_lead_where_distances_have_no_room(study):
    page = build_page(study, "all")
    assert [column.label for column in page.headline.columns[1:3]] == [
        "words read right ↑",
        "from Vanilla",
    ]
    # beside it first what has room for better
    assert page.headline.columns[3].label == "held-out loss ↓"
    best = [row[0].arm for row in page.headline.rows if row[1].mark == "best"]
    assert best == ["selfflow"]
    assert "Words read right: share of samples" in page.headline.note
    # the difference of the means, in points, and the t-test of pairs of seeds
    panel = page.lead.panels[0]
    (effect,) = panel.effects
    test = ttest_rel(WORDS["selfflow"], WORDS["vanilla"])
    ends = test.confidence_interval(0.95)
    assert panel.unit == "points" and "right is better" in panel.x.label
    assert effect.value == pytest.approx(100 * (mean(WORDS["selfflow"]) - mean(WORDS["vanilla"])))
    assert (effect.low, effect.high) == pytest.approx((100 * ends.low, 100 * ends.high))
    # one run's deviation, pooled over the arms
    of_arms = [[100 * one for one in values] for values in WORDS.values()]
    assert panel.floor == pytest.approx(math.sqrt(mean(map(variance, of_arms))))
    sentence = page.answers[0].sentence
    assert f"Self-Flow (+{effect.value:.1f} points, 95 % " in sentence
    assert "is better than Vanilla (by words read right)" in sentence
    assert "words read right ↑" in terminal_answer(page)


@pytest.mark.parametrize(
    ("words", "last", "read"),
    [
        ([], "and", ""),
        (["a"], "and", "a"),
        (["a", "b"], "nor", "a nor b"),
        (["a (-2 %, 95 % -3 to -1 %)", "b", "c"], "and", "a (-2 %, 95 % -3 to -1 %), b and c"),
        (["a, first", "b"], "nor", "a, first; nor b"),
        (["a", "b, [x, y]", "c"], "and", "a; b, [x, y]; and c"),
    ],
)
def test_a_list_can_be_read_where_its_words_have_commas(words, last, read):
    assert joined(words, last) == read


def test_sentences_list_arms_by_names_without_commas(tmp_path):
    switches = ("masking=False", "similarity=l1", "near=0.2,weight=2")
    arms = ["vanilla", "selfflow", *(f"selfflow({switch})" for switch in switches)]
    write_runs(tmp_path, arms=dict.fromkeys(arms, 1.0), seeds=7, snapshots=1, probes=False)
    page = build_page(read_study(tmp_path), "ablation")
    names = {style.name for style in page.arms}
    assert names == {
        *("Vanilla", "Self-Flow", "Self-Flow without masking", "Self-Flow with L1 similarity"),
        "Self-Flow with near timestep 0.2 and at weight 2",
    }
    sentence = next(one.sentence for one in page.answers if "part" in one.question)
    who = (
        "neither Self-Flow without masking, Self-Flow with near timestep 0.2 and at weight 2 nor "
        "Self-Flow with L1 similarity can be told from Self-Flow"
    )
    assert who in sentence


def test_each_group_is_computed_once_a_page(study, monkeypatch):
    compute, asked = runs.cells, []

    def counted(rows, finished, group):
        asked.append(group)
        return compute(rows, finished, group)

    monkeypatch.setattr(runs, "cells", counted)
    build_page(study, "all")
    assert len(asked) == len(set(asked)) > 3


def test_the_appendix_has_a_table_of_the_shares(study):
    (table,) = share_tables(study)
    heads = [column.label for column in table.columns]
    lines = {row[0].arm: dict(zip(heads, row, strict=True)) for row in table.rows}
    ours = lines["selfflow"]
    assert ours["mean"].sort == pytest.approx(mean(WORDS["selfflow"]), abs=1e-4)
    assert ours["SD"].sort == pytest.approx(math.sqrt(variance(WORDS["selfflow"])))
    change = 100 * (mean(WORDS["selfflow"]) - mean(WORDS["vanilla"]))
    assert ours["from Vanilla"].text.startswith(f"{change:+.1f} points (")
    assert lines["vanilla"]["from Vanilla"].text == "–"
    assert "share of samples in which a reader finds the word" in table.note
