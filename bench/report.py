"""From run folders to a page that answers a question: `python -m bench.report scaling`.

Writes one self-contained HTML file and a PDF with the same content. No GPU is used and nothing is
fetched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.study.runs import RunSpec

PAGES = {
    "scaling": "distance against model size, compute and time",
    "encoders": "strength of the external encoder against distance",
    "probes": "what the features know, by block and noise level",
    "ablation": "which part of a method does the work",
    "convergence": "distance and losses while training",
    "cost": "parameters, FLOPs, time and memory of every arm",
    "all": "all of these on one page",
}
FIT = "fit"
EXAMPLES = """examples:
  python -m bench.report all
  python -m bench.report scaling --runs runs --out /tmp/scaling
  python -m bench.report encoders --study encoder_bottleneck --export figures/
  python -m bench.report fit --csv runs.csv --x parameters --y heldout_loss    (a scaling law of any table)
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m bench.report",
        description="Turn run folders into an HTML page and a PDF.\n\n"
        + "\n".join(f"  {name:<12} {what}" for name, what in PAGES.items()),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("page", choices=list(PAGES), metavar="PAGE", help=", ".join(PAGES))
    made.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="folder of run folders (default: runs)",
    )
    made.add_argument(
        "--study", default="", metavar="NAME", help="only the runs of this study (bench/conf/study)"
    )
    made.add_argument(
        "--data", default="digits", metavar="NAME", help="the study's data set (default: digits)"
    )
    made.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: RUNS/reports)"
    )
    made.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="also write every figure as SVG and PNG and every table as CSV",
    )
    made.add_argument("--no-pdf", action="store_true", help="write the HTML page only")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when a page was written, 2 for what the user can mend."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == [FIT]:
            return fit_law(words[1:])
        options = parser().parse_args(words)
        written = write_report(
            options.page,
            options.runs,
            options.study,
            options.data,
            options.out,
            options.export,
            not options.no_pdf,
        )
        for path in written:
            if path.parent != options.export:
                print(path)
        if options.export:
            print(f"figures and tables: {options.export}")
    except (ValueError, OSError) as error:
        print(f"bench.report: {error}", file=sys.stderr)
        return 2
    return 0


def fit_law(words: Sequence[str]) -> int:
    """`bench.report fit`, which has options of its own."""
    from reports.laws import command as fit_command

    made = argparse.ArgumentParser(
        prog=f"python -m bench.report {FIT}", description=fit_command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    for name, shape, required, what in (
        ("csv", "FILE", True, "table with a header line"),
        ("x", "COLUMN", True, "size, for example N or parameters"),
        ("x2", "COLUMN", False, "data seen: fits E + A N^-a + B D^-b"),
        ("y", "COLUMN", True, "what falls with size, for example loss"),
        ("out", "FILE", False, "picture, .svg or .png (default: beside the table)"),
    ):
        kind = Path if shape == "FILE" else str
        made.add_argument(f"--{name}", type=kind, metavar=shape, required=required, help=what)
    options = made.parse_args(words)
    fit_command.fit_table(options.csv, options.x, options.y, options.x2 or "", options.out)
    return 0


def planned_runs(study: str, data: str) -> list[RunSpec]:
    """The runs of a study, [] for no study. Raises ValueError for an unknown one."""
    from bench.study.runs import runs

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
    from reports.output.html import render_html
    from reports.output.pdf import render_pdf
    from reports.output.terminal import terminal_table
    from reports.page.pages import build_page
    from reports.study.runs import read_study

    of_study = read_study(runs, study, planned_runs(study, data))
    if page == "all" and (table := terminal_table(of_study)):
        print(table + "\n")
    content = build_page(of_study, page)
    out = out or runs / "reports"
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{page}-{study}" if study else page
    written = [out / f"{stem}.html"]
    written[0].write_text(render_html(content), encoding="utf-8")
    if pdf:
        written.append(out / f"{stem}.pdf")
        written[1].write_bytes(render_pdf(content))
    if export:
        from reports.output.export import export_page

        written += export_page(content, export)
    return written


if __name__ == "__main__":
    sys.exit(main())
