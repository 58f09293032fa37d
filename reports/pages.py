"""Pages: pure functions of a study to plain data, from which HTML, PDF and the exports are made.

    page = build_page(read_study(Path("runs")), "scaling")

A page answers one question: verdicts first, the one figure that answers it beside them, then the other figures, tables,
what is missing and how to fill it, and what the runs were. The same folders give the same page, whatever the time or place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from reports import tables
from reports.figures import cost, distance, pictures, probes, training
from reports.missing import missing
from reports.runs import Study
from reports.theme import arm_styles

Figure = dict[str, Any] | None


@dataclass(frozen=True)
class Kind:
    """title and question head the page; lead is the figure of the first screen, figures follow it, tables come next."""

    title: str
    question: str
    lead: Callable[[Study], Figure]
    figures: tuple[Callable[[Study], Figure], ...] = ()
    results: bool = True
    probes: bool = False


def _size(study: Study) -> Figure:
    return distance.against_size(study.rows)


def _depth(study: Study) -> Figure:
    return probes.over_depth(study.rows)


def _maps(study: Study) -> Figure:
    return probes.maps(study.rows)


def _differences(study: Study) -> Figure:
    return probes.differences(study.rows)


def _images(study: Study) -> Figure:
    return distance.against(study.rows, "images")


def _flops(study: Study) -> Figure:
    return distance.against(study.rows, "flops")


def _hours(study: Study) -> Figure:
    return distance.against(study.rows, "hours")


def _sizes_flops(study: Study) -> Figure:
    return distance.over_sizes(study.rows, "flops")


def _sizes_hours(study: Study) -> Figure:
    return distance.over_sizes(study.rows, "hours")


def _encoders(study: Study) -> Figure:
    return distance.against_encoder(study.rows, {})


KINDS = {
    "scaling": Kind(
        "Scaling", "Which method gains most from a larger model, at equal images and at equal compute?",
        _size, (_sizes_flops, _sizes_hours, _images),
    ),
    "encoders": Kind(
        "Encoders", "Does a stronger external encoder give better generation?", _encoders, (pictures.sample_grids,)
    ),
    "probes": Kind(
        "Probes", "What do the features of each arm know, in which block and at which noise level?",
        _depth, (_maps, _differences, pictures.feature_pictures), results=False, probes=True,
    ),
    "ablation": Kind("Ablation", "Which part of a method does the work?", _images, (_maps,)),
    "convergence": Kind(
        "Convergence", "Who gets where, after how many images, FLOPs and hours?",
        _images, (_flops, _hours, training.curves, pictures.sample_grids),
    ),
    "cost": Kind("Cost", "What does each arm cost, and what does it buy?", cost.flops_by_part, (_sizes_flops, _hours)),
}  # fmt: skip


def build_page(study: Study, kind: str) -> dict[str, Any]:
    """The page as plain data. kind: a key of `KINDS`, or "all" for every one of them on a single page."""
    chosen = [KINDS[kind]] if kind != "all" else list(KINDS.values())
    seen: dict[str, dict[str, Any]] = {}
    sections = []
    lead = None
    for part in chosen:
        figures = []
        for build in (part.lead, *part.figures):
            drawn = build(study)
            if drawn is None or drawn["id"] in seen:
                continue
            seen[drawn["id"]] = drawn
            if lead is None:
                lead = drawn
            else:
                figures.append(drawn)
        sections.append({"title": part.title, "question": part.question, "figures": figures, "tables": []})
    data_tables = tables.results_tables(study.rows) if any(part.results for part in chosen) else []
    probe_table = tables.probe_table(study.rows) if any(part.probes for part in chosen) else None
    sections.append({
        "title": "Numbers", "question": "", "figures": [], "tables": [*data_tables, *([probe_table] if probe_table else [])],
    })  # fmt: skip
    appendix = [
        tables.arms_table(study), tables.runs_table(study), tables.environments_table(study), tables.configuration_table(study),
    ]  # fmt: skip
    title = KINDS[kind].title if kind != "all" else "All findings"
    question = KINDS[kind].question if kind != "all" else "What do the runs say, what do they cost, and what is missing?"
    return {
        "kind": kind,
        "title": title,
        "question": question,
        "study": study.name,
        "summary": _summary(study),
        "notices": _notices(study, lead),
        "arms": [asdict(style) for style in arm_styles(run.arm for run in study.runs.values()).values()],
        "verdicts": [],
        "verdicts_note": "",
        "lead": lead,
        "sections": [section for section in sections if section["figures"] or section["tables"]],
        "missing": missing(study),
        "problems": study.problems,
        "appendix": [table for table in appendix if table["rows"]],
    }


def _summary(study: Study) -> str:
    runs = list(study.runs.values())
    if not runs:
        return "No runs."
    complete = sum(run.state == "complete" for run in runs)
    count = {name: len({str(run.description.get(name)) for run in runs}) for name in ("arm", "size", "seed", "data")}
    words = [f"{number} {name}{'s' if number > 1 and name != 'data' else ''}" for name, number in count.items()]
    return f"{len(runs)} runs ({complete} finished): {', '.join(words[:3])}, {count['data']} data set{'s' * (count['data'] > 1)}."


def _notices(study: Study, lead: Figure) -> list[str]:
    """What a reader must know before any number."""
    runs = list(study.runs.values())
    notices = []
    if not runs:
        return ["There are no runs here. Train some, for example: python -m bench.run method=selfflow"]
    if not any(run.state == "complete" for run in runs):
        notices.append("No run is finished: what follows rests on snapshots of unfinished runs, and nothing is compared.")
    if not len(study.rows):
        notices.append("No run has results yet: measure them with python -m bench.evaluate RUN_FOLDER.")
    seeds = {run.description.get("seed") for run in runs}
    if len(seeds) == 1:
        notices.append("There is one seed only: no spread, no noise floor and so no verdict can be had.")
    if len({run.arm for run in runs}) == 1:
        notices.append(f"There is one arm only ({runs[0].arm}): there is nothing to compare it with.")
    failed = study.rows["value"].isna().sum() if len(study.rows) else 0
    if failed:
        notices.append(f"{failed} result rows have no value (NaN or not measured); they are left out of means and counted in the notes.")
    if lead is None and len(study.rows):
        notices.append("The figure of this page needs results that no finished run has; see what is missing below.")
    return notices
