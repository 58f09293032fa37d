"""From run folders to pages: complete, self-contained, the same every time."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser

import pytest
from markupsafe import escape
from support.pages import write_run, write_runs

from bench.cli import guarded
from bench.commands.report import write_report
from bench.core.store.files import read_json, write_json
from bench.core.store.rows import Row, write_rows
from bench.report import REPORT
from bench.study.runs import RunSpec
from reports.draw.page_parts import Missing
from reports.output.html import render_html
from reports.output.pdf import render_pdf
from reports.page import PAGES
from reports.page.pages import QUESTIONS, build_page
from reports.study.runs import read_study

NASTY = "repa/<b>&\"x'</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    arms = {"vanilla": 1.0, "selfflow": 0.85, "repa/local_s": 0.95, "repa/local_m": 0.97}
    write_runs(root, arms=arms, sizes=("nano", "micro"), seeds=3, snapshots=3, pictures=True)
    return root


class Outline(HTMLParser):
    """Headings, tables and everything that a page could fetch."""

    def __init__(self, page):
        super().__init__()
        self.headings, self.tables, self.fetched, self.tags = [], [], [], set()
        self._heading = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        self._heading = tag in ("h1", "h2", "h3")
        if tag == "table":
            self.tables.append(attributes["id"])
        for name in ("src", "href"):
            if attributes.get(name) and not attributes[name].startswith(("data:", "#")):
                self.fetched.append(attributes[name])

    def handle_endtag(self, tag):
        self._heading = False

    def handle_data(self, data):
        if self._heading and data.strip():
            self.headings.append(data.strip())


def test_every_page_can_be_built_and_is_json(runs):
    study = read_study(runs)
    assert set(PAGES) == {*QUESTIONS, "all"}
    for kind in PAGES:
        page = build_page(study, kind)
        json.dumps(asdict(page), allow_nan=False)
        assert page.lead or kind in ("probes", "samples"), kind
        assert page.answers or not page.lead, kind
        assert not page.problems and not page.notices, kind


def test_the_scaling_page_opens_with_changes_over_size(runs):
    figure, values = build_page(read_study(runs), "scaling").sections[0].figures[:2]
    assert (figure.id, values.id) == ("size-effects", "size")
    arms = {"vanilla", "selfflow", "repa/local_s", "repa/local_m"}
    for one, wanted in ((figure, arms - {"vanilla"}), (values, arms)):
        for panel in one.panels:
            assert {series.arm for series in panel.series} == wanted
            assert all(len(series.points) == 2 for series in panel.series)
        assert all(panel.floor for panel in figure.panels)


def test_encoders_are_placed_by_their_own_strength(runs):
    panel = build_page(read_study(runs), "encoders").sections[0].figures[0].panels[0]
    assert {series.arm: series.points[0].x for series in panel.series} == {
        "repa/local_s": pytest.approx(0.88), "repa/local_m": pytest.approx(0.93),
    }  # fmt: skip
    assert {rule.arm for rule in panel.rules} == {"vanilla", "selfflow"}
    names = {point.name for series in panel.series for point in series.points}
    assert names == {"local S", "local M"}


def test_the_page_of_everything_has_every_part(runs):
    text = render_html(build_page(read_study(runs), "all"))
    outline = Outline(text)
    assert outline.fetched == []
    assert all(f'id="{found}"' in text for found in re.findall(r'href="#([^"]+)"', text)), (
        "a link leads nowhere"
    )
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    for heading in (
        "Scaling",
        "Encoders",
        "Probes",
        "Convergence",
        "Cost",
        "Arms",
        "Runs",
        "Environments",
    ):
        assert heading in outline.headings
    assert {
        "table-results-0",
        "table-probes",
        "table-arms",
        "table-runs",
        "table-environments",
    } <= set(outline.tables)
    assert text.count("data:image/png;base64,") >= 8
    assert "related to the arm&#x27;s encoder" in text


def test_the_same_runs_give_the_same_bytes(runs):
    first, second = (build_page(read_study(runs), "scaling") for _ in range(2))
    assert render_html(first) == render_html(second)
    assert render_pdf(first) == render_pdf(second)


def test_the_pdf_says_what_the_page_says(runs, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    [page, pdf] = write_report("cost", runs, out=tmp_path)
    text = "".join(sheet.extract_text() for sheet in pypdf.PdfReader(pdf).pages)
    for words in ("Cost", "Self-Flow", "Arms", "Environments"):
        assert words in text and words in page.read_text()


def test_the_pdf_says_of_each_verdict_what_the_page_says(runs, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    page = build_page(read_study(runs), "scaling")
    (tmp_path / "page.pdf").write_bytes(render_pdf(page))
    sheets = pypdf.PdfReader(tmp_path / "page.pdf").pages

    def plain(text):
        return re.sub(r"[\s\u200b\xad-]", "", text)  # lines are broken, and words at their ends

    text, html = plain("".join(sheet.extract_text() for sheet in sheets)), render_html(page)
    assert page.verdicts and all(verdict.outside for verdict in page.verdicts)
    for verdict in page.verdicts:
        facts = dict(verdict.facts)
        assert {"source", "out of range", "p, Holm's p"} <= set(facts)
        assert all(plain(f"{word} {sentence}") in text for word, sentence in verdict.sentences)
        assert plain(f"After Holm's adjustment: {verdict.holm}.") in text
        for words in (verdict.reason, *facts.values()):
            assert plain(words) in text, words
        assert str(escape(verdict.short)) in html and verdict.short.endswith(
            f"After Holm's adjustment: {verdict.holm}"
        )
    first = plain(page.answers[0].sentence)
    assert text.index(first) < text.index(plain(page.verdicts[0].sentences[0][1]))
    assert html.index(str(escape(page.answers[0].question))) < html.index("<figure")
    assert html.index("<figure") < html.index("<article")


def test_the_pdf_says_why_a_claim_is_not_tested_and_names_the_arms_at_each_figure(runs, tmp_path):
    pypdf = pytest.importorskip("pypdf")
    page = build_page(read_study(runs), "encoders")
    (tmp_path / "page.pdf").write_bytes(render_pdf(page))
    text = re.sub(
        r"\s",
        "",
        "".join(sheet.extract_text() for sheet in pypdf.PdfReader(tmp_path / "page.pdf").pages),
    )
    assert page.untested
    for claim in page.untested:
        assert re.sub(r"\s", "", claim.reason) in text
    # the legend under the figure's heading
    assert "strengthoftheencoderREPA(localM)REPA(localS)" in text


def test_exports_hold_every_figure_and_table(runs, tmp_path, capsys):
    assert (
        guarded(
            REPORT.main,
            [
                "scaling",
                "--runs",
                str(runs),
                "--out",
                str(tmp_path),
                "--export",
                str(tmp_path / "x"),
                "--no-pdf",
            ],
        )
        == 0
    )
    assert "scaling.html" in capsys.readouterr().out
    exported = {path.name for path in (tmp_path / "x").iterdir()}
    assert {
        "figure-answer-0.svg",
        "figure-size-0.svg",
        "figure-size-0.png",
        "figure-size-0.csv",
        "table-headline.csv",
        "table-results-0.csv",
    } <= exported
    assert (tmp_path / "x" / "figure-size-0.png").read_bytes().startswith(b"\x89PNG")
    arm, size, mean = (
        (tmp_path / "x" / "table-results-0.csv").read_text().splitlines()[1].split(",")[:3]
    )
    rows = read_study(runs).rows
    final = rows[
        rows["final"]
        & (rows["metric"] == "fd_pixels")
        & (rows["arm"] == arm)
        & (rows["size"] == size)
    ]
    assert float(mean) == pytest.approx(final["value"].mean(), rel=1e-5)


def test_help_is_fast_because_it_imports_nothing_heavy():
    code = (
        "import sys, bench.report\n"
        "try: bench.report.REPORT.main(['--help'])\n"
        "except SystemExit: pass\n"
        "slow = ('torch', 'pandas', 'numpy', 'jinja2', 'typst', 'scipy')\n"
        "print([name for name in slow if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.rstrip().endswith("[]") and "Examples:" in out


def test_verdicts_say_where_they_hold(runs):
    page = build_page(read_study(runs), "scaling")
    found = {verdict.sentences[0][1]: verdict for verdict in page.verdicts}
    better = found["Self-Flow generates better than REPA after equally many training images."]
    assert better.word == "supported" and better.outside  # published for ImageNet
    assert "claims could be tested" in page.verdicts_note
    text = render_html(page)
    assert "here supported" in text and "no verdict on the paper" in text


def test_laws_are_fitted_where_there_are_sizes_enough(tmp_path):
    write_runs(
        tmp_path,
        arms={"vanilla": 1.0, "selfflow": 0.8},
        sizes=("nano", "micro", "mini", "tiny", "S"),
        snapshots=1,
    )
    found = build_page(read_study(tmp_path), "scaling").numbers
    laws = next(table for table in found if table.id == "laws-0")
    assert "held-out loss" in laws.title  # the loss first
    arm, exponent = laws.rows[0][0].text, laws.rows[0][5].sort
    assert arm == "vanilla" and exponent == pytest.approx(
        0.25, abs=0.02
    )  # what the runs were made with
    write_runs(tmp_path / "two", arms={"vanilla": 1.0}, sizes=("nano", "micro"), snapshots=1)
    page = build_page(read_study(tmp_path / "two"), "scaling")
    refused = next(table for table in page.numbers if table.id == "laws-0")
    assert "Not fitted (vanilla): there are 2 values" in refused.note and not refused.rows
    assert "Not fitted" in render_html(page) and render_pdf(page).startswith(b"%PDF")


def test_published_numbers_stand_beside_measured_ones_of_the_same_protocol(tmp_path, runs):
    run = write_run(tmp_path, "repa/dinov2_b", size="XL", data="imagenet256")
    images = 400_000 * 256
    sampling = {"name": "sde250", "guidance": 1.0}
    for value, n in ((8.5, 50_000), (1.0, 10_000)):
        row = Row("fid", value, n, False, {"sampling": sampling, "n": n})
        write_rows(run, f"samples{n}", images, [row], {"flops": 1.0, "hours": 1.0})
    table = next(
        one for one in build_page(read_study(tmp_path), "cost").numbers if "published" in one.id
    )
    heads = [column.label for column in table.columns]
    rows = [dict(zip(heads, (cell.sort for cell in row), strict=True)) for row in table.rows]
    assert all(
        row["source"] and row["certainty"] in ("paper", "figure", "readme", "rerun") for row in rows
    )
    beside = {
        (row["arm"], row["images"], row["guidance"]): row["FID measured here"]
        for row in rows
        if row["FID measured here"]
    }
    assert set(beside.values()) == {8.5} and {key[1:] for key in beside} == {(images, "none")}
    assert not any("published" in one.id for one in build_page(read_study(runs), "cost").numbers)


def test_words_read_right_have_an_answer_a_verdict_and_a_column(tmp_path):
    for folder in write_runs(tmp_path, {"vanilla": 1.0, "selfflow": 0.9, "sra": 1.0}, seeds=4):
        run = read_json(folder / "run.json")
        last = sorted(folder.glob("results/samples-*.json"))[-1]
        content = read_json(last)
        row = content["rows"][0] | {"metric": "word_accuracy", "higher_is_better": True}
        right = {"selfflow": 0.55}.get(run["arm"], 0.4) + 0.01 * run["seed"]
        row |= {"value": right, "real": 0.98}
        there = folder / "results" / last.name.replace("samples", "reading")
        write_json(there, content | {"kind": "reading", "rows": [row]})
    page = build_page(read_study(tmp_path), "all")
    (answer,) = (one for one in page.answers if one.question == "Who makes what was asked for?")
    said = "Self-Flow has more words read right than Vanilla at nano (+15.0 points"
    assert answer.sentence.startswith(said)
    text = render_html(page)
    assert "Self-Flow writes more of the asked words right" in text and "words read right" in text


def test_a_study_lists_what_it_lacks(tmp_path):
    run = write_run(tmp_path, "vanilla")
    write_run(tmp_path, "selfflow")
    planned = [
        RunSpec("vanilla", ("method=vanilla",), run.name),
        RunSpec("x", ("method=x", "seed=0"), "digits-x-s0-0"),
        RunSpec("y", (), None, "no encoder y here"),
    ]
    page = build_page(read_study(tmp_path, "demo", planned), "all")
    assert [style.arm for style in page.arms] == ["vanilla"]
    assert (
        Missing("digits-x-s0-0 (x) has not been started", "python -m bench.run method=x seed=0")
        in page.missing
    )
    assert any("no encoder y here" in line.what for line in page.missing)


@pytest.mark.slow
def test_ten_thousand_runs_are_a_page_under_20_megabytes(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)
    arms = {f"selfflow(x={index})": 1 - 0.01 * index for index in range(39)} | {"vanilla": 1.0}
    write_runs(
        tmp_path,
        arms=arms,
        sizes=("nano", "micro"),
        seeds=125,
        snapshots=1,
        probes=False,
        metrics=("fd_local",),
    )
    assert len(render_html(build_page(read_study(tmp_path), "all"))) < 20e6
