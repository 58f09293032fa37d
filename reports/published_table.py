"""Published numbers beside measured ones: only where task and protocol agree, and never in one mean with them."""

from __future__ import annotations

from typing import Any

from reports.published import TASKS, published
from reports.runs import Study
from reports.summary import summarise
from reports.tables import arm_cell, cell, columns


def published_tables(study: Study) -> list[dict[str, Any]]:
    """A table for each data set that numbers were published for; none for others (there are none for digits)."""
    return [_table(study, task) for task in TASKS if (study.rows["data"] == task).any()]


def _table(study: Study, task: str) -> dict[str, Any]:
    sizes = {str(run.description.get("size")) for run in study.runs.values() if run.description.get("data") == task}
    lines = []
    for row in published(task):
        size = row.model.removeprefix("SiT-").partition("/")[0]
        if size not in sizes:
            continue
        arm = f"{row.method}/{row.encoder}" if row.encoder else row.method
        lines.append([
            arm_cell(arm), cell(row.model), cell(row.steps), cell(row.images), cell(row.cfg), cell(row.fid),
            cell(row.sfid), cell(row.is_), cell(row.precision), cell(row.recall), cell(row.linear_probe),
            cell(_measured(study, task, arm, size, row.images, row.cfg)), cell(row.source), cell(row.confidence),
        ])  # fmt: skip
    note = (
        "Other people's runs of the same backbone. A measured FID stands beside one only for the same arm, size, "
        "images, sampler (sde250, 50,000 samples) and guidance. Certainty: paper (a table), figure, readme, rerun."
    )
    heads = columns(
        "arm", "model", "#steps", "#images", "guidance", "#FID", "#sFID", "#IS", "#precision", "#recall",
        "#linear probe (%)", "#FID measured here", "source", "certainty",
    )  # fmt: skip
    return {
        "id": f"published-{task}",
        "title": f"Published numbers: {task}",
        "note": note,
        "columns": heads,
        "rows": lines,
    }


def _measured(study: Study, task: str, arm: str, size: str, images: int, guidance: str) -> float | None:
    """Mean FID of our runs under the papers' protocol, or None where no run has it."""
    rows = study.rows
    chosen = rows[(rows["metric"] == "fid") & (rows["data"] == task) & (rows["arm"] == arm) & (rows["size"] == size)]
    chosen = chosen[(chosen["images"] == images) & chosen["protocol"].map(_is_papers).astype(bool)]
    if guidance != "none" or not len(chosen):
        return None
    return summarise(chosen, ["arm"])[0]["mean"]


def _is_papers(protocol: Any) -> bool:
    """sde250, 50,000 samples, no guidance."""
    if not isinstance(protocol, dict) or not isinstance(protocol.get("sampling"), dict):
        return False
    sampling = protocol["sampling"]
    return sampling.get("name") == "sde250" and protocol.get("n") == 50_000 and sampling.get("guidance", 1.0) == 1.0
