"""Result rows: what was measured, on which snapshot, under which protocol. Files are the truth.

Any index is rebuilt from them.

A file `results/<kind>-<images>.json` holds the rows of one measurement of one snapshot and is
written atomically. `load` turns all files below a folder of runs into one pandas table; a damaged
file is named and left out, never a crash.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.store.files import short_hash, write_json
from bench.core.store.schema import COST, MEASUREMENT, ROW, RUN, STATUS, Kind, check

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One number and everything needed to compare it.

    value: None when it could not be had (note says why); stderr: of this measurement, not across
    seeds; n: samples it rests on; real: the same metric of held-out real data; block, t: where
    features were read; related: why the metric is not independent of the arm ("" when it is);
    protocol: a complete record; encoder: whose own strength this is, "" for a number of the arm.
    """

    metric: str
    value: float | None
    n: int
    higher_is_better: bool
    protocol: dict[str, Any]
    stderr: float | None = None
    real: float | None = None
    block: int | None = None
    t: float | None = None
    related: str = ""
    note: str = ""
    metric_version: int = 1
    encoder: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The row as stored: non-finite values become None with a note,
        and the protocol gets its short hash.
        """
        row, changed = asdict(self), list[str]()
        measured = _finite(
            {key: row[key] for key in ("value", "stderr", "real", "details")}, "", changed
        )
        row |= measured | {"note": "; ".join(part for part in (self.note, *changed) if part)}
        return row | {"protocol_id": protocol_id(self.protocol)}


def _finite(value: Any, name: str, changed: list[str]) -> Any:
    """The value with None for numbers that JSON cannot hold; each is named in `changed`."""
    if isinstance(value, Mapping):
        return {
            key: _finite(inner, f"{name}.{key}".strip("."), changed) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_finite(inner, f"{name}[{i}]", changed) for i, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        changed.append(f"{name} was {value}")
        return None
    return value


def protocol_id(protocol: dict[str, Any]) -> str:
    """What two rows share when their protocols are the same."""
    return short_hash(protocol)


def result_path(run_dir: Path, kind: str, images: int) -> Path:
    """Where the rows of one kind of measurement of the snapshot at `images` lie."""
    return run_dir / "results" / f"{kind}-{images:012d}.json"


def write(
    run_dir: Path, kind: str, images: int, rows: Iterable[Row], context: dict[str, Any]
) -> Path:
    """Store rows; context: flops and hours spent until the snapshot, its hash, the environment."""
    path = result_path(run_dir, kind, images)
    content = {
        "schema_version": SCHEMA_VERSION,
        "run": run_dir.name,
        "kind": kind,
        "images": images,
    }
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(
        path, content | context | {"created": created, "rows": [row.to_json() for row in rows]}
    )
    return path


def _read(path: Path, unmarked: int | None = None) -> dict[str, Any]:
    """A JSON object of this schema; unmarked: the version of a file that names none.

    Raises OSError or ValueError.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object")
    if (version := content.get("schema_version", unmarked)) != SCHEMA_VERSION:
        raise ValueError(f"has schema version {version}, this program reads {SCHEMA_VERSION}")
    return content


def read_description(run_dir: Path) -> dict[str, Any]:
    """run.json. Raises OSError or ValueError when it cannot be read or holds what no run is."""
    content = _read(run_dir / "run.json")
    check(content, RUN)
    return content


def read_part(
    run_dir: Path, file: str, kinds: Mapping[str, Kind], problems: list[str]
) -> dict[str, Any]:
    """A file beside run.json, {} where there is none;
    a damaged one is named in `problems` and {}.
    """
    path = run_dir / file
    try:
        content = _read(path, SCHEMA_VERSION) if path.exists() else {}
        check(content, kinds)
        return content
    except (OSError, ValueError) as error:
        problems.append(f"{run_dir.name}/{file}: {_why(error)}; what it holds is missing")
        return {}


def read_measurement(path: Path) -> dict[str, Any]:
    """A result file. Raises OSError or ValueError when it cannot be read."""
    content = _read(path)
    check(content, MEASUREMENT)
    return content


def readable(path: Path) -> bool:
    """Whether `load` would take a result file."""
    try:
        return bool(read_measurement(path))
    except (OSError, ValueError):
        return False


RUN_COLUMNS = ("arm", "method", "encoder", "size", "depth", "width", "data", "seed", "batch")
ROW_COLUMNS = (
    *("metric", "value", "stderr", "n", "real", "higher_is_better", "block", "t", "related"),
    *("protocol", "protocol_id", "metric_version", "note", "details"),
)
COLUMNS = (
    *(
        "run",
        *RUN_COLUMNS,
        "parameters",
        "images",
        "images_total",
        "final",
        "flops",
        "hours",
        "state",
        "kind",
    ),
    *ROW_COLUMNS,
)


def load(runs_dir: Path | str, run_ids: Collection[str] | None = None) -> pd.DataFrame:
    """All rows below a folder of runs (of the named runs only): one line a row, columns `COLUMNS`.

    `final` marks rows of the newest snapshot of a complete run. `.attrs["problems"]` lists what was
    left out and why.
    """
    import pandas as pd

    records: list[dict[str, Any]] = []
    problems: list[str] = []
    for run_dir in sorted(Path(runs_dir).glob("*/")):
        if not (run_dir / "run.json").exists() or (
            run_ids is not None and run_dir.name not in run_ids
        ):
            continue
        try:
            records += _run_records(run_dir, problems)
        except (OSError, ValueError) as error:
            problems.append(f"{run_dir.name}/run.json: {_why(error)}; the run is left out")
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    for column in ("value", "stderr", "real", "flops", "hours", "block", "t"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    frame.attrs["problems"] = problems
    return frame


def _why(error: Exception) -> str:
    return (
        f"is damaged ({error})"
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
        else str(error)
    )


def _run_records(run_dir: Path, problems: list[str]) -> list[dict[str, Any]]:
    """One record a row.

    Raises OSError or ValueError for a damaged run.json; what else is damaged is left out.
    """
    run = read_description(run_dir)
    state = read_part(run_dir, "status.json", STATUS, problems).get("state") or "unknown"
    cost = read_part(run_dir, "cost.json", COST, problems)
    common = {"run": run_dir.name, "images_total": run["images"], "state": state}
    common |= {column: run.get(column) for column in RUN_COLUMNS}
    common["parameters"] = (cost.get("parameters") or {}).get("backbone")
    records = []
    for path in sorted((run_dir / "results").glob("*.json")):
        try:
            content = read_measurement(path)
        except (OSError, ValueError) as error:
            problems.append(
                f"{run_dir.name}/results/{path.name}: {_why(error)}; its rows are left out"
            )
            continue
        of_file = {key: content.get(key) for key in ("images", "flops", "hours", "kind")}
        of_file["final"] = state == "complete" and content["images"] == run["images"]
        faults = []
        for row in content["rows"]:
            try:
                check(row, ROW)
                of_row = {column: row.get(column) for column in ROW_COLUMNS}
                of_row |= {"encoder": row["encoder"]} if row.get("encoder") else {}
                records.append(common | of_file | of_row)
            except ValueError as error:
                faults.append(str(error))
        if faults:
            where = f"{run_dir.name}/results/{path.name}"
            problems.append(
                f"{where}: {faults[0]}; {len(faults)} of {len(content['rows'])} rows are left out"
            )
    return records
