"""Published numbers beside measured ones: only where task and protocol agree, and never in one mean
with them.
"""

from __future__ import annotations

from bench.core.model.sampling_protocol import PROTOCOLS
from bench.core.store.runs import RunRecord
from reports.draw.table import Table, arm_cell, cell, columns
from reports.study.groups import summarise
from reports.study.published import (
    MODALITIES,
    TASKS,
    Published,
    PublishedMetric,
    published,
    published_metrics,
)
from reports.study.runs import StudyResults, mapping

SAMPLES = 50_000  # of every published FID
MIXED = "mixed"  # one backbone for several kinds of data, as published_metrics.csv calls it
# What the extra term of an arm of this project is, in the words of published.csv; another arm has
# none there.
OBJECTIVES = {
    "repa": "cosine",
    "haste": "cosine+attention",
    "sra": "smooth_l1",
    "dispersive": "infonce_l2",
    "selfflow": "cosine",
    "selfflow(masking=False)": "cosine",
    "selfflow(near=0.2)": "cosine",
    "selfflow(similarity=l1)": "l1",
}


def published_tables(study: StudyResults) -> list[Table]:
    """A table for each data set that numbers were published for; none for others (there are none
    for digits).
    """
    return [_table(study, task) for task in TASKS if (study.rows["data"] == task).any()]


def _table(study: StudyResults, task: str) -> Table:
    sizes = {run.size for run in study.runs.values() if run.data == task}
    lines = []
    for row in published(task):
        if _size(row) not in sizes:
            continue
        measured = zip(_measured(study, row), (4, 2, 4), strict=True)
        lines.append([
            arm_cell(row.arm), cell(row.model), cell(row.alignment_block), cell(row.objective),
            cell(row.steps), cell(row.images), cell(row.cfg), cell(row.sampler),
            cell(row.fid), cell(row.sfid), cell(row.is_), cell(row.precision), cell(row.recall),
            cell(row.linear_probe), *(cell(value, digits) for value, digits in measured),
            cell(row.source), cell(row.confidence),
        ])  # fmt: skip
    note = (
        "Other people's runs of the same backbone. A measured FID stands beside one only "
        "for the same arm, size, "
        f"block, objective, images, recipe, sampler ({SAMPLES:,} samples) and guidance, "
        "never beside an unknown one. "
        "SD and n are over its seeds. Certainty: paper (a table), figure, readme, rerun."
    )
    heads = columns(
        *("arm", "model", "#block", "objective", "#steps", "#images", "guidance", "sampler"),
        *("#FID", "#sFID", "#IS", "#precision", "#recall", "#linear probe (%)"),
        *("#FID measured here", "#SD", "#n", "source", "certainty"),
    )
    return Table(f"published-{task}", f"Published numbers: {task}", note, heads, lines)


def reported_tables(study: StudyResults) -> list[Table]:
    """What the paper reports for the kinds of data on a page, as changes from its own vanilla; of
    one backbone for several kinds, at each weighting from that of the same one.
    """
    tasks = {
        MIXED if len(run.parts) > 1 else kind
        for run in study.runs.values()
        for kind in run.modalities.values()
    }
    return [_reported(kind) for kind in sorted(tasks & {*MODALITIES, MIXED})]


def _reported(kind: str) -> Table:
    rows = published_metrics(MODALITIES.get(kind, kind))

    def place(row: PublishedMetric) -> tuple[str, str]:
        return row.metric, row.note if kind == MIXED else ""

    vanilla = {place(row): row.value for row in rows if row.method == "vanilla"}
    lines = [
        [
            arm_cell(row.arm), cell(row.metric), cell(row.value), cell(row.steps),
            cell(100 * (row.value / vanilla[place(row)] - 1), 2), cell(row.note), cell(row.source),
        ]
        for row in rows
    ]  # fmt: skip
    note = (
        "For reading beside the verdicts, and in none of them: other data, models of 625M "
        "parameters, one run an arm and no interval. The batch is not published."
    )
    heads = columns("arm", "metric", "#value", "#steps", "#% from vanilla", "remark", "source")
    return Table(f"reported-{kind}", f"Reported in the paper: {kind}", note, heads, lines)


def _size(row: Published) -> str:
    return row.model.removeprefix("SiT-").partition("/")[0]


def _measured(study: StudyResults, row: Published) -> tuple[float | None, float | None, int | None]:
    """FID of our runs that are what a published row is, under its protocol: mean, deviation and
    number of seeds.
    """
    nothing = (None, None, None)
    if row.cfg != "none" or row.objective != OBJECTIVES.get(row.arm.partition("/")[0], ""):
        return nothing
    alike = [run.id for run in study.runs.values() if _is_published_set_up(run, row)]
    rows = study.rows
    chosen = rows[(rows["metric"] == "fid") & (rows["data"] == row.task) & (rows["arm"] == row.arm)]
    chosen = chosen[
        (chosen["size"] == _size(row))
        & (chosen["images"] == row.images)
        & chosen["run"].isin(alike)
    ]
    chosen = chosen[
        chosen["protocol"].map(lambda protocol: _sampler(protocol) == row.sampler).astype(bool)
    ]
    if not len(chosen):
        return nothing
    [found] = summarise(chosen, ["arm"])
    return found.mean, found.sd, found.n


def _is_published_set_up(run: RunRecord, row: Published) -> bool:
    """Whether a run aligns the same block (none, where none is) and trains by the data's own
    recipe, the papers'.
    """
    block = (run.blocks or {}).get("student")
    return block == row.alignment_block and set(run.recipe) <= {"precision", "deterministic"}


def _sampler(protocol: object) -> str:
    """The named protocol that samples were made by, with no setting changed but precisions;
    "" for none.
    """
    sampling = mapping(mapping(protocol).get("sampling"))
    named = PROTOCOLS.get(str(sampling.get("name")))
    if named is None or mapping(protocol).get("n") != SAMPLES:
        return ""
    free = ("state", "noise_precision", "model_precision", "decoder_precision")
    settings = {key: value for key, value in named.to_json().items() if key not in free}
    return (
        named.name
        if all(sampling.get(key, value) == value for key, value in settings.items())
        else ""
    )
