"""The arms of a study as a table for the terminal: mean, spread, noise floor, cost,
label agreement.

python -m bench.report all --study demo
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.study.groups import (
    Group,
    by_size,
    distances,
    floor_text,
    groups,
    of_group,
    pooled_deviation,
    summarise,
)

if TYPE_CHECKING:
    from reports.study.runs import Study

MOST_GROUPS = 4


def terminal_table(study: Study) -> str:
    """One block a data set, size and metric; the newest snapshot of finished runs.

    "" when no run has finished.
    """
    rows = study.rows[study.rows["final"].astype(bool)]
    if rows.empty:
        return ""
    shown = distances(rows)[:MOST_GROUPS]
    shown += [group for group in groups(rows) if group.metric == "label_agreement"][:1]
    return "\n".join(_block(rows, group) for group in shown)


def _block(rows: object, group: Group) -> str:
    lines = []
    for size, part in by_size(of_group(rows, group)):  # type: ignore[arg-type]
        deviation, freedom = pooled_deviation(part)
        floor = (
            f"noise floor {floor_text(deviation)} ({freedom} df)"
            if deviation is not None
            else "no noise floor from one seed"
        )
        lines.append(
            f"\n{group.metric}, {group.data}, size {size}, {group.images_total} images; "
            f"{group.direction}; {floor}"
        )
        lines.append(f"  {'arm':28} {'mean':>9} {'sd':>9} {'n':>3} {'real':>9} {'FLOPs':>9}")
        for line in summarise(part, ["arm"]):
            numbers = " ".join(_number(line[key], 9) for key in ("mean", "sd"))
            related = "  related" if line["related"] else ""
            lines.append(
                f"  {line['arm']:28} {numbers} {line['n']:3} {_number(line['real'], 9)} "
                f"{_number(line['flops'], 9)}{related}"
            )
    return "\n".join(lines)


def _number(value: float | None, width: int) -> str:
    return f"{'' if value is None else format(value, '.3g'):>{width}}"
