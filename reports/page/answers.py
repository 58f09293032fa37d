"""The first screen in words: one sentence for each question that a page asks, for whoever has not
read the documentation.

    for answer in answers(study, verdicts, claims, everything=True):
        print(answer.question, answer.sentence)

The first question is whether anything beats vanilla; the others are those of the tested claims, a
kind of statistic each. Sentences are made of the same numbers as verdicts and figures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.metrics import facts_of
from reports.draw.axes import signed
from reports.draw.content import Answer
from reports.draw.theme import arm_label, encoder_name
from reports.findings.changes import Change, changes, seeds_for
from reports.findings.claims import Claim
from reports.findings.decisions import INCONCLUSIVE, NOT_MONOTONE, SUPPORTED, Verdict
from reports.findings.sentences import arms_in_words, joined, size_text
from reports.page.figures.ablation import OF_SELFFLOW, plain_reference
from reports.study.cells import Comparable, cells
from reports.study.contrasts import CONTROL, LEAST_SEEDS, percent
from reports.study.groups import distances, places
from reports.study.runs import StudyResults

if TYPE_CHECKING:
    import pandas as pd

ROOM = 300  # letters of arms in a sentence
MOST_NAMED, MOST_TOLD = 3, 6  # arms by name: that cannot be told, and that can
WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def in_words(n: int) -> str:
    """Small numbers as words."""
    return WORDS[n] if n < len(WORDS) else f"{n:,}"


def answers(
    study: StudyResults, verdicts: Sequence[Verdict], claims: Mapping[str, Claim]
) -> list[Answer]:
    """Does anything beat vanilla, which part of Self-Flow does the work, and what the claims of the
    page ask beside; [] where nothing is finished.
    """
    final = study.rows[study.rows["final"]]
    if not len(final):
        return []
    reference = plain_reference(set(final["arm"]))
    found = []
    for data in sorted(set(final["data"])):
        found += _against(study.rows, data, reference)
        if any(arm.startswith(f"{OF_SELFFLOW}(") for arm in final["arm"]):
            found += _against(study.rows, data, OF_SELFFLOW)
    return found + _of_claims(verdicts, claims)


# Against one arm ----------------------------------------------------------------------------------


def leading(rows: pd.DataFrame, data: str, reference: str) -> tuple[Comparable, str] | None:
    """The numbers of a data set that its first sentence and figure show, and the largest size: the
    first metric in which the reference and another arm have room for better.
    """
    final = rows[rows["final"]]
    found = [group for group in distances(final) if group.data == data]
    sizes = [size for at, size in places(final) if at == data]
    first = None
    for group in found if sizes else ():
        compared = cells(rows, final, group)
        of_size = _parts(changes(compared, sizes[0], reference), reference)
        first = first or (compared, sizes[0])
        if any(not one.saturated for one in of_size):
            return compared, sizes[0]
    return first


def _against(rows: pd.DataFrame, data: str, reference: str) -> list[Answer]:
    lead = leading(rows, data, reference)
    if lead is None:
        return []
    compared, size = lead
    group, final = compared.group, rows[rows["final"]]
    found = _parts(changes(compared, size, reference), reference)
    if not found:
        return []
    name = arm_label(reference)
    seeds = max(one.estimate.seeds for one in found)
    at = compared.parameters.get(size, math.nan)
    model = f"{millions(at)} parameters" if math.isfinite(at) else f"size {size}"
    setting = f"On {data} with {model} and {in_words(seeds)} seed{'s' * (seeds != 1)}"
    sentence = f"{setting}, {_sentence(found, name, brief=False)} (by {group.facts.label})."
    # the held-out loss may see what a distance does not
    for other in distances(final):
        budget = (other.data, other.images_total) == (data, group.images_total)
        if budget and other.facts.family == "loss" != group.facts.family:
            by_loss = _parts(changes(cells(rows, final, other), size, reference), reference)
            if by_loss:
                sentence += f" By {other.facts.label}, {_sentence(by_loss, name, brief=True)}."
            break
    of_parts = reference == OF_SELFFLOW
    ask = f"Which part of {name} does the work?" if of_parts else f"Does anything beat {name}?"
    return [Answer(ask, sentence)]


def _parts(found: Sequence[Change], reference: str) -> list[Change]:
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
    """The arms that can be told from the reference, then those that cannot; brief: without best
    guesses of these.
    """
    if len({one.estimate.seeds for one in found}) == 1 and found[0].estimate.seeds < LEAST_SEEDS:
        guesses = joined([f"{arm_label(one.arm)} {_at(one)}" for one in found[:MOST_NAMED]])
        return (
            f"nothing can be told from {reference}: luck differs from seed to seed, and "
            f"{LEAST_SEEDS} are needed to know by how much (best guess: {guesses})"
        )
    parts = []
    for words, chosen in (
        ("better", [one for one in found if one.told and one.estimate.effect < 0]),
        ("worse", [one for one in found if one.told and one.estimate.effect > 0]),
    ):
        if chosen:
            say = _range if len(chosen) == 1 and not brief else _at
            each = [f"{arm_label(one.arm)} ({say(one)})" for one in _sorted(chosen)]
            shown = [one for one, long in zip(each, _lengths(each), strict=True) if long <= ROOM]
            shown = shown[:MOST_TOLD] or each[:1]
            more = [f"{len(each) - len(shown)} more arms"] if len(each) > len(shown) else []
            part = f"{joined([*shown, *more])} {_is(chosen)} {words} than {reference}"
            parts.append(part + _after_holm(chosen, len(found)))
    full = [one for one in found if one.saturated]
    if full:
        them = "they are" if len(full) > 1 else "it is"
        parts.append(
            f"of {_named(full)} nothing can be said, as {them} as near to the data as held-out "
            "pictures are, or near by copying"
        )
    unsure = [one for one in found if not one.told and not one.saturated]
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


def _after_holm(chosen: Sequence[Change], comparisons: int) -> str:
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
        lowest, highest = _sorted(found)[0], _sorted(found)[-1]
        who = f"none of the {'other ' * others}{len(found)} arms can be told from {reference}"
        guess = f"best guesses from {_at(lowest)} to {_at(highest)}"
    needed = seeds_for(found)
    if needed is None:
        return f"{who}: {guess}"
    size, seeds = needed
    many_seeds = "more than 1,000" if seeds is None else f"about {seeds:,}"
    return f"{who}: {guess}; seeing {size:g} % would take {many_seeds} seeds"


def _sorted(found: Sequence[Change]) -> list[Change]:
    return sorted(found, key=lambda one: one.estimate.effect)


def _named(found: Sequence[Change]) -> str:
    names = [arm_label(one.arm) for one in found]
    return joined(names) if len(names) <= MOST_NAMED else f"{len(names)} arms"


def _digits(one: Change) -> int:
    return 1 if abs(percent(one.estimate.effect)) >= 1 else 2


def _at(one: Change) -> str:
    return f"{signed(one.percent[0], _digits(one))} %"


def _ends(one: Change) -> str:
    _, low, high = one.percent
    if low is None or high is None:
        return "unknown"
    return f"{signed(low, _digits(one))} to {signed(high, _digits(one))} %"


def _range(one: Change) -> str:
    return f"{_at(one)}, 95 % {_ends(one)}"


# What claims ask ----------------------------------------------------------------------------------

ASKED = {
    "level_trend": "Does a stronger encoder generate better?",
    "gap_trend": "Does a lead grow with the model?",
    "next_size": "Does a method replace a size?",
    "over_training": "Does a lead last?",
    "rivals": "Self-Flow or REPA?",
    "encoders": "Which property of an encoder helps?",
    "equal_flops": "And at equal compute?",
    "speed_up": "Who needs fewer images?",
    "linear_probe": "Do the features know more?",
}


def _of_claims(verdicts: Sequence[Verdict], claims: Mapping[str, Claim]) -> list[Answer]:
    """A sentence for each tested claim that does not compare an arm with vanilla or a part of
    itself: by distance, or where that could not be tested by the held-out loss.
    """
    chosen: dict[tuple[str, str], Verdict] = {}
    for verdict in verdicts:
        before = chosen.get((verdict.claim, verdict.data))
        if verdict.tested and (before is None or before.measure == "loss"):
            chosen[verdict.claim, verdict.data] = verdict
    found: dict[tuple[str, str], list[str]] = {}
    for verdict in chosen.values():
        kind = _kind(claims[verdict.claim], verdict) if verdict.claim in claims else ""
        if kind:
            control = _failed_control(claims[verdict.claim], verdict, verdicts)
            found.setdefault((kind, verdict.data), []).append(control + _of(verdict, kind))
    several = len({data for _, data in found}) > 1
    return [
        Answer(
            ASKED[kind] + (f" ({data})" if several else ""),
            " ".join(f"{one[:1].upper()}{one[1:]}." for one in sentences),
        )
        for kind in ASKED
        for (of_kind, data), sentences in found.items()
        if of_kind == kind
    ]


def _kind(claim: Claim, verdict: Verdict) -> str:
    """Which question a claim is about, "" where the first answer has told it."""
    if claim.statistic not in ("difference", "worst"):
        return claim.statistic
    if claim.measure == "linear_probe":
        return claim.measure
    if {CONTROL, OF_SELFFLOW} & set(verdict.right) or claim.at < 1:
        return ""
    return "rivals" if OF_SELFFLOW in verdict.left else "encoders"


def _failed_control(claim: Claim, verdict: Verdict, verdicts: Sequence[Verdict]) -> str:
    """Why a comparison cannot be read: an alignment that does not help tells no encoders apart."""
    if not claim.control:
        return ""
    place = (claim.control, verdict.data, verdict.measure)
    found = [one for one in verdicts if (one.claim, one.data, one.measure) == place]
    if found and found[0].here == SUPPORTED:
        return ""
    return "this cannot be read here, as REPA itself does not beat Vanilla in these runs; "


def _of(verdict: Verdict, kind: str) -> str:
    """What came out, with its interval, or that it cannot be told and what that would take."""
    left, right = arms_in_words(verdict.left), arms_in_words(verdict.right)
    unit, effect = verdict.unit, verdict.effect or 0.0
    numbers = f"{size_text(effect, unit, signed=True)}, 95 % {_interval(verdict)}"
    sure = verdict.here not in (INCONCLUSIVE, "")
    at = verdict.sizes[-1] if verdict.sizes else ""
    by = f" by {facts_of(verdict.metric).label}" if verdict.measure == "loss" else ""
    better = "better" if effect < 0 else "worse"
    if kind == "level_trend":
        ladder = " → ".join(encoder_name(one) for one in verdict.encoders)
        asked = f"along the encoders from weak to strong ({ladder})"
        if verdict.here == NOT_MONOTONE:
            return f"{asked} results get better at one step and worse at another{by}"
        told, asked = f"{asked} results get {better}{by}", f"whether results follow {asked[6:]}{by}"
    elif kind == "gap_trend":
        sizes = f"from {verdict.sizes[0]} to {at}"
        told = f"{sizes} {left} {'gains on' if effect < 0 else 'loses ground to'} {right}{by}"
        asked = f"whether {left} changes against {right} {sizes}{by}"
    elif kind == "over_training":
        told = f"{left} {'gains on' if effect < 0 else 'loses ground to'} {right} in training{by}"
        asked = f"whether {left} changes against {right} in the course of training{by}"
    elif kind == "speed_up":
        fewer = "fewer" if effect < 0 else "more"
        told = f"{left} needs {fewer} images than {right} for the same quality{by}"
        asked = f"whether {left} needs fewer images than {right} for the same quality{by}"
    elif kind == "linear_probe":
        more = "more" if effect > 0 else "less"
        told = (
            f"a linear probe reads {more} from the features of {left} than from {right}'s at {at}"
        )
        asked = f"whether a linear probe reads more from {left}'s features than {right}'s at {at}"
    else:
        where = {"next_size": f" at {verdict.sizes[0]}", "equal_flops": " at equal FLOPs"}
        told = f"{left}{where.get(kind, '')} is {better} than {right} at {at}{by}"
        asked = f"{left}{where.get(kind, '')} against {right} at {at}{by}"
    if sure:
        return f"{told} ({numbers})"
    takes = "" if verdict.takes is None else f"; seeing that would take {_many(verdict)} seeds"
    return f"{asked} cannot be told: best guess {numbers}{takes}"


def _many(verdict: Verdict) -> str:
    return f"about {verdict.takes:,}" if verdict.takes else "more than 1,000"


def _interval(verdict: Verdict) -> str:
    low, high = (math.nan if end is None else end for end in (verdict.low, verdict.high))
    start, end = (size_text(one, verdict.unit, signed=True) for one in (low, high))
    return f"{start} to {end}" if math.isfinite(low) or math.isfinite(high) else "unknown"
