"""Runs on several data sets, as the parts of data of several kinds are: what can be told from one
arm on all of them, as one answer, figure and table in place of one for each.

    if of_several(study):
        answer, = against_on_all(study, "vanilla")
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from reports.draw.axes import signed
from reports.draw.page_parts import Answer
from reports.draw.panels import Axis, Effect, Figure, ForestPanel, Place, Shown, chosen_figures
from reports.draw.table import Cell, Table, arm_cell, cell, columns
from reports.draw.theme import arm_label
from reports.findings.changes import Change, changes
from reports.findings.sentences import joined
from reports.page.figures.ablation import LOSS, SIDES, compared_by, effects_of
from reports.page.figures.distance import RELATED, metric_of
from reports.page.first_answer import MOST_NAMED, after_holm, in_words, leading, without_kin
from reports.page.first_table import MOST_METRICS, lines_of_arms, metric_columns
from reports.study.cells import Comparable
from reports.study.contrasts import LEAST_DF, LEAST_SEEDS, holm
from reports.study.groups import Group, places, sorted_arms
from reports.study.runs import StudyResults

LEAST_DATA = 3  # of fewer each has a sentence, a figure and a table of its own
MOST_DATA_NAMED = 4  # by name, with their numbers
LINES_AT_FIRST = 24  # of the table of the first screen

OnData = Mapping[str, Sequence[Change]]
"""Changes of arms by data set."""


def of_several(study: StudyResults) -> bool:
    """Whether the data sets are too many for a sentence each."""
    return len(set(study.final["data"])) >= LEAST_DATA


def against_on_all(study: StudyResults, reference: str) -> list[Answer]:
    """What each arm changes from one of them over the data sets, at the largest size of each: by
    each one's first metric, then by the held-out loss; [] without it.
    """
    leads = _leads(study, reference)
    found = {data: _told(compared, size, reference) for data, (compared, size) in leads.items()}
    if not any(found.values()):
        return []
    by = joined(sorted({compared.group.facts.label for compared, _ in leads.values()}))
    sentence = (
        f"On {in_words(len(leads))} {_called(leads)}, {_sentence(found, reference)} (by {by})."
    )
    losses = {
        data: _told(study.cells(group), leads[data][1], reference)
        for data, group in _loss_groups(study, leads).items()
    }
    by_loss = not all(compared.group.facts.family == LOSS for compared, _ in leads.values())
    if by_loss and any(losses.values()):
        of_loss = {data: losses[data] for data in leads if data in losses}
        sentence += f" By held-out loss, {_sentence(of_loss, reference)}."
    return [Answer(f"Does anything beat {arm_label(reference)}?", sentence)]


def changes_over_data(study: StudyResults, reference: str) -> list[Figure]:
    """What each arm changes on each data set: a panel a metric and size, its lines by data set."""
    found = compared_by(study)
    effects: dict[tuple[str, str, str, bool], list[Effect]] = {}
    for group in found:
        for size, _ in study.by_size(group):
            changed = changes(study.cells(group), size, reference)
            drawn = [replace(one, on=group.data) for one in effects_of(changed)]
            if drawn:
                metric, unit = metric_of(group, found)["metric"], changed[0].unit
                effects.setdefault((metric, size, unit, group.higher_is_better), []).extend(drawn)
    name, panels = arm_label(reference), list[tuple[Place, Shown, ForestPanel]]()
    for (metric, size, unit, higher), lines in effects.items():
        there = {one.on for one in lines}
        panel = ForestPanel(
            title=f"{metric} · {len(there)} {_called(there)} · {size}",
            note=RELATED if any(one.related for one in lines) else "",
            x=Axis(f"change of {metric} from {name} ({unit}), {SIDES[higher]} is better"),
            effects=lines,
            reference=(reference, ""),
            unit=unit,
        )
        panels.append((("", size), {"metric": metric}, panel))
    caption = (
        f"Change of the mean logarithm from {name}, in percent, shares of samples in points, with "
        "its 95 % interval over the seeds that both arms share, as in the verdicts; n: seeds of "
        "the arm. Intervals are of one data set each: of many, one in twenty leaves out zero by "
        "chance."
    )
    sizes = [("", size) for size in dict.fromkeys(size for _, size in places(study.final))]
    return chosen_figures("answer", f"Change from {name}", caption, panels, sizes, beside=())


def results_over_data(study: StudyResults, reference: str) -> Table | None:
    """Arms on each data set, at its largest size: mean and change by each one's first metric and by
    the held-out loss; None where that would be too long for a first screen.
    """
    leads = _leads(study, reference)
    of_data: dict[str, list[Group]] = {
        data: [compared.group] for data, (compared, _) in leads.items()
    }
    for data, loss in _loss_groups(study, leads).items():
        of_data[data] = list(dict.fromkeys([*of_data[data], loss]))
    metrics = list({one.metric: one for found in of_data.values() for one in found}.values())
    lines: list[list[Cell]] = []
    for data, (_, size) in leads.items():
        own = {group.metric: group for group in of_data[data]}
        asked = [own.get(one.metric) for one in metrics]
        lines += [
            [cell(data), arm_cell(arm), *numbers, cell(seeds)]
            for arm, numbers, seeds in lines_of_arms(study, asked, size, reference)
        ]
    if not 0 < len(lines) <= LINES_AT_FIRST or len(metrics) > MOST_METRICS:
        return None
    heads = [*columns("data", "arm"), *metric_columns(metrics, reference), *columns("#seeds")]
    note = (
        "Mean ± half of its 95 % interval over seeds, on each data set; changes of the mean "
        "logarithm with intervals over shared seeds. Bold: the best mean of a data set, "
        "underlined: the second; neither says that a difference is real."
    )
    return Table("headline", "Results", note, heads, lines)


def _called(data: Collection[str]) -> str:
    """What these are, in a sentence: parts are of one run each."""
    return "parts of the data" if all("/" in one for one in data) else "data sets"


def _leads(study: StudyResults, reference: str) -> dict[str, tuple[Comparable, str]]:
    found = ((data, leading(study, data, reference)) for data in sorted(set(study.final["data"])))
    return {data: lead for data, lead in found if lead}


def _loss_groups(study: StudyResults, leads: Collection[str]) -> dict[str, Group]:
    """The first of each data set that has a first metric."""
    found: dict[str, Group] = {}
    for group in study.distances:
        if group.facts.family == LOSS and group.data in leads:
            found.setdefault(group.data, group)
    return found


def _told(compared: Comparable, size: str, reference: str) -> list[Change]:
    return without_kin(changes(compared, size, reference), reference)


def _sentence(found: OnData, reference: str) -> str:
    """Arm by arm, those first of which most can be told; Holm's adjustment is for all of them."""
    every = [(data, one) for data, of in found.items() for one in of]
    adjusted = holm([one.estimate.p for _, one in every])
    by_arm: dict[str, dict[str, Change]] = {arm: {} for arm in sorted_arms(c.arm for _, c in every)}
    for (data, one), p in zip(every, adjusted, strict=True):
        by_arm[one.arm][data] = replace(one, p_holm=p)
    order = sorted(by_arm, key=lambda arm: -sum(one.told for one in by_arm[arm].values()))
    named, rest = order[:MOST_NAMED], order[MOST_NAMED:]
    words = [f"{arm_label(arm)} {_of_arm(by_arm[arm], reference, len(every))}" for arm in named]
    if rest:
        told = sum(one.told for arm in rest for one in by_arm[arm].values())
        what = f"can be told from it in {told} comparisons" if told else "cannot be told from it"
        words.append(f"{in_words(len(rest))} more arms {what}")
    return ". ".join(words)


def _of_arm(found: Mapping[str, Change], reference: str, comparisons: int) -> str:
    """ "is better than Vanilla on a (-3.1 %) and b (-2.0 %); cannot be told from it on seven" """
    name, n, words = arm_label(reference), len(found), list[str]()
    for how, better in (("better", True), ("worse", False)):
        chosen = {data: c for data, c in found.items() if c.told and c.better == better}
        if chosen:
            after = after_holm([*chosen.values()], comparisons)
            words.append(f"is {how} than {name} on {_named(chosen, n)}{after}")
    full = {data: one for data, one in found.items() if one.saturated}
    if full:
        words.append(
            f"cannot be judged on {_named(full, n, False)}, where samples are as near to the data "
            "as held-out examples are, or near by copying"
        )
    thin = {data: one for data, one in found.items() if not one.saturated and not one.judged}
    if thin:
        seeds = min(one.estimate.seeds for one in thin.values())
        df = min(one.estimate.df for one in thin.values())
        few = f"{df:.2g} degrees of freedom are too few where {LEAST_DF} are needed"
        if seeds < LEAST_SEEDS:
            shared = f"{in_words(seeds)} shared seed{'s' * (seeds != 1)}"
            few = f"{shared} tell{'s' * (seeds == 1)} too little where {LEAST_SEEDS} are needed"
        words.append(f"is not judged on {_named(thin, n)}, as {few}")
    unsure = {data: one for data, one in found.items() if one.judged and not one.told}
    if unsure:
        it = "it" if words else name
        words.append(f"cannot be told from {it} on {_named(unsure, n)}")
    return "; ".join(words)


def _named(found: Mapping[str, Change], n: int, with_numbers: bool = True) -> str:
    """Data sets, the furthest from the reference first; of many the first and last number alone.
    n: of how many.
    """
    order = sorted(found, key=lambda data: -abs(found[data].estimate.effect))
    said = {data: f"{signed(found[data].numbers[0], 1)} {found[data].unit}" for data in order}
    if len(order) <= MOST_DATA_NAMED:
        return joined([f"{data} ({said[data]})" if with_numbers else data for data in order])
    ends = sorted(order, key=lambda data: found[data].numbers[0])
    numbers = f" ({said[ends[0]]} to {said[ends[-1]]})" if with_numbers else ""
    return f"{'all' if len(order) == n else in_words(len(order))} of them{numbers}"
