"""What can be told from one arm, in a sentence: the first answer of a page.

[answer] = against(study, "digits", "vanilla")
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from reports.draw.axes import signed
from reports.draw.page_parts import Answer
from reports.draw.theme import arm_label
from reports.findings.changes import Change, changes, seeds_for
from reports.findings.sentences import joined
from reports.page.figures.ablation import OF_SELFFLOW, compared_by
from reports.study.cells import Comparable
from reports.study.contrasts import LEAST_DF, LEAST_SEEDS
from reports.study.groups import places
from reports.study.runs import StudyResults

ROOM = 300  # letters of arms in a sentence
MOST_NAMED, MOST_TOLD = 3, 6  # arms by name: that cannot be told, and that can
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def in_words(n: int) -> str:
    """Small numbers as words."""
    return WORDS[n] if n < len(WORDS) else f"{n:,}"


def leading(study: StudyResults, data: str, reference: str) -> tuple[Comparable, str] | None:
    """The numbers of a data set that its first sentence and figure show, and the largest size that
    has the reference and another arm: of the first metric in which these have room for better.
    """
    found = [group for group in compared_by(study) if group.data == data]
    sizes = [size for at, size in places(study.final) if at == data]
    first = None
    for group in found:
        compared = study.cells(group)
        of_sizes = {
            size: without_kin(changes(compared, size, reference), reference) for size in sizes
        }
        size = next((size for size in sizes if of_sizes[size]), None)
        if size is None:
            continue
        first = first or (compared, size)
        if any(not one.saturated for one in of_sizes[size]):
            return compared, size
    return first


def against(study: StudyResults, data: str, reference: str) -> list[Answer]:
    """What the arms of a data set change from one of them, at the largest size; [] without it."""
    lead = leading(study, data, reference)
    if lead is None:
        return []
    compared, size = lead
    group = compared.group
    every = changes(compared, size, reference)
    found = without_kin(every, reference)
    if not found:
        return []
    name = arm_label(reference)
    seeds = max(one.estimate.seeds for one in found)
    at = compared.parameters.get(size, math.nan)
    model = f"{millions(at)} parameters" if math.isfinite(at) else f"size {size}"
    setting = f"On {data} with {model} and {in_words(seeds)} seed{'s' * (seeds != 1)}"
    kin = [one for one in every if one.related and reference != OF_SELFFLOW]
    left_out = f", to which {_named(kin)} {_is(kin)} kin and so left out" if kin else ""
    by = f"by {group.facts.label}{left_out}"
    sentence = f"{setting}, {_sentence(found, name, brief=False)} ({by})."
    # the held-out loss may see what a distance does not
    for other in study.distances:
        budget = (other.data, other.images_total) == (data, group.images_total)
        if budget and other.facts.family == "loss" != group.facts.family:
            by_loss = without_kin(changes(study.cells(other), size, reference), reference)
            if by_loss:
                sentence += f" By {other.facts.label}, {_sentence(by_loss, name, brief=True)}."
            break
    of_parts = reference == OF_SELFFLOW
    ask = f"Which part of {name} does the work?" if of_parts else f"Does anything beat {name}?"
    return [Answer(ask, sentence)]


def without_kin(found: Sequence[Change], reference: str) -> list[Change]:
    """Against Self-Flow its own variants, against another arm all; without those to whose encoder
    the metric is kin, of which it decides nothing.
    """
    own = f"{OF_SELFFLOW}("
    return [
        one
        for one in found
        if not one.related and (reference != OF_SELFFLOW or one.arm.startswith(own))
    ]


def millions(parameters: float) -> str:
    """Parameters as papers write them: "0.09M", "458M", "1.2B"."""
    if parameters >= 1e9:
        return f"{parameters / 1e9:.2g}B"
    size = parameters / 1e6
    return f"{size:.0f}M" if size >= 10 else f"{size:.1f}M" if size >= 1 else f"{size:.2f}M"


def _sentence(found: Sequence[Change], reference: str, brief: bool) -> str:
    """The arms that can be told from the reference, then those that cannot; brief: fewer names, and
    without best guesses of these.
    """
    if len({one.estimate.seeds for one in found}) == 1 and found[0].estimate.seeds < LEAST_SEEDS:
        guesses = joined([f"{arm_label(one.arm)} {_at(one)}" for one in found[:MOST_NAMED]])
        return (
            f"nothing can be told from {reference}: luck differs from seed to seed, and "
            f"{LEAST_SEEDS} are needed to know by how much (best guess: {guesses})"
        )
    parts = []
    for words, chosen in (
        ("better", [one for one in found if one.told and one.better]),
        ("worse", [one for one in found if one.told and not one.better]),
    ):
        if chosen:
            say = _range if len(chosen) == 1 and not brief else _at
            each = [f"{arm_label(one.arm)} ({say(one)})" for one in _sorted(chosen)]
            shown = [one for one, long in zip(each, _lengths(each), strict=True) if long <= ROOM]
            shown = shown[: MOST_NAMED if brief else MOST_TOLD] or each[:1]
            more = [f"{len(each) - len(shown)} more arms"] if len(each) > len(shown) else []
            part = f"{joined([*shown, *more])} {_is(chosen)} {words} than {reference}"
            parts.append(part + after_holm(chosen, len(found)))
    full = [one for one in found if one.saturated]
    if full:
        them = "they are" if len(full) > 1 else "it is"
        parts.append(
            f"of {_named(full)} nothing can be said, as {them} as near to the data as held-out "
            "pictures are, or near by copying"
        )
    thin = [one for one in found if not one.saturated and not one.judged]
    if thin:
        df = min(one.estimate.df for one in thin)
        guesses = joined([f"{arm_label(one.arm)} {_range(one)}" for one in thin[:MOST_NAMED]])
        parts.append(
            f"{_named(thin)} {_is(thin)} not judged, as {df:.2g} degrees of freedom are too few "
            f"where {LEAST_DF} are needed (best guess: {guesses})"
        )
    unsure = [one for one in found if one.judged and not one.told]
    if unsure and brief and parts:
        parts.append("the rest cannot be told")
    elif unsure:
        parts.append(_untold(unsure, reference, others=len(unsure) < len(found)))
    return "; ".join(parts)


def _lengths(words: Sequence[str]) -> list[int]:
    """Letters up to the end of each."""
    return list(itertools.accumulate(map(len, words)))


def _is(found: Sequence[Change]) -> str:
    return "are" if len(found) > 1 else "is"


def after_holm(chosen: Sequence[Change], comparisons: int) -> str:
    """What Holm's adjustment over all arms leaves."""
    if comparisons < 2:
        return ""
    kept = sum(one.told_after_holm for one in chosen)
    words = f"{in_words(kept)} of them also" if kept else "though not"
    words = "also" if kept == len(chosen) else words
    return f", {words} after Holm's adjustment for {comparisons} comparisons"


def _untold(found: Sequence[Change], reference: str, others: bool) -> str:
    """Arms that cannot be told, with best guesses and what it would take."""
    names = [arm_label(one.arm) for one in found]
    if len(found) <= MOST_NAMED:
        who = names[0] if len(names) == 1 else f"neither {joined(names, 'nor')}"
        who += f" {'cannot' if len(names) == 1 else 'can'} be told from {reference}"
        many = len(names) > 1
        each = [f"{f'{name} ' * many}{_range(one)}" for name, one in zip(names, found, strict=True)]
        guess = "best guess " + "; ".join(each)
    else:
        lowest, *_, highest = sorted(found, key=lambda one: one.estimate.effect)
        who = f"none of the {'other ' * others}{len(found)} arms can be told from {reference}"
        guess = f"best guesses from {_at(lowest)} to {_at(highest)}"
    needed = seeds_for(found)
    if needed is None:
        return f"{who}: {guess}"
    size, seeds = needed
    many_seeds = "more than 1,000" if seeds is None else f"about {seeds:,}"
    return f"{who}: {guess}; seeing {size:g} {found[0].unit} would take {many_seeds} seeds"


def _sorted(found: Sequence[Change]) -> list[Change]:
    """The best first."""
    return sorted(found, key=lambda one: one.estimate.effect * (1 - 2 * one.higher_is_better))


def _named(found: Sequence[Change]) -> str:
    names = [arm_label(one.arm) for one in found]
    return joined(names) if len(names) <= MOST_NAMED else f"{len(names)} arms"


def _at(one: Change) -> str:
    return f"{signed(one.numbers[0], one.decimals)} {one.unit}"


def _ends(one: Change) -> str:
    _, low, high = one.numbers
    if low is None or high is None:
        return "unknown"
    return f"{signed(low, one.decimals)} to {signed(high, one.decimals)} {one.unit}"


def _range(one: Change) -> str:
    return f"{_at(one)}, 95 % {_ends(one)}"
