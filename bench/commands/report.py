"""What bench.report does: read a study's runs, say the answer, write its page, say where."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.core.store.files import write_bytes, write_text
from bench.study import studies
from bench.study.runs import RunSpec, runs
from reports.draw.page_parts import Page
from reports.output.export import export_page, file_name
from reports.output.html import render_html
from reports.output.pdf import render_pdf
from reports.output.terminal import terminal_answer
from reports.page import EVERYTHING, PAGES
from reports.page.compare import compare_page, index_page
from reports.page.pages import build_page
from reports.study.runs import StudyResults, read_study

FIRST_DATA = "digits"  # of a study, where nothing is said


def report(
    page: str,
    runs: Path,
    study: str,
    data: str,
    out: Path | None,
    export: Path | None,
    pdf: bool,
) -> None:
    """Write a page, say its answer and name its files."""
    for path in write_report(page, runs, study, data, out, export, pdf):
        if path.parent != export:
            print(path)
    if export:
        print(f"figures and tables: {export}")


def planned_runs(study: str, data: str) -> list[RunSpec]:
    """What a study asks for, [] for no study. Raises ValueError for an unknown one."""
    return runs(study, data) if study else []


def write_report(
    page: str,
    runs: Path,
    study: str = "",
    data: str = "",
    out: Path | None = None,
    export: Path | None = None,
    pdf: bool = True,
) -> list[Path]:
    """Build a page, print its answer and write it; returns what was written.

    page: or a study, all of which is shown. Raises ValueError when there is no such folder or
    study.
    """
    if page not in PAGES:
        page, study = EVERYTHING, _only(page, study)
    of_study = _read(runs, study, data)
    content = build_page(of_study, page)
    print(terminal_answer(content, bold=sys.stdout.isatty()) + "\n", flush=True)
    stem = f"{page}-{study}" if study else page
    written = _written(content, out or runs / "reports", stem, pdf)
    if export:
        written += export_page(content, export)
    return written


def _only(named: str, study: str) -> str:
    """The study that stands where a page may. Raises ValueError where --study names another."""
    if study not in ("", named):
        raise ValueError(f"{named} and --study {study} are two studies: leave one of them out")
    return named


def _read(runs: Path, study: str, data: str) -> StudyResults:
    """A study on a data set, "" the first of its own that has runs here; of no study all runs."""
    if not study or data:
        return read_study(runs, study, planned_runs(study, data or FIRST_DATA))
    there = {run.data for run in read_study(runs).runs.values()}
    known = sorted(studies.scales(study), key=lambda one: one != FIRST_DATA)
    order = [one for one in known if one in there] or known[:1]
    found = (read_study(runs, study, planned_runs(study, one)) for one in order)
    first = next(found)
    return first if first.runs else next((one for one in found if one.runs), first)


def compare(a: str, b: str, runs: Path, data: str, out: Path | None, pdf: bool) -> None:
    """Write the page of two studies or folders and name its files."""
    names = (_called(a), _called(b))
    if a == b:
        raise ValueError(f"{a} and {b} are the same: name two studies, or two folders of runs")
    if names[0] == names[1]:  # folders of one name, told apart by those that they are in
        names = ("/".join(Path(a).absolute().parts[-2:]), "/".join(Path(b).absolute().parts[-2:]))
    left, right = (_study_or_folder(name, runs, data) for name in (a, b))
    content = compare_page(left, right, names)
    stem = file_name(f"compare-{names[0]}-{names[1]}")
    for path in _written(content, out or runs / "reports", stem, pdf):
        print(path)


def _called(name: str) -> str:
    """A study by its name, a folder by its own."""
    return name if name in studies.names() else Path(name).name or name


def _study_or_folder(name: str, runs: Path, data: str) -> StudyResults:
    if name in studies.names():
        return read_study(runs, name, planned_runs(name, data))
    if Path(name).is_dir():
        return read_study(Path(name))
    raise ValueError(
        f"{name} is no study and no folder of runs: the studies are {', '.join(studies.names())}"
    )


def index(runs: Path, out: Path | None) -> None:
    """Write the page of all studies of a folder and name it."""
    out = out or runs / "reports"
    everything = read_study(runs)
    there = {run.data for run in everything.runs.values()}
    found = []
    for name in studies.names():
        for data in sorted(there & set(studies.scales(name))):
            print(f"reading {name} on {data} ...", flush=True)
            study = read_study(runs, name, planned_runs(name, data))
            if study.runs:
                link = f"all-{name}.html"
                link = link if (out / link).is_file() else ""
                found.append((study, f"{name.replace('_', ' ')} on {data}", link))
    if len(everything.runs) > len({run for study, *_ in found for run in study.runs}):
        link = "all.html" if (out / "all.html").is_file() else ""
        found.append((everything, "All runs, also those of no study", link))
    for path in _written(index_page(found), out, "index", pdf=False):
        print(path)


def _written(content: Page, out: Path, stem: str, pdf: bool) -> list[Path]:
    """The page's files."""
    out.mkdir(parents=True, exist_ok=True)
    written = [out / f"{stem}.html"]
    write_text(written[0], render_html(content))
    if pdf:
        written.append(out / f"{stem}.pdf")
        write_bytes(written[1], render_pdf(content))
    return written
