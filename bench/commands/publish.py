"""What bench.publish does: copy a study's runs without names, draw its pages from the copies."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.commands.report import write_report
from bench.core.store.runs import is_run
from bench.study.runs import runs as planned_runs
from reports.output.archive import copy_run, copy_trained, pack_runs
from reports.page.figures.pictures import MOST_GRIDS
from reports.study.runs import read_study


def publish(out: Path, study: str, runs: Path, data: str, pages: Sequence[str]) -> None:
    """Write out/<page>-<study>.html, .pdf and out/runs.tar.xz. Raises ValueError where there is no
    run.
    """
    # which runs
    asked = planned_runs(study, data) if study else []
    names = (
        [id for id in (spec.found_in(runs).id for spec in asked) if id]
        if study
        else sorted(path.name for path in runs.glob("*"))
    )
    there = [runs / name for name in names if is_run(runs / name)]
    if not there:
        which = f"study={study} in " if study else ""
        raise ValueError(f"no run of {which}runs={runs}: python -m bench.sweep makes them")
    out.mkdir(parents=True, exist_ok=True)
    out = out.absolute()
    with tempfile.TemporaryDirectory() as folder:
        copies = Path(folder) / "runs"
        # pages show the grids of an arm's first seed over training, of the others none
        found = read_study(runs, study, asked)
        shown = {run.id for of_place in found.first_seeds().values() for run in of_place}
        for run in there:
            grids = MOST_GRIDS if run.name in shown else 1
            copy_run(run, copies / run.name, str(runs), grids)
        copy_trained(runs / "cache", copies / "cache")
        # the commands on the pages say runs, and not where this machine keeps them
        with contextlib.chdir(folder):
            for page in pages:
                for path in write_report(page, Path("runs"), study, data, out):
                    print(path)
        archive = pack_runs(copies, out)
    print(f"{archive}: {len(there)} runs")
