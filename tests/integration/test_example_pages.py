"""The committed example pages are what today's code makes of their run folders, to the byte."""

import tarfile
from pathlib import Path

import pytest
from support.runs import ROOT, run_in_process

from bench.study import plan
from bench.study.runs import runs
from reports.draw.legend import arms_in_legend, draw_panel, with_legend
from reports.output.html import render_html
from reports.page.pages import build_page
from reports.study.runs import read_study

EXAMPLES = ROOT / "reports" / "examples"
FAST = "demo"
# which data of a study; of the others digits
DATA = {
    "text": "words",
    "sound": "spoken_digits",
    "policy": "minigrid",
    "video": "moving_digits",
    "mixed": "mixed",
    "wrong_encoders": "cifar10_16",
    "scaling": "cifar10_16",
}
FIGURES = {"answer": "demo-effects", "training-results": "demo-images"}  # of the README
STUDIES = sorted(path.parent.name for path in EXAMPLES.glob("*/all-*.html"))


@pytest.mark.parametrize(
    "study", [FAST, *(pytest.param(one, marks=pytest.mark.slow) for one in STUDIES if one != FAST)]
)
def test_an_example_is_drawn_again_from_its_runs(tmp_path, monkeypatch, study):
    with tarfile.open(EXAMPLES / study / "runs.tar.xz") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)  # the commands on the pages say runs
    page = build_page(
        read_study(Path("runs"), study, runs(study, DATA.get(study, "digits"))), "all"
    )
    committed = (EXAMPLES / study / f"all-{study}.html").read_text(encoding="utf-8")
    assert render_html(page) == committed


def test_the_figures_of_the_readme_are_those_of_the_example(tmp_path, monkeypatch):
    """By hand: python -m bench.report demo --export DIR, and its figure-answer-0.svg and
    figure-training-results-0.svg."""
    with tarfile.open(EXAMPLES / FAST / "runs.tar.xz") as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = build_page(read_study(Path("runs"), FAST, runs(FAST)), "all")
    drawn = {
        figure.id: with_legend(
            draw_panel(figure.panels[0], page.styles, wide=figure is page.lead),
            arms_in_legend(figure.panels[:1]),
            page.styles,
        )
        for figure in page.figures
        if figure.id in FIGURES
    }
    committed = {
        of: (ROOT / "docs" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        for of, name in FIGURES.items()
    }
    assert drawn == committed


def test_a_published_study_can_be_grown(tmp_path, capsys):
    """A copy without weights is a finished run: a sweep leaves it and runs what is new."""
    with tarfile.open(EXAMPLES / FAST / "runs.tar.xz") as archive:
        archive.extractall(tmp_path)
    words = [f"runs={tmp_path / 'runs'}"]
    there = plan.make(runs(FAST, "digits", words))
    assert len(there) == 12 and all(planned.done for planned in there)
    assert not any(planned.done for planned in plan.make(runs(FAST, "digits", [*words, "seed=4"])))

    rows = {path: path.read_bytes() for path in tmp_path.glob("runs/*/results/*.json")}
    run = there[0].spec
    assert run_in_process([*run.overrides, *words]) == 0
    assert "without its weights" in capsys.readouterr().out
    assert rows == {path: path.read_bytes() for path in tmp_path.glob("runs/*/results/*.json")}
