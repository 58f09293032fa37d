"""Two folders beside each other, and the page that lists studies: what is told apart is apart, runs
that both have count for nothing, and mistakes are one sentence.
"""

import shutil

import pytest
from support.pages import write_runs

from bench.cli import guarded
from bench.report import REPORT
from reports.output.html import render_html
from reports.output.pdf import render_pdf
from reports.page.compare import compare_page, index_page
from reports.study.runs import read_study

ARMS = {"vanilla": 1.0, "selfflow": 0.9}


def folder(root, **arms):
    metrics = ("heldout_loss", "fd_pixels")
    write_runs(root, arms=ARMS | arms, seeds=4, snapshots=1, probes=False, metrics=metrics)
    return root


def test_an_arm_that_changed_is_told_and_the_others_are_not(tmp_path):
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second", selfflow=0.6)
    for run in second.iterdir():  # other trainings, of the same arms
        run.rename(run.with_name(f"again-{run.name}"))
    page = compare_page(read_study(first), read_study(second), ("first", "second"))
    by_metric = dict(zip((one["metric"] for one in page.lead.shown), page.lead.panels, strict=True))
    effects = {one.arm: one for one in by_metric["fd_pixels"].effects}
    assert effects["selfflow"].value == pytest.approx(100 * (0.6 / 0.9 - 1), abs=0.5)
    assert effects["selfflow"].high < 0
    assert effects["vanilla"].value == pytest.approx(0, abs=1e-9)
    assert "Self-Flow (-33.3 %)" in page.answers[0].sentence
    assert [one.question for one in page.answers[1:]] == [
        "first: Does anything beat Vanilla?", "second: Does anything beat Vanilla?",
    ]  # fmt: skip
    means = {(row[0].arm, row[2].text): (row[3].sort, row[6].sort) for row in page.headline.rows}
    before, after = means["selfflow", "fd_pixels"]
    assert after == pytest.approx(before * 0.6 / 0.9, rel=0.01)
    assert "first and second" in render_html(page) and render_pdf(page).startswith(b"%PDF")


def test_runs_that_both_have_are_no_evidence(tmp_path):
    first = folder(tmp_path / "first")
    shutil.copytree(first, tmp_path / "second")
    page = compare_page(read_study(first), read_study(tmp_path / "second"), ("a", "b"))
    assert "8 runs are in both" in page.notices[0]
    assert page.lead is None and "no finished runs of their own" in page.answers[0].sentence
    render_html(page)


def test_folders_without_an_arm_in_common_say_what_they_have(tmp_path):
    write_runs(tmp_path / "a", arms={"vanilla": 1.0}, seeds=2, snapshots=1, probes=False)
    write_runs(tmp_path / "b", arms={"sra": 1.0}, seeds=2, snapshots=1, probes=False)
    page = compare_page(read_study(tmp_path / "a"), read_study(tmp_path / "b"), ("a", "b"))
    said = page.answers[0].sentence
    assert said == "They have no arm in common: a has Vanilla; b has SRA."


def test_the_command_takes_two_folders_and_names_what_it_wrote(tmp_path, capsys):
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second", selfflow=0.6)
    words = ["compare", str(first), str(second), "--out", str(tmp_path / "out"), "--no-pdf"]
    assert guarded(REPORT.main, words) == 0
    written = capsys.readouterr().out.strip()
    assert written == str(tmp_path / "out" / "compare-first-second.html")
    for bad, said in (
        (["compare", str(first)], "B (B) missing"),
        (["compare", str(first), str(first)], "are the same"),
        (["compare", str(first), "nothing"], "nothing is no study and no folder"),
        (["compare", str(first), str(second), "third"], "is not KEY=VALUE"),
    ):
        assert guarded(REPORT.main, bad) == 2
        assert said in capsys.readouterr().err


def test_the_index_has_a_line_for_each_study(tmp_path):
    one, other = read_study(folder(tmp_path / "one")), read_study(folder(tmp_path / "other"))
    page = index_page([(one, "one on digits", "all-one.html"), (other, "other", "")])
    assert [answer.question for answer in page.answers] == [
        "one on digits (8 of 8 runs finished):", "other (8 of 8 runs finished):",
    ]  # fmt: skip
    assert all("parameters and four seeds" in answer.sentence for answer in page.answers)
    text = render_html(page)
    assert '<a href="all-one.html">one on digits' in text and 'href=""' not in text
    assert "No study has a run here" in render_html(index_page([]))
