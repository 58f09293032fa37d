"""All result rows of runs as one table, a line each: what reports and tests count in.

problems = []
rows = row_table(read_runs(Path("runs")), problems)      # pandas, columns ROW_COLUMNS
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.core.store.files import Json
from bench.core.store.runs import OF_ROW, RunRecord, data_of_part

if TYPE_CHECKING:
    import pandas as pd

_OF_RUN = ("arm", "method", "encoder", "size", "depth", "width", "data", "seed", "batch")
ROW_COLUMNS = (
    *("run", *_OF_RUN, "streams", "schedule", "parameters", "images", "images_total", "final"),
    *("flops", "hours", "state", "kind", *OF_ROW),
)


def row_table(runs: Iterable[RunRecord], problems: list[str]) -> pd.DataFrame:
    """All rows of the runs: one line a row, columns `ROW_COLUMNS`; what is damaged is added to
    `problems` and left out.

    `final` marks rows of the newest snapshot of a complete run; `encoder` is the row's own, where
    it says one, and the run's otherwise; `data` of a row of a part is `data_of_part`.
    """
    import pandas as pd

    lines: list[Json] = []
    for run in runs:
        of_run = {"run": run.id, "images_total": run.images, "state": run.state}
        of_run |= {column: getattr(run, column) for column in (*_OF_RUN, "streams", "schedule")}
        of_run["parameters"] = (run.cost.get("parameters") or {}).get("backbone")
        for row in run.results.rows:
            said = {"encoder": row["encoder"] or run.encoder}
            said["data"] = data_of_part(run.data, row["part"] or "")
            lines.append(of_run | row | said)
        problems += run.results.problems
    frame = pd.DataFrame(lines, columns=list(ROW_COLUMNS))
    for column in ("value", "stderr", "real", "flops", "hours", "block", "t"):
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    return frame
