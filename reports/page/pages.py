"""Pages: pure functions of a study to typed content, from which HTML, PDF and the exports are made.

    page = build_page(read_study(Path("runs")), "scaling")

A page answers first: a sentence for each question, one figure and one table. Then come figures and
verdicts, and in the appendix all numbers, what is missing and how to fill it, and what the runs
were. The same folders give the same page, any time and anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from reports.draw.page_parts import Missing, Page, Section
from reports.draw.panels import Figure
from reports.draw.table import Table
from reports.draw.theme import arm_styles
from reports.findings.sentences import joined
from reports.laws.arms import fitted_laws
from reports.laws.joint import joint_laws
from reports.laws.joint_tables import joint_tables
from reports.laws.tables import law_tables
from reports.page import EVERYTHING, over_data, run_tables, tables
from reports.page.answers import answers
from reports.page.figures import ablation, cost, distance, pictures, probes, training
from reports.page.figures.distance import metric_of
from reports.page.figures.laws import frontier_figure, law_figure
from reports.page.figures.over_training import results_over_training
from reports.page.first_answer import leading
from reports.page.first_table import headline
from reports.page.missing import missing_parts, unanswered_part
from reports.page.notices import notices, without_value
from reports.page.published_table import published_tables, reported_tables
from reports.page.terms import terms_in
from reports.page.verdicts import judge
from reports.study.groups import Group, sorted_arms
from reports.study.runs import StudyResults

Builder = Callable[[StudyResults], list[Figure]]
MOST_DATA = 3  # data sets by name in a title


@dataclass(frozen=True)
class Question:
    """What a page is about: title and question head it; figures in reading order.

    borrowed: figures of another page, which the page of all of them shows there; needs: what its
    own figures take; made_by: the study that has that, "" where a measurement of any run makes it.
    """

    title: str
    question: str
    figures: tuple[Builder, ...]
    needs: str = "finished and measured runs"
    made_by: str = ""
    borrowed: tuple[Builder, ...] = ()
    distances: bool = True  # whether the tables of distances belong to it
    probes: bool = False  # whether the table of probes does
    laws: bool = False  # whether the scaling laws do


QUESTIONS = {
    "scaling": Question(
        "Scaling",
        "Which method gains most from a larger model, at equal images and at equal compute?",
        (
            ablation.effects_over_sizes,
            distance.against_size,
            distance.spent_over_sizes,
        ),
        needs="an arm at two sizes",
        made_by="scaling",
        borrowed=(results_over_training,),
        laws=True,
    ),
    "encoders": Question(
        "Encoders",
        "Does a stronger external encoder give better generation?",
        (distance.against_encoder,),
        needs="two encoders whose own strength was measured",
        made_by="encoder_bottleneck",
        borrowed=(pictures.sample_grids,),
    ),
    "ablation": Question(
        "Ablation",
        "Which part of a method does the work?",
        (ablation.parts_of_selfflow,),
        needs="Self-Flow and one of its variants",
        made_by="ablation",
        borrowed=(training.curves,),
    ),
    "convergence": Question(
        "Convergence",
        "Who gets where, after how many images, FLOPs and hours?",
        (results_over_training, training.curves),
        borrowed=(pictures.sample_grids,),
    ),
    "samples": Question(
        "Samples",
        "What do samples look like, beside real ones of the same classes?",
        (pictures.sample_grids,),
        needs="sample pictures",
        distances=False,
    ),
    "probes": Question(
        "Probes",
        "What do the features of each arm know, in which block and at which noise level?",
        (
            lambda study: probes.over_depth(study.rows),
            lambda study: probes.maps(study.rows),
            lambda study: probes.differences(study.rows),
            pictures.feature_colours,
        ),
        needs="probes of features",
        distances=False,
        probes=True,
    ),
    "cost": Question(
        "Cost",
        "What does each arm cost, and what does it buy?",
        (cost.flops_by_part,),
        borrowed=(distance.spent_over_sizes,),
    ),
}


OF_EVERYTHING = Question(
    "All findings", "What do the runs say, what do they cost, and what is missing?", ()
)


def build_page(study: StudyResults, kind: str) -> Page:
    """The page. kind: a key of `QUESTIONS`, or "all" for every one of them on a single page."""
    everything = kind == EVERYTHING
    chosen = QUESTIONS if everything else {kind: QUESTIONS[kind]}
    laws = any(part.laws for part in chosen.values())
    fitted = fitted_laws(study.rows) if laws else []
    joint = joint_laws(study.rows, study.runs) if laws else []
    # the first screen
    compared = any(part.distances for part in chosen.values())
    lead = next(iter(_answer(study)), None) if compared else None
    first = _leading_group(study) if compared else None
    own = _metric_of_answer(study, first)
    lead = _led(lead, own) if lead else None
    judged = judge(study, kind)
    # figures, section by section
    sections: list[Section] = []
    unanswered: list[Missing] = []
    for name, part in chosen.items():
        found = [figure for build in part.figures for figure in build(study)]
        if not (found or everything):
            unanswered.append(unanswered_part(study, part.needs, part.made_by))
        if not everything:
            found += [figure for build in part.borrowed for figure in build(study)]
        if part.laws:
            found[1:1] = [*law_figure(fitted, study.distances), *frontier_figure(joint)]
        found = [_led(figure, own) for figure in found]
        sections.append(Section(name, part.title, part.question, found, []))
    # around them
    head = OF_EVERYTHING if everything else QUESTIONS[kind]
    of_laws = [*law_tables(fitted), *joint_tables(joint)]
    appendix = [build(study).without_empty_columns() for build in run_tables.APPENDIX]
    page = Page(
        kind=kind,
        title=_title(study, kind),
        question=head.question,
        study=study.name,
        summary=_summary(study),
        notices=notices(study, kind, lead, sections),
        warnings=judged.warnings,
        arms=arm_styles(sorted_arms(run.arm for run in study.runs.values())),
        answers=answers(study, judged.verdicts, judged.claims) if compared else [],
        lead=lead,
        headline=_headline(study, first) if compared else None,
        sections=[section for section in sections if section.figures],
        verdicts=judged.entries,
        untested=judged.untested,
        verdicts_note=judged.note,
        numbers=_numbers(study, list(chosen.values()), of_laws),
        missing=[*unanswered, *missing_parts(study)],
        problems=[*dict.fromkeys(study.problems), *without_value(study)],
        appendix=[table for table in appendix if table.rows],
        terms={},
    )
    return replace(page, terms=terms_in(_text_of(page)))


def _answer(study: StudyResults) -> list[Figure]:
    """The figure of the first screen."""
    if over_data.of_several(study):
        return over_data.changes_over_data(study, ablation.plain_reference(set(study.final["arm"])))
    return ablation.answer(study)


def _headline(study: StudyResults, first: Group | None) -> Table | None:
    """The table of the first screen."""
    reference = ablation.plain_reference(set(study.final["arm"]))
    found = over_data.results_over_data(study, reference) if over_data.of_several(study) else None
    return found or headline(study, first)


def _leading_group(study: StudyResults) -> Group | None:
    """What the first sentence of the page is of."""
    final = study.final
    if not len(final):
        return None
    found = leading(study, final["data"].min(), ablation.plain_reference(set(final["arm"])))
    return found[0].group if found else None


def _metric_of_answer(study: StudyResults, first: Group | None) -> str:
    """What the first sentence is by, as selectors name it; "" where there is none."""
    return metric_of(first, ablation.compared_by(study))["metric"] if first else ""


def _led(figure: Figure, metric: str) -> Figure:
    """One order of panels in all figures: at each place those of the first answer's metric first,
    the others as they are.
    """
    others = [tuple(kv for kv in one.items() if kv[0] != "metric") for one in figure.shown]
    places = {place: index for index, place in enumerate(dict.fromkeys(others))}
    order = sorted(
        range(len(figure.shown)),
        key=lambda i: (places[others[i]], figure.shown[i].get("metric") != metric),
    )
    if not order:
        return figure
    panels, shown = ([of[i] for i in order] for of in (figure.panels, figure.shown))
    return replace(figure, panels=panels, shown=shown)


def _title(study: StudyResults, kind: str) -> str:
    """The study, or what kinds of runs there are, and the data: "family on digits"."""
    data = sorted({run.data for run in study.runs.values()})
    on = f" on {joined(data)}" if data and len(data) <= MOST_DATA else ""
    name = study.name.replace("_", " ")
    name = f"{name[:1].upper()}{name[1:]}" if name else "All runs"
    return f"{name}{on}" if kind == EVERYTHING else f"{QUESTIONS[kind].title}: {name}{on}"


def _text_of(page: Page) -> str:
    """The prose in which terms are looked for."""
    words = [one.sentence for one in page.answers]
    words += [f"{figure.title} {figure.caption}" for figure in page.figures]
    words += [column.label for table in page.tables for column in table.columns]
    words += [panel.title for figure in page.figures for panel in figure.panels]
    words += [verdict.reason for verdict in page.verdicts] + [style.name for style in page.arms]
    return "\n".join(words)


def _numbers(study: StudyResults, chosen: list[Question], laws: list[Table]) -> list[Table]:
    """The tables of the page's numbers, without those that say nothing."""
    of_distances = any(part.distances for part in chosen)
    of_results = [*tables.results_tables(study), *tables.share_tables(study)]
    found = of_results if of_distances else []
    found += tables.probe_tables(study.rows) if any(part.probes for part in chosen) else []
    found += tables.encoder_tables(study)
    found += laws
    found += [*published_tables(study), *reported_tables(study)] if of_distances else []
    return [table.without_empty_columns() for table in found if table.rows or table.note]


def _summary(study: StudyResults) -> str:
    runs = list(study.runs.values())
    complete = sum(run.state == "complete" for run in runs)
    names = {"arm": "arms", "size": "sizes", "seed": "seeds", "data": "data sets"}
    count = {name: len({str(getattr(run, name)) for run in runs}) for name in names}
    words = [
        f"{number} {names[name] if number != 1 else names[name][:-1]}"
        for name, number in count.items()
    ]
    return f"{len(runs):,} run{'s' * (len(runs) != 1)} ({complete:,} finished): {', '.join(words)}."
