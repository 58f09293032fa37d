"""Result rows: what was measured, on which snapshot, under which protocol. Files are the truth.

A file `results/<kind>-<images>.json` holds the rows of one measurement of one snapshot and is
written atomically; bench.core.store.runs reads them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.core.store.files import Json, short_hash, write_json
from bench.core.store.schema import SCHEMA_VERSION

# What protocols of earlier versions say -> what the same quantity is called now: such rows are
# compared with new ones.
SAME_WORDS = {
    "float64 mean and covariance (ddof 1), scipy sqrtm, 1e-6 on the diagonals only if not finite": (
        "float64 mean and covariance (ddof 1), trace of the root by symmetric eigenvalues"
    )
}
# In the details of a row: the same number of held-out videos whose frames are shuffled, which a
# measure of motion must find worse than `real`.
CONTROL_OF_MOTION = "shuffled_frames"
# In the details of a row: {what: the same number of it}, which a policy must be better than.
YARDSTICKS = "yardsticks"


@dataclass(frozen=True)
class Row:
    """One number and everything needed to compare it.

    value: None when it could not be had (note says why); stderr: of this measurement, not across
    seeds; n: samples it rests on; real: the same metric of held-out real data; block, t: where
    features were read; related: why the metric is not independent of the arm ("" when it is);
    protocol: a complete record; encoder: whose own strength this is, "" for a number of the arm;
    part: of which of the data that the arm was trained on, "" where these are of one kind.
    """

    metric: str
    value: float | None
    n: int
    higher_is_better: bool
    protocol: Json
    stderr: float | None = None
    real: float | None = None
    block: int | None = None
    t: float | None = None
    related: str = ""
    note: str = ""
    metric_version: int = 1
    encoder: str = ""
    part: str = ""
    details: Json = field(default_factory=dict)
    request: dict[str, str | int | float] = field(default_factory=dict)

    def to_json(self) -> Json:
        """The row as stored: non-finite values become None with a note,
        and the protocol gets its short hash.
        """
        row, changed = asdict(self), list[str]()
        for key in ("value", "stderr", "real", "details"):
            row[key] = _finite(row[key], key, changed)
        row["note"] = "; ".join(part for part in (self.note, *changed) if part)
        if not self.part:
            del row["part"]
        return row | {"protocol_id": protocol_id(self.protocol)}


def _finite(value: object, name: str, changed: list[str]) -> object:
    """The value with None for numbers that JSON cannot hold; each is named in `changed`."""
    if isinstance(value, Mapping):
        return {key: _finite(inner, f"{name}.{key}", changed) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner, f"{name}[{i}]", changed) for i, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        changed.append(f"{name} was {value}")
        return None
    return value


def protocol_id(protocol: Mapping[str, object]) -> str:
    """What two rows share when their protocols are the same."""
    return short_hash(protocol)


def in_todays_words(row: Json) -> Json:
    """A stored row with `SAME_WORDS` in its protocol, and the id that it has then."""
    protocol = row.get("protocol")
    if not isinstance(protocol, dict):
        return row
    renamed = {
        key: SAME_WORDS.get(value, value) if isinstance(value, str) else value
        for key, value in protocol.items()
    }
    if renamed == protocol:
        return row
    return row | {"protocol": renamed, "protocol_id": protocol_id(renamed)}


def kind_of_part(kind: str, part: str) -> str:
    """The kind of a measurement of a part of the data, in the names of its files."""
    return f"{kind}-{part}" if kind and part else kind


def result_path(run_dir: Path, kind: str, images: int) -> Path:
    """Where the rows of one kind of measurement of the snapshot at `images` lie."""
    return run_dir / "results" / f"{kind}-{images:012d}.json"


def write_rows(run_dir: Path, kind: str, images: int, rows: Iterable[Row], context: Json) -> Path:
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
