"""Read a folder of runs once: result rows as a table, and what is known of each run beside them.

    study = read_study(Path("runs"))
    study.rows     # pandas, one line a result row (bench.core.store.runs.row_table)
    study.runs     # {run id: Run}, also for runs without results

Nothing here fails because of one bad file: it is named in `study.problems` and left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.core.store.runs import METRICS_LOG, RunRecord, read_runs, row_table

if TYPE_CHECKING:
    import pandas as pd

POINTS = 200  # of a training curve that are kept: more cannot be seen in a figure


Run: TypeAlias = RunRecord


@dataclass(frozen=True)
class Planned:
    """A run that a study asks for. id: its folder's name,
    "" where it cannot be run for a reason; words: overrides.
    """

    id: str
    arm: str
    words: tuple[str, ...]
    reason: str = ""


@dataclass
class Study:
    """What a page is a function of. planned: the runs that a named study asks for,
    () when the page is of a folder.
    """

    name: str
    rows: pd.DataFrame
    runs: dict[str, Run]
    planned: tuple[Planned, ...] = ()
    problems: list[str] = field(default_factory=list)


def read_study(runs_dir: Path, name: str = "", planned: Collection[Planned] = ()) -> Study:
    """Read all runs below a folder, or those that a study has planned.

    Raises ValueError when the folder does not exist; an empty one gives a study without runs.
    """
    if not runs_dir.is_dir():
        raise ValueError(
            f"no folder {runs_dir}: "
            "give the folder that holds the runs with --runs, or train one first"
        )
    run_ids = {run.id for run in planned} if name else None
    records, problems = read_runs(runs_dir, run_ids)
    rows = _typed(row_table(records, problems))
    runs = _told_apart({run.id: run for run in records})
    rows = rows.assign(arm=rows["run"].map({run.id: run.arm for run in runs.values()}).astype(str))
    return Study(name, rows, runs, tuple(planned), problems)


def _told_apart(runs: dict[str, Run]) -> dict[str, Run]:
    """Runs of a data set and size whose recipe not all share are arms of their own:
    "vanilla [optimizer.lr=0.001]".

    Otherwise a run with another learning rate would pass for one more seed, or for what its method
    does. How an encoder is read is a recipe among runs of one arm alone.
    """
    own: dict[str, set[str]] = {run: set() for run in runs}
    for keys, reads in ((("data", "arm", "size"), True), (("data", "size"), False)):
        alike: dict[tuple[str, ...], dict[str, set[str]]] = {}
        for run in runs.values():
            items = {
                item for item in flat_items(run.recipe) if reads or not item.startswith("encoder.")
            }
            alike.setdefault(tuple(str(getattr(run, key)) for key in keys), {})[run.id] = items
        for members in alike.values():
            shared = set.intersection(*members.values())
            for name, items in members.items():
                own[name] |= items - shared
    marks = {name: f" [{', '.join(sorted(items))}]" if items else "" for name, items in own.items()}
    return {name: replace(run, arm=f"{run.arm}{marks[name]}") for name, run in runs.items()}


def flat_items(tree: dict[str, Any]) -> list[str]:
    """A configuration as ["optimizer.lr=0.004", ...]."""
    return [f"{key}={value}" for key, value in flat(tree).items()]


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns of one type each, also where a run lacks an entry or there is no row at all."""
    import pandas as pd

    texts = {
        name: rows[name].fillna("?").astype(str)
        for name in ("size", "data", "metric", "protocol_id")
    }
    numbers = {
        name: pd.to_numeric(rows[name], errors="coerce")
        for name in ("parameters", "images", "images_total")
    }
    flags = {name: rows[name].eq(True) for name in ("final", "higher_is_better")}
    # JSON's Infinity is no number to average or to draw
    finite = {
        name: rows[name].where(rows[name].abs() < float("inf"))
        for name in ("value", "stderr", "real", "flops", "hours")
    }
    return rows.assign(**texts, **numbers, **flags, **finite)


def training_curve(run: Run, problems: list[str]) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl, evenly thinned to `POINTS`; a damaged line is skipped and named."""
    path = run.folder / METRICS_LOG
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        problems.append(f"{run.id}/{METRICS_LOG}: {error}; its curves are missing from the page")
        return []
    stride = max(1, len(lines) // POINTS)
    kept, damaged = [], 0
    for line in lines[::-stride][::-1]:
        try:
            record = json.loads(line)
            kept.append(record if isinstance(record, dict) else {})
        except ValueError:
            damaged += 1
    if damaged:
        problems.append(f"{run.id}/{METRICS_LOG}: {damaged} damaged lines are left out")
    return kept


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is a JSON object, else {}: files of runs are not to be trusted."""
    return value if isinstance(value, dict) else {}


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as {"optimizer.lr": 0.004, ...}."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return out
