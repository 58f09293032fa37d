"""Pages: pure functions of a study to plain data, from which HTML, PDF and the exports are made.

    page = build_page(read_study(Path("runs")), "scaling")

A page answers one question: verdicts first, the one figure that answers it beside them, then the
other figures, tables, what is missing and how to fill it, and what the runs were. The same folders
give the same page, any time and anywhere.

A verdict on a page is {"word": "supported" | "contradicted" | "inconclusive", "holm": the word
after Holm's adjustment for the number of claims of the page, "outside": whether the runs are
outside the claim's range, "sentence": the claim, "reason": its numbers and why this word, in a
sentence, "short": that and Holm's word, "facts": [[name, value], ...]}; what could not be tested is
in "untested" as {"sentence", "reason"}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from reports.draw.content import Figure
from reports.draw.theme import arm_styles
from reports.findings.verdict_entries import verdict_entries
from reports.laws.arms import fitted_laws, law_tables
from reports.page import run_tables, tables
from reports.page.commands import training_command
from reports.page.figures import ablation, cost, distance, pictures, probes, training
from reports.page.figures.laws import law_figure
from reports.page.missing import missing
from reports.page.published_table import published_tables
from reports.study.runs import Study, flat_items

Builder = Callable[[Study], list[Figure]]
MOST_NAMED = 12  # rows without a value
MOST_LEADING = 3  # panels of the first screen; a figure's others follow folded


@dataclass(frozen=True)
class Kind:
    """title and question head the page; figures in reading order,
    the first one answers the question.

    borrowed: figures of another page, which the page of all of them shows there.
    """

    title: str
    question: str
    figures: tuple[Builder, ...]
    borrowed: tuple[Builder, ...] = ()
    distances: bool = True  # whether the tables of distances belong to it
    probes: bool = False  # whether the table of probes does
    laws: bool = False  # whether the scaling laws do


KINDS = {
    "scaling": Kind(
        "Scaling",
        "Which method gains most from a larger model, at equal images and at equal compute?",
        (
            lambda study: distance.against_size(study.rows),
            lambda study: ablation.over_sizes(study.rows),
            lambda study: distance.over_sizes(study.rows, "flops"),
            lambda study: distance.over_sizes(study.rows, "hours"),
        ),
        borrowed=(lambda study: distance.against(study.rows, "images"),),
        laws=True,
    ),
    "encoders": Kind(
        "Encoders",
        "Does a stronger external encoder give better generation?",
        (lambda study: distance.against_encoder(study.rows),),
        borrowed=(pictures.sample_grids,),
    ),
    "probes": Kind(
        "Probes",
        "What do the features of each arm know, in which block and at which noise level?",
        (
            lambda study: probes.over_depth(study.rows),
            lambda study: probes.maps(study.rows),
            lambda study: probes.differences(study.rows),
            pictures.feature_pictures,
        ),
        distances=False,
        probes=True,
    ),
    "ablation": Kind(
        "Ablation",
        "Which part of a method does the work?",
        (lambda study: ablation.effects(study.rows),),
        borrowed=(training.curves,),
    ),
    "convergence": Kind(
        "Convergence",
        "Who gets where, after how many images, FLOPs and hours?",
        (
            lambda study: distance.against(study.rows, "images"),
            lambda study: distance.against(study.rows, "flops"),
            lambda study: distance.against(study.rows, "hours"),
            training.curves,
            pictures.sample_grids,
        ),
    ),
    "cost": Kind(
        "Cost",
        "What does each arm cost, and what does it buy?",
        (cost.flops_by_part,),
        borrowed=(lambda study: distance.over_sizes(study.rows, "flops"),),
    ),
}


# The page of everything opens with what its runs were made to vary: sizes, or encoders, or else the
# arms.
LEADS_OF_ALL = ("size", "encoder_linear_probe", "effects", "images")


def build_page(study: Study, kind: str) -> dict[str, Any]:
    """The page as plain data. kind: a key of `KINDS`,
    or "all" for every one of them on a single page.
    """
    chosen = list(KINDS.values()) if kind == "all" else [KINDS[kind]]
    laws = fitted_laws(study.rows) if any(part.laws for part in chosen) else []
    sections = []
    for part in chosen:
        builders = part.figures if kind == "all" else (*part.figures, *part.borrowed)
        figures = [drawn for build in builders for drawn in build(study)]
        figures[1:1] = law_figure(laws) if part.laws else []
        title, question = (part.title, part.question) if kind == "all" else ("More figures", "")
        sections.append({"title": title, "question": question, "figures": figures, "tables": []})
    lead = _take_lead(sections, LEADS_OF_ALL if kind == "all" else ())
    numbers = tables.results_tables(study.rows) if any(part.distances for part in chosen) else []
    numbers += tables.probe_table(study.rows) if any(part.probes for part in chosen) else []
    numbers += tables.encoder_table(study)
    numbers += law_tables(laws)
    numbers += published_tables(study) if any(part.distances for part in chosen) else []
    numbers = [
        tables.without_empty_columns(table) for table in numbers if table["rows"] or table["note"]
    ]
    sections.append(
        {
            "title": "Numbers",
            "question": "",
            "figures": [],
            "tables": numbers,
        }
    )
    appendix = [tables.without_empty_columns(build(study)) for build in run_tables.APPENDIX]
    return {
        "kind": kind,
        "title": KINDS[kind].title if kind != "all" else "All findings",
        "question": KINDS[kind].question
        if kind != "all"
        else "What do the runs say, what do they cost, and what is missing?",
        "study": study.name,
        "summary": _summary(study),
        "notices": _notices(study, kind, lead),
        "arms": [
            asdict(style) for style in arm_styles(run.arm for run in study.runs.values()).values()
        ],
        **verdict_entries(study, kind),
        "lead": lead,
        "sections": [section for section in sections if section["figures"] or section["tables"]],
        "missing": missing(study),
        "problems": [*dict.fromkeys(study.problems), *_without_value(study)],
        "appendix": [table for table in appendix if table["rows"]],
    }


def _without_value(study: Study) -> list[str]:
    """The first rows without a value, by run, metric and place, and how many more there are."""
    rows = study.rows[study.rows["value"].isna()]
    lines = []
    for row in rows.head(MOST_NAMED).to_dict("records"):
        place = (
            f", block {row['block']:g}, t = {row['t']:g}" if row["block"] == row["block"] else ""
        )
        lines.append(
            f"{row['run']}: {row['metric']} at {row['images']:,.0f} images{place} "
            "has no finite value"
        )
    more = len(rows) - len(lines)
    return [*lines, f"and {more:,} more rows without a value"] if more else lines


def _take_lead(sections: list[dict[str, Any]], preferred: tuple[str, ...]) -> Figure | None:
    """Move the figure of the first screen out of its section:
    the first preferred one that there is, else the first.

    Panels beyond `MOST_LEADING` stay behind as a folded figure.
    """
    found = [(section, drawn) for section in sections for drawn in section["figures"]]
    for section, drawn in [
        *(pair for name in preferred for pair in found if pair[1]["id"] == name),
        *found,
    ]:
        place = section["figures"].index(drawn)
        first, others = drawn["panels"][:MOST_LEADING], drawn["panels"][MOST_LEADING:]
        rest = {
            "id": f"{drawn['id']}-more",
            "title": f"{drawn['title']}, other panels",
            "panels": others,
        }
        section["figures"][place : place + 1] = [drawn | rest | {"folded": True}] if others else []
        return drawn | {"panels": first}
    return None


def _summary(study: Study) -> str:
    runs = list(study.runs.values())
    complete = sum(run.state == "complete" for run in runs)
    names = {"arm": "arms", "size": "sizes", "seed": "seeds", "data": "data sets"}
    count = {name: len({str(run.description.get(name)) for run in runs}) for name in names}
    words = [
        f"{number} {names[name] if number != 1 else names[name][:-1]}"
        for name, number in count.items()
    ]
    return f"{len(runs):,} run{'s' * (len(runs) != 1)} ({complete:,} finished): {', '.join(words)}."


def _notices(study: Study, kind: str, lead: Figure | None) -> list[str]:
    """What a reader must know before any number."""
    runs = list(study.runs.values())
    if not runs:
        return [
            "There are no runs here. Train one, for example: python -m bench.run method=selfflow"
        ]
    notices = []
    if not any(run.state == "complete" for run in runs):
        notices.append(
            "No run is finished: "
            "curves rest on snapshots of unfinished runs, and nothing is compared."
        )
    if not len(study.rows):
        notices.append(
            f"No run has results yet: measure one with {training_command(runs[0], measure='full')}"
        )
    if len({run.description.get("seed") for run in runs}) == 1:
        notices.append(
            "There is one seed only: no spread and no noise floor can be had, and so no verdict."
        )
    if kind == "scaling" and len({run.description.get("size") for run in runs}) == 1:
        notices.append(
            f"There is one size only ({runs[0].description.get('size')}): "
            "scaling needs at least two."
        )
    if (
        kind == "encoders"
        and len({run.description.get("encoder") for run in runs} - {None, "", "none"}) < 2
    ):
        notices.append("Fewer than two encoders were used: their strength cannot be compared.")
    recipes = [set(flat_items(run.recipe)) for run in runs]
    differing = {
        item.partition("=")[0] for item in set.union(*recipes) - set.intersection(*recipes)
    }
    if differing:
        notices.append(
            f"Runs differ in {', '.join(sorted(differing))} too, not only in arm, size and seed: "
            "see the table of runs."
        )
    if len({run.arm for run in runs}) == 1:
        notices.append(
            f"There is one arm only ({runs[0].arm}): there is nothing to compare it with."
        )
    failed = int(study.rows["value"].isna().sum())
    if failed:
        notices.append(
            f"{failed} result rows have no value (NaN, infinite or not measurable): "
            "they are left out of all means; "
            "the first are named at the end."
        )
    if lead is None and len(study.rows):
        notices.append(
            "The figures of this page need results that no finished run has; "
            "see below what is missing."
        )
    return notices
