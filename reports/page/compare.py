"""Two studies, or two folders of runs, beside each other by the rules of verdicts.

    page = compare_page(read_study(Path("runs"), "family", planned), read_study(Path("other")))

An arm that both have is compared with itself: the same settings should give the same results, and
where they do not, something else differs. Runs that both share are told and count for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reports.draw.axes import signed
from reports.draw.page_parts import Answer, Page, Section
from reports.draw.panels import Axis, ForestPanel, chosen_figures
from reports.draw.table import Table, arm_cell, cell, columns
from reports.draw.theme import arm_label, arm_styles
from reports.findings.changes import Change
from reports.findings.sentences import joined
from reports.page import run_tables
from reports.page.answers import answers
from reports.page.figures.ablation import effects_of
from reports.page.figures.distance import group_note, metric_of
from reports.page.terms import terms_in
from reports.study.cells import Comparable, cells
from reports.study.contrasts import contrast
from reports.study.groups import (
    Group,
    by_size,
    distances,
    of_group,
    places,
    sorted_arms,
    summarise,
)
from reports.study.runs import StudyResults

if TYPE_CHECKING:
    import pandas as pd

SECOND = "\t"  # marks the arms of the second study inside one table of rows


def compare_page(left: StudyResults, right: StudyResults, names: tuple[str, str]) -> Page:
    """The page: what differs arm by arm, then the answers of each."""
    import pandas as pd

    shared = sorted(left.runs.keys() & right.runs.keys())
    marked = right.rows.assign(arm=right.rows["arm"] + SECOND)
    # a run that is in both is no evidence that the two agree
    own = [rows[~rows["run"].isin(shared)] for rows in (left.rows, marked)]
    rows = pd.concat([part for part in own if len(part)] or [left.rows[:0]], ignore_index=True)
    final = rows[rows["final"]]
    panels, sentences = [], []
    found = distances(final)
    for group in found:
        compared = cells(rows, final, group)
        for size, _ in by_size(of_group(final, group)):
            apart = _changes(compared, size)
            if not apart:
                continue
            panel = ForestPanel(
                title=group.title(size),
                note=group_note(group, found),
                x=Axis(f"change of {group.facts.label} from {names[0]} to {names[1]} (%)"),
                effects=effects_of(apart),
                reference=("", ""),
            )
            panels.append(((group.data, size), metric_of(group, found), panel))
            sentences.append(_sentence(apart, group, size, names))
    caption = (
        f"The same arm in {names[1]} against {names[0]}: change of the mean logarithm with its "
        "95 % interval, by the rules of verdicts; of runs that the two do not share."
    )
    title = f"{names[1]} against {names[0]}, arm by arm"
    lead = chosen_figures("compare", title, caption, panels, places(final), beside=())
    everything = {**left.runs, **right.runs}
    said = Answer("Do they agree?", " ".join(sentences[:3]) or _nothing(left, right, names))
    both = [
        Answer(f"{name}: {one.question}", one.sentence)
        for name, study in zip(names, (left, right), strict=True)
        for one in answers(study, [], {})
    ]
    notices = [f"{len(shared)} runs are in both, and are left out of the comparison."] * bool(
        shared
    )
    page = Page(
        kind="compare", title=f"{names[0]} and {names[1]}", question="", study="",
        summary=f"{len(left.runs):,} and {len(right.runs):,} runs.", notices=notices, warnings=[],
        arms=arm_styles(sorted_arms(run.arm for run in everything.values())),
        answers=[said, *both], lead=lead[0] if lead else None, headline=_table(final, found, names),
        sections=list[Section](), verdicts=[], untested=[], verdicts_note="", numbers=[],
        missing=[], problems=[*left.problems, *right.problems], terms={},
        appendix=[
            replace(run_tables.runs_table(study), id=f"runs-{i}", title=f"Runs of {name}")
            for i, (name, study) in enumerate(zip(names, (left, right), strict=True))
            if study.runs
        ],
    )  # fmt: skip
    words = "\n".join([*(one.sentence for one in page.answers), caption])
    return replace(page, terms=terms_in(words))


def _changes(compared: Comparable, size: str) -> list[Change]:
    """Each arm of both against itself, under its own name."""
    arms = [arm for arm in compared.arms(size) if not arm.endswith(SECOND)]
    found = []
    for arm in sorted_arms(one for one in arms if (one + SECOND, size) in compared.final):
        first, second = (arm, size), (arm + SECOND, size)
        weights = {second: 1.0, first: -1.0}
        estimate = contrast(weights, compared.final, paired=compared.paired(weights))
        n = min(len(compared.final[first]), len(compared.final[second]))
        full = compared.saturated.get(first, "") or compared.saturated.get(second, "")
        found.append(Change(arm, estimate, n, estimate.p, full, first in compared.related))
    return found


def _sentence(found: Sequence[Change], group: Group, size: str, names: tuple[str, str]) -> str:
    told = [one for one in found if one.told]
    where = f"By {group.facts.label} on {group.data} at {size}"
    if not told:
        which = f"none of the {len(found)} arms" if len(found) > 1 else arm_label(found[0].arm)
        cannot = "can be told" if len(found) > 1 else "cannot be told"
        return f"{where} {which} of {names[1]} {cannot} from that of {names[0]}."
    each = [f"{arm_label(one.arm)} ({signed(one.numbers[0])} %)" for one in told]
    return f"{where} {joined(each)} can be told apart, of {len(found)} arms in both."


def _nothing(left: StudyResults, right: StudyResults, names: tuple[str, str]) -> str:
    """Why nothing can be compared."""
    arms = [sorted_arms(set(study.rows["arm"])) for study in (left, right)]
    both = [arm for arm in arms[0] if arm in arms[1]]
    if not both:
        have = [
            f"{name} has {joined([arm_label(arm) for arm in of[:6]]) or 'no results'}"
            for name, of in zip(names, arms, strict=True)
        ]
        return f"They have no arm in common: {'; '.join(have)}."
    return (
        "The arms in common have no finished runs of their own under one protocol, data set, size "
        "and number of images."
    )


def _table(final: pd.DataFrame, found: Sequence[Group], names: tuple[str, str]) -> Table | None:
    """Means of both, for each arm, size and metric that both have."""
    lines = []
    for group in found:
        for size, part in by_size(of_group(final, group)):
            means = {one.arm: one for one in summarise(part, ["arm"])}
            for arm in sorted_arms(one for one in means if one + SECOND in means):
                one, other = means[arm], means[arm + SECOND]
                numbers = (one.mean, one.sd, one.n, other.mean, other.sd, other.n)
                lines.append([
                    arm_cell(arm), cell(size), cell(group.facts.label), *map(cell, numbers)
                ])  # fmt: skip
    heads = columns(
        *("arm", "size", "metric", f"#{names[0]}", "#SD", "#seeds", f"#{names[1]}", "#SD", "#seeds")
    )
    return Table("headline", "Means", "", heads, lines) if lines else None


def index_page(studies: Sequence[tuple[StudyResults, str, str]]) -> Page:
    """All studies of a folder, the answer of each in a line. studies: what was read, the title,
    and the file of its page, "" where there is none.
    """
    lines = []
    for study, title, link in studies:
        done = sum(run.state == "complete" for run in study.runs.values())
        known = answers(study, [], {})
        sentence = known[0].sentence if known else "no finished run has results yet."
        total = len(study.planned) or len(study.runs)
        head = f"{title} ({done} of {total} runs finished):"
        lines.append(Answer(head, sentence, link))
    everything = {run.id: run for study, *_ in studies for run in study.runs.values()}
    page = Page(
        kind="index", title="Studies of this folder", question="", study="",
        summary=f"{len(lines)} studies, {len(everything):,} runs.",
        notices=[] if lines else ["No study has a run here: python -m bench.sweep study=demo"],
        warnings=[], arms=arm_styles(sorted_arms(run.arm for run in everything.values())),
        answers=lines, lead=None, headline=None, sections=list[Section](), verdicts=[],
        untested=[], verdicts_note="", numbers=[], missing=[],
        problems=list(dict.fromkeys(one for study, *_ in studies for one in study.problems)),
        appendix=[], terms={},
    )  # fmt: skip
    return replace(page, terms=terms_in("\n".join(one.sentence for one in lines)))
