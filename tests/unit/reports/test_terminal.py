"""What `python -m bench.report` says in a terminal: the answer, the first table, what lacks."""

import re

import pytest
from support.pages import write_run, write_runs

from bench.cli import guarded
from bench.report import REPORT
from bench.study import studies
from reports.output.terminal import BOLD, terminal_answer
from reports.page.pages import QUESTIONS, build_page
from reports.study.runs import read_study

ARMS = {"vanilla": 1.0, "selfflow": 0.85, "repa/local_m": 0.95}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_runs(root, arms=ARMS, seeds=4, snapshots=2, probes=False)
    return root


def test_sentences_come_first_then_the_table_and_the_file_last(runs, tmp_path, capsys):
    words = ["--runs", str(runs), "--out", str(tmp_path), "--no-pdf"]
    assert guarded(REPORT.main, ["cost", *words]) == 0
    said = capsys.readouterr().out
    order = ["Does anything beat Vanilla?", "Self-Flow (-", "from Vanilla", "cost.html"]
    places = [said.index(words) for words in order]
    assert places == sorted(places)
    lines = [line for line in said.splitlines()[:-1] if "python -m" not in line]
    assert max(map(len, lines)) <= 100


def test_the_best_is_marked_and_changes_have_the_interval_of_the_figure(runs):
    page = build_page(read_study(runs), "cost")
    best = re.findall(r"^ *selfflow .*", terminal_answer(page), re.M)[0]
    assert "*" in best and BOLD not in best
    assert BOLD in terminal_answer(page, bold=True)
    (effect,) = [one for one in page.lead.panels[0].effects if one.arm == "selfflow"]
    assert f"{effect.value:+.1f} % ({effect.low:+.1f} to {effect.high:+.1f})" in best


def test_arms_stand_in_the_order_of_the_study(tmp_path):
    ids = {arm: write_run(tmp_path, arm, factor).name for arm, factor in ARMS.items()}

    class Planned:
        overrides, reason, matched = (), "", ("images",)

        def __init__(self, arm):
            self.arm, self.id = arm, ids[arm]

        def found_in(self, runs):
            return self

    order = ["repa/local_m", "selfflow", "vanilla"]
    study = read_study(tmp_path, "mine", [Planned(arm) for arm in order])
    table = build_page(study, "cost").headline
    assert [row[0].text for row in table.rows] == order
    assert sorted(order, reverse=True) == [
        row[0].text for row in build_page(read_study(tmp_path), "cost").headline.rows
    ]


def test_a_page_without_its_answer_says_what_would_make_it(runs):
    for kind, made_by in (("scaling", "scaling"), ("ablation", "ablation")):
        said = terminal_answer(build_page(read_study(runs), kind))
        assert f"python -m bench.sweep study={made_by} data=digits" in said
    assert "measure=full" in terminal_answer(build_page(read_study(runs), "probes"))
    named = {part.made_by for part in QUESTIONS.values()} - {""}
    assert named <= set(studies.names())


def test_the_name_of_a_study_is_its_page(tmp_path, capsys):
    words = ["--runs", str(tmp_path), "--out", str(tmp_path / "out"), "--no-pdf"]
    assert guarded(REPORT.main, ["demo", *words]) == 0
    said = capsys.readouterr().out
    assert "python -m bench.sweep study=demo" in said and "all-demo.html" in said
    assert guarded(REPORT.main, ["demo", "--study", "family", *words]) == 2
    assert "leave one of them out" in capsys.readouterr().err
