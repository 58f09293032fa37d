"""What bench.speed found: rows, in a file and as a table.

write_timings(Path("speed.json"), facts, rows)      # after each row: a run cut off loses little
print(markdown(*read_timings(Path("speed.json"))))
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.store.files import Json, read_json, write_json

STEP_PARTS = ("data", "backbone", "teacher", "encoder", "heads", "optimiser", "EMA")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One thing that was timed.

    what: step (of training), sampling (an evaluation of a block), features (a pass with every
    block's output) or loading (of a batch; activation_bytes: by how much memory grew); levels:
    noise levels a sample, "token" for one a token; ratios: against vanilla, of counted FLOPs and of
    seconds; share: of the measured matrix peak; parts: a step's milliseconds by part.
    """

    what: str
    arm: str
    size: str
    levels: str
    batch: int
    device: str
    ms_per_step: float
    images_per_s: float
    flops_per_step: float
    share: float
    peak_bytes: int | None = None
    activation_bytes: int | None = None
    counted_ratio: float | None = None
    measured_ratio: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


def write_timings(path: Path, facts: Json, rows: Sequence[Timing]) -> None:
    """The rows so far, whole; facts: device, versions, date and matrix peak."""
    write_json(path, facts | {"rows": [dataclasses.asdict(row) for row in rows]})


def read_timings(path: Path) -> tuple[Json, list[Timing]]:
    """Facts and rows of a file. Raises ValueError for another file."""
    try:
        facts = read_json(path)
        return facts, [Timing(**row) for row in facts.pop("rows")]
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(
            f"table={path} is no file of timings ({error}): write one with out={path}"
        ) from error


def _optional(value: float | None, text: Callable[[float], str]) -> str:
    return "" if value is None else text(value)


_STEPS: dict[str, Callable[[Timing], str]] = {
    "size": lambda row: row.size,
    "arm": lambda row: row.arm,
    "levels": lambda row: row.levels,
    "batch": lambda row: str(row.batch),
    "ms a step": lambda row: f"{row.ms_per_step:.2f}",
    "images/s": lambda row: f"{row.images_per_s:.0f}",
    "x vanilla": lambda row: _optional(row.measured_ratio, "{:.3f}".format),
    "x FLOPs": lambda row: _optional(row.counted_ratio, "{:.3f}".format),
    "TFLOP/s": lambda row: f"{row.flops_per_step / row.ms_per_step / 1e9:.3g}",
    "of peak": lambda row: f"{row.share:.0%}",
    "MB": lambda row: _optional(row.peak_bytes, lambda n: f"{n / 1e6:.0f}"),
    "MB of the step": lambda row: _optional(row.activation_bytes, lambda n: f"{n / 1e6:.0f}"),
    **{
        part: lambda row, part=part: _optional(row.parts.get(part), "{:.2f}".format)
        for part in STEP_PARTS
    },
}
_PASSES: dict[str, Callable[[Timing], str]] = {
    "size": lambda row: row.size,
    "pass": lambda row: f"{row.what} {row.arm}".strip(),
    "batch": lambda row: str(row.batch),
    "ms an evaluation": lambda row: f"{row.ms_per_step:.2f}",
    "images/s": lambda row: f"{row.images_per_s:.3g}",
    "of peak": lambda row: f"{row.share:.0%}",
}


_LOADING: dict[str, Callable[[Timing], str]] = {
    "what is read": lambda row: row.arm,
    "by": lambda row: row.size,
    "batch": lambda row: str(row.batch),
    "latents/s": lambda row: f"{row.images_per_s:.0f}",
    "latents/s of a core": lambda row: f"{1e3 * row.batch / row.parts['processor']:.0f}",
    "MB": lambda row: _optional(row.peak_bytes, lambda n: f"{n / 1e6:.0f}"),
    "MB more than after a tenth": lambda row: _optional(
        row.activation_bytes, lambda n: f"{n / 1e6:.1f}"
    ),
}


def markdown(facts: Json, rows: Sequence[Timing]) -> str:
    """What was measured where, and a table each of steps, passes and loading."""
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    head = f"{facts['device_name']}, {facts['threads']} thread(s), {versions}, {facts['date']}"
    if "matrix_peak" in facts:
        compiled = "compiled" if facts["compiled"] else "not compiled"
        # files of before say nothing of graphs
        compiled += ", replayed as CUDA graphs" if facts.get("graphs") else ""
        head += (
            f": {facts['precision']}, {compiled}; a matrix product reaches "
            f"{facts['matrix_peak'] / 1e12:.3g} TFLOP/s. Parts are in milliseconds"
        )
    said, tables = [f"{head}."], {"step": _STEPS, "loading": _LOADING}
    for columns in (_STEPS, _PASSES, _LOADING):
        if chosen := [row for row in rows if tables.get(row.what, _PASSES) is columns]:
            said.append(_table(columns, chosen))
    return "\n\n".join(said)


def _table(columns: Mapping[str, Callable[[Timing], str]], rows: Sequence[Timing]) -> str:
    cells = [list(columns), *([text(row) for text in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| "
        + " | ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
