"""The committed example pages are what today's code makes of their run folders, to the byte."""

import tarfile
from pathlib import Path

import pytest
from support.runs import ROOT

from bench.study.runs import runs
from reports.output.html import render_html
from reports.page.pages import build_page
from reports.study.runs import read_study

EXAMPLES = ROOT / "reports" / "examples"
FAST = "demo"
DATA = {"wrong_encoders": "cifar10_16"}  # which data of a study; of the others digits
STUDIES = sorted(path.parent.name for path in EXAMPLES.glob("*/all-*.html"))


@pytest.mark.parametrize(
    "study", [FAST, *(pytest.param(one, marks=pytest.mark.slow) for one in STUDIES if one != FAST)]
)
def test_an_example_is_drawn_again_from_its_runs(tmp_path, monkeypatch, study):
    with tarfile.open(EXAMPLES / study / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)  # the commands on the pages say runs
    page = build_page(read_study(Path("runs"), study, runs(study, DATA.get(study, "digits"))), "all")
    committed = (EXAMPLES / study / f"all-{study}.html").read_text(encoding="utf-8")
    assert render_html(page) == committed
