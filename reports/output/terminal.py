"""The arms of a study as a table for the terminal: mean, spread, scatter of a run, cost, agreement
of labels.

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
    import pandas as pd

    from reports.study.runs import StudyResults

MOST_GROUPS = 4


def terminal_table(study: StudyResults) -> str:
    """One block a data set, size and metric; the newest snapshot of finished runs.

    "" when no run has finished.
    """
    rows = study.rows[study.rows["final"].astype(bool)]
    if rows.empty:
        return ""
    shown = distances(rows)[:MOST_GROUPS]
    shown += [group for group in groups(rows) if group.facts.family == "quality"][:1]
    return "\n".join(_block(rows, group) for group in shown)


def _block(rows: pd.DataFrame, group: Group) -> str:
    lines = []
    for size, part in by_size(of_group(rows, group)):
        deviation, freedom = pooled_deviation(part)
        scatter = (
            f"a run scatters by {floor_text(deviation)} ({freedom} df)"
            if deviation is not None
            else "one seed tells no scatter"
        )
        lines.append(
            f"\n{group.metric}, {group.data}, size {size}, {group.images_total} images; "
            f"{group.facts.direction}; {scatter}"
        )
        lines.append(f"  {'arm':28} {'mean':>9} {'sd':>9} {'n':>3} {'real':>9} {'FLOPs':>9}")
        for line in summarise(part, ["arm"]):
            mean, sd, real, flops = map(_number, (line.mean, line.sd, line.real, line.flops))
            related = "  related" if line.related else ""
            lines.append(f"  {line.arm:28} {mean} {sd} {line.n:3} {real} {flops}{related}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return f"{'' if value is None else format(value, '.3g'):>9}"
