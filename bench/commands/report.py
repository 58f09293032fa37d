"""What bench.report does: read a study's runs, write its page, say where."""

from __future__ import annotations

from pathlib import Path

from bench.core.store.files import write_bytes, write_text
from bench.study.runs import RunSpec, runs
from reports.output.export import export_page
from reports.output.html import render_html
from reports.output.pdf import render_pdf
from reports.output.terminal import terminal_table
from reports.page.pages import build_page
from reports.study.runs import read_study


def report(
    page: str,
    runs: Path,
    study: str,
    data: str,
    out: Path | None,
    export: Path | None,
    pdf: bool,
) -> None:
    """Write a page and name its files."""
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
    data: str = "digits",
    out: Path | None = None,
    export: Path | None = None,
    pdf: bool = True,
) -> list[Path]:
    """Build and write a page; returns what was written.

    Raises ValueError when there is no such folder or study.
    """
    of_study = read_study(runs, study, planned_runs(study, data))
    if page == "all" and (table := terminal_table(of_study)):
        print(table + "\n")
    content = build_page(of_study, page)
    out = out or runs / "reports"
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{page}-{study}" if study else page
    written = [out / f"{stem}.html"]
    write_text(written[0], render_html(content))
    if pdf:
        written.append(out / f"{stem}.pdf")
        write_bytes(written[1], render_pdf(content))
    if export:
        written += export_page(content, export)
    return written
