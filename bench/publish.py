"""Put a study's results where others can read them: its page, its PDF,
and the files that every number comes from.

Checkpoints, snapshots and the names of this machine stay behind. The archive unpacks to run
folders, from which `python -m bench.report all --runs DIR` makes the same page again.

    python -m bench.publish study=demo out=published/demo
"""

from __future__ import annotations

from pathlib import Path

from bench.cli import Command
from bench.config.keys import Choice, Folder, Several, Text
from reports.page import PAGES

PUBLISH = Command(
    "publish",
    does="Write DIR/<page>-<study>.html and .pdf, and DIR/runs.tar.xz: configuration, environment, "
    "cost, metrics, result rows and sample pictures (of a first seed over training, of others "
    "the last) of every run of the study (without a study: of every run in `runs`), and the small "
    "networks that runs trained on the spot; without checkpoints and this machine's names.",
    body="bench.commands.publish:publish",
    keys={
        "out": Folder("where to write", required=True),
        "study": Text("whose runs; default: all of the folder", default=""),
        "runs": Folder("folder of run folders", default=Path("runs")),
        "data": Text("the study's data set", default="digits"),
        "pages": Several(
            "pages of bench.report",
            of=Choice("page", among=tuple(PAGES), shape="PAGE"),
            default=("all",),
        ),
    },
    examples={
        "study=demo out=published/demo": "",
        "study=scaling out=published/scaling pages=scaling,cost": "",
        "runs=my_runs out=published": "",
    },
)

if __name__ == "__main__":
    PUBLISH.start()
