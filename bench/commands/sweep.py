"""What bench.sweep does: run the study; of a plan also what it could show, from finished runs."""

from __future__ import annotations

from bench.core.store.row_table import row_table
from bench.study.request import Sweep
from bench.study.sweep import run_sweep
from reports.findings.planned import what_it_can_show
from reports.study.runs import read_study


def run_or_plan(request: Sweep) -> int:
    """Do what was asked; its exit status.

    Raises ValueError where there is no SLURM.
    """
    code = run_sweep(request)
    if request.dry_run and request.action == "run":
        lines = _power(request)
        print("\nWhat this study can show:\n" + "\n".join(f"  {line}" for line in lines))
    return code


def _power(request: Sweep) -> list[str]:
    planned: dict[str, list[tuple[str, int]]] = {}
    for spec in request.specs:
        if spec.cfg and spec.cfg.size:
            planned.setdefault(spec.cfg.size.name, []).append((spec.arm, spec.cfg.seed))
    rows = read_study(request.runs).rows if request.runs.is_dir() else row_table([], [])
    return what_it_can_show(rows, request.data, planned)
