"""What an arm costs: FLOPs of a training image by part."""

from __future__ import annotations

from reports.draw.panels import Axis, Bar, BarPanel, Figure, chosen_figures
from reports.study.groups import sorted_arms
from reports.study.runs import StudyResults

PARTS = ("backbone", "heads", "teacher", "encoder")


def flops_by_part(study: StudyResults) -> list[Figure]:
    """One bar an arm, one panel a data set and size; the largest is shown first."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for run in study.runs.values():
        flops = run.cost.get("flops_per_image")
        if isinstance(flops, dict) and all(
            isinstance(flops.get(part, 0.0), int | float) for part in PARTS
        ):
            place = (run.data, run.size)
            found.setdefault(place, {}).setdefault(
                run.arm, [float(flops.get(part) or 0.0) for part in PARTS]
            )
    panels = [
        (
            (data, size),
            {},
            BarPanel(
                title=f"{data} · {size}",
                x=Axis("FLOPs a training image (forward and backward)"),
                parts=PARTS,
                bars=[Bar(arm, arms[arm]) for arm in sorted_arms(arms)],
            ),
        )
        for (data, size), arms in found.items()
    ]
    caption = (
        "Counted, not timed. How an encoder from elsewhere was trained is not counted; the "
        "training of one that was trained here is in the table of arms."
    )
    order = list(study.first_seeds())
    return chosen_figures("cost", "What a training image costs", caption, panels, order)
