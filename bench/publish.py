"""Put a study's results where others can read them: its page, its PDF,
and the files that every number comes from.

Checkpoints, snapshots and the names of this machine stay behind. The archive unpacks to run
folders, from which `python -m bench.report all --runs DIR` makes the same page again.

    python -m bench.publish study=encoder_bottleneck out=reports/examples/encoder_bottleneck
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from bench.cli import guarded
from bench.core.store.runs import RUN_FILES, is_run

HELP = """usage: python -m bench.publish out=DIR [study=NAME] [runs=runs] [data=digits] [pages=all]

Write DIR/<page>-<study>.html and .pdf, and DIR/runs.tar.xz: configuration, environment, cost, metrics, result rows
and the last sample pictures of every run of the study (without a study: of every run in `runs`), without
checkpoints and without this machine's names.

Examples:
  python -m bench.publish study=encoder_bottleneck out=reports/examples/encoder_bottleneck
  python -m bench.publish study=scaling out=published/scaling pages=scaling,cost
  python -m bench.publish runs=my_runs out=published"""


def anonymous(content: Any, runs: str) -> Any:
    """The same JSON without the folder of the runs, of other absolute paths the last part,
    and no host or process.
    """
    if isinstance(content, dict):
        return {
            key: anonymous(value, runs)
            for key, value in content.items()
            if key not in ("host", "pid", "started")
        }
    if isinstance(content, list):
        return [anonymous(value, runs) for value in content]
    if not isinstance(content, str):
        return content
    content = content.replace(runs, "runs")
    key, equals, value = content.rpartition("=")  # a word of the command, or a plain value
    return f"{key}{equals}{Path(value).name}" if value.startswith("/") else content


def copy_run(run: Path, to: Path, runs: str) -> None:
    """The files of one run that a page reads, anonymous."""
    to.mkdir(parents=True)
    for path in [*(run / name for name in RUN_FILES), *sorted((run / "results").glob("*.json"))]:
        if not path.exists():
            continue
        target = to / path.relative_to(run)
        target.parent.mkdir(exist_ok=True)
        if path.suffix == ".jsonl":
            shutil.copy(path, target)
        else:
            target.write_text(
                json.dumps(anonymous(json.loads(path.read_text(encoding="utf-8")), runs), indent=1)
            )
    pictures = (
        sorted((run / "samples").glob("grid-*.png"))[-1:]
        + sorted((run / "samples").glob("features_pca-*"))[-1:]
    )
    for path in pictures:
        (to / "samples").mkdir(exist_ok=True)
        shutil.copy(path, to / "samples" / path.name)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def main(argv: list[str]) -> int:
    """The command. Raises ValueError for bad input; returns the exit code."""
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    words = {"runs": "runs", "data": "digits", "pages": "all", "study": "", "out": ""}
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals or key not in words:
            raise ValueError(
                f"'{word}' is not one of {', '.join(f'{name}=' for name in words)} (see --help)"
            )
        words[key] = value
    if not words["out"]:
        raise ValueError("give out=DIR, and study=NAME unless all runs are meant (see --help)")

    from bench.report import PAGES, write_report
    from bench.study import runs as study

    unknown = [page for page in words["pages"].split(",") if page not in PAGES]
    if unknown:
        raise ValueError(f"pages={','.join(unknown)} is unknown (choices: {', '.join(PAGES)})")
    runs, out = Path(words["runs"]), Path(words["out"])
    names = (
        study.run_ids(words["study"], words["data"])
        if words["study"]
        else sorted(p.name for p in runs.glob("*"))
    )
    found = [runs / name for name in names if is_run(runs / name)]
    if not found:
        which = f"study={words['study']} in " if words["study"] else ""
        raise ValueError(f"no run of {which}runs={runs}: python -m bench.sweep makes them")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copies = Path(folder) / "runs"
        for run in found:
            copy_run(run, copies / run.name, words["runs"].rstrip("/"))
        out = out.absolute()
        with contextlib.chdir(
            folder
        ):  # the commands on the pages say runs, and not where this machine keeps them
            for page in words["pages"].split(","):
                for path in write_report(page, Path("runs"), words["study"], words["data"], out):
                    print(path)
        with tarfile.open(out / "runs.tar.xz", "w:xz") as archive:
            archive.add(copies, "runs", filter=_plain)
    print(f"{out / 'runs.tar.xz'}: {len(found)} runs")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
