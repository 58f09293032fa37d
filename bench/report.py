"""From run folders to a page that answers a question: `python -m bench.report scaling`.

Writes one self-contained HTML file and a PDF with the same content. No GPU is used and nothing is
fetched.
"""

from __future__ import annotations

from pathlib import Path

from bench.cli import Command
from bench.config.keys import Choice, File, Flag, Folder, Text
from bench.study import studies
from reports.page import EVERYTHING, PAGES

FIT = Command(
    "report fit",
    does="A scaling law of any table: its parameters with 95 % intervals, and its curve as a "
    "picture. Rows that share x (and x2) are taken as seeds; without any, rows are resampled.",
    body="reports.laws.command:fit_table",
    keys={
        "csv": File("table with a header line", required=True),
        "x": Text("size, for example N or parameters", required=True, shape="COLUMN"),
        "y": Text("what falls with size, for example loss", required=True, shape="COLUMN"),
        "x2": Text("data seen: fits E + A N^-a + B D^-b", default="", shape="COLUMN"),
        "run": Text(
            "which run a row is a snapshot of; its rows share luck", default="", shape="COLUMN"
        ),
        "out": File("picture, .svg or .png; default: beside the table"),
    },
    examples={
        "--csv runs.csv --x parameters --y heldout_loss": "",
        "--csv runs.csv --x N --x2 D --y loss --out law.svg": "",
        "--csv runs.csv --x N --x2 D --y loss --run run": "rows are snapshots",
    },
    alone=True,
)
COMPARE = Command(
    "report compare",
    does="Two studies, or two folders of runs, arm by arm and by the same rules: an HTML page "
    "and a PDF.",
    body="bench.commands.report:compare",
    keys={
        "a": Text("a study (bench/conf/study) or a folder of runs", required=True, shape="A"),
        "b": Text("the other one", required=True, shape="B"),
        "runs": Folder("folder of the studies' runs", default=Path("runs")),
        "data": Text("the studies' data set", default="digits"),
        "out": Folder("where to write; default: RUNS/reports"),
        "pdf": Flag("write the PDF too; --no-pdf: the HTML page only", default=True),
    },
    examples={
        "family ablation": "two studies of one folder",
        "runs other/runs": "two folders",
    },
    first="a",
    second="b",
)
INDEX = Command(
    "report index",
    does="One page that lists the studies of a folder of runs, the answer of each in a line.",
    body="bench.commands.report:index",
    keys={
        "runs": Folder("folder of run folders", default=Path("runs")),
        "out": Folder("where to write; default: RUNS/reports"),
    },
    examples={"": "", "--runs other/runs": ""},
    alone=True,
)
REPORT = Command(
    "report",
    does="Say what run folders answer, and turn them into an HTML page and a PDF.\n\n"
    "python -m bench.report fit fits a scaling law to any table, compare A B shows two studies "
    "beside each other, index lists all (each has a --help).",
    body="bench.commands.report:report",
    notes={"Pages": PAGES},
    keys={
        "page": Choice(
            "which page, or all of a study by its name",
            among=lambda: [*PAGES, *(name for name in studies.names() if name not in PAGES)],
            default=EVERYTHING,
            shape="PAGE|STUDY",
        ),
        "runs": Folder("folder of run folders", default=Path("runs")),
        "study": Text("only the runs of this study (bench/conf/study)", default=""),
        "data": Text("the study's data set; default: digits, or another that has runs", default=""),
        "out": Folder("where to write; default: RUNS/reports"),
        "export": Folder("also write every figure as SVG and PNG and every table as CSV"),
        "pdf": Flag("write the PDF too; --no-pdf: the HTML page only", default=True),
    },
    examples={
        "": "all runs, all pages",
        "demo": "all of the study demo",
        "scaling --runs runs --out /tmp/scaling": "",
        "encoders --study encoder_bottleneck --export figures/": "",
        "fit --csv runs.csv --x parameters --y heldout_loss": "a scaling law",
        "compare family ablation": "two studies, arm by arm",
        "index": "all studies of a folder",
    },
    first="page",
    alone=True,
    parts={"fit": FIT, "compare": COMPARE, "index": INDEX},
)

if __name__ == "__main__":
    REPORT.start()
