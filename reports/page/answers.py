"""The first screen in words: one sentence for each question that a page asks, for whoever has not
read the documentation.

    for answer in answers(study, verdicts, claims):
        print(answer.question, answer.sentence)

The first question is whether anything beats vanilla; the others are those of the tested claims, a
kind of statistic each. Sentences are made of the same numbers as verdicts and figures.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from bench.core.metrics import facts_of
from reports.draw.page_parts import Answer
from reports.draw.theme import encoder_name
from reports.findings.claims import SHARES, Claim
from reports.findings.decisions import CONTRADICTED, INCONCLUSIVE, NOT_MONOTONE, SUPPORTED, Verdict
from reports.findings.ladder import ORDER_NAMES
from reports.findings.sentences import arms_in_words, size_text
from reports.page.figures.ablation import OF_SELFFLOW, plain_reference
from reports.page.first_answer import against, leading
from reports.page.over_data import against_on_all, of_several
from reports.study.contrasts import CONTROL
from reports.study.runs import StudyResults

MOST_STEPS = 4  # encoders of a ladder that are named; the verdict names all


def answers(
    study: StudyResults, verdicts: Sequence[Verdict], claims: Mapping[str, Claim]
) -> list[Answer]:
    """Does anything beat vanilla, which part of Self-Flow does the work, and what the claims of the
    page ask beside; [] where nothing is finished.
    """
    final = study.final
    if not len(final):
        return []
    reference = plain_reference(set(final["arm"]))
    several, told = of_several(study), set()
    found = against_on_all(study, reference) if several else []
    for data in sorted(set(final["data"])):
        if not several:
            found += against(study, data, reference)
        lead = leading(study, data, reference)
        told |= {(data, lead[0].group.metric)} if lead and reference == CONTROL else set()
        if any(arm.startswith(f"{OF_SELFFLOW}(") for arm in final["arm"]):
            found += against(study, data, OF_SELFFLOW)
    on_all = [one for one in verdicts if one.parts]
    others = [one for one in verdicts if not one.parts and not _is_told(one, told)]
    return [*_of_claims(on_all, claims), *found, *_of_claims(others, claims)]


def _is_told(verdict: Verdict, told: Collection[tuple[str, str]]) -> bool:
    """Whether the first answer is of the same share of samples, against the same arm."""
    of_share = facts_of(verdict.metric).family == SHARES and CONTROL in verdict.right
    return of_share and (verdict.data, verdict.metric) in told


ON_ALL = "on all"  # the kind of a claim on several data sets at once

ASKED = {
    ON_ALL: "Is everything better at once?",
    "level_trend": "Does a stronger encoder generate better?",
    "gap_trend": "Does a lead grow with the model?",
    "next_size": "Does a method replace a size?",
    "over_training": "Does a lead last?",
    "rivals": "Self-Flow or REPA?",
    "encoders": "Which property of an encoder helps?",
    "equal_flops": "And at equal compute?",
    "speed_up": "Who needs fewer images?",
    "linear_probe": "Do the features know more?",
    SHARES: "Who makes what was asked for?",
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
            found.setdefault((kind, verdict.data), []).append(
                control + _of(verdict, kind, claims[verdict.claim].order)
            )
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
    if claim.every:
        return ON_ALL if verdict.parts else ""
    if claim.statistic not in ("difference", "worst"):
        return claim.statistic
    if claim.measure == "linear_probe":
        return claim.measure
    if facts_of(claim.measure).family == SHARES:
        return SHARES
    if {CONTROL, OF_SELFFLOW} & set(verdict.right) or claim.at < 1 or claim.margin:
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


def _of(verdict: Verdict, kind: str, order: str) -> str:
    """What came out, with its interval, or that it cannot be told and what that would take; order:
    of the encoders, where they are a ladder.
    """
    if kind == ON_ALL:
        return _of_all(verdict)
    left, right = arms_in_words(verdict.left), arms_in_words(verdict.right)
    unit, effect = verdict.unit, verdict.effect or 0.0
    numbers = f"{size_text(effect, unit, signed=True)}, 95 % {_interval(verdict)}"
    sure = verdict.here not in (INCONCLUSIVE, "")
    at = verdict.sizes[-1] if verdict.sizes else ""
    by = f" by {facts_of(verdict.metric).label}" if verdict.measure == "loss" else ""
    better = "better" if effect < 0 else "worse"
    if kind == "level_trend":
        names = [encoder_name(one) for one in verdict.encoders]
        ladder = f"least first ({' → '.join(names)})"
        if len(names) > MOST_STEPS:
            ladder = f"from {names[0]} to {names[-1]} ({len(names)} encoders)"
        asked = f"along the encoders by {ORDER_NAMES[order]}, {ladder},"
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
    elif kind == SHARES:
        often = "more" if effect > 0 else "fewer"
        what = facts_of(verdict.metric).label
        told = f"{left} has {often} {what} than {right} at {at}"
        asked = f"whether {left} has more {what} than {right} at {at}"
    else:
        where = {"next_size": f" at {verdict.sizes[0]}", "equal_flops": " at equal FLOPs"}
        told = f"{left}{where.get(kind, '')} is {better} than {right} at {at}{by}"
        asked = f"{left}{where.get(kind, '')} against {right} at {at}{by}"
    if sure:
        return f"{told} ({numbers})"
    if (verdict.low or 0.0) * (verdict.high or 0.0) > 0:  # an interval that too little is behind
        few = f"{verdict.seeds} seeds with {verdict.df or 0:.2g} degrees of freedom are too few"
        return f"{asked} is not judged, as {few}: best guess {numbers}"
    takes = "" if verdict.takes is None else f"; seeing that would take {_many(verdict)} seeds"
    return f"{asked} cannot be told: best guess {numbers}{takes}"


def _of_all(verdict: Verdict) -> str:
    """On how many data sets a claim on all of them holds by itself, and on which it does least."""
    left, right = arms_in_words(verdict.left), arms_in_words(verdict.right)
    held, n = sum(part.here == SUPPORTED for part in verdict.parts), len(verdict.parts)
    numbers = f"{size_text(verdict.effect or 0.0, verdict.unit, signed=True)}, 95 % "
    numbers += _interval(verdict)
    better = f"{left} is better than {right}"
    if verdict.here == SUPPORTED:
        return f"{better} on all {n} parts, least so on {verdict.weakest} ({numbers})"
    if verdict.here == CONTRADICTED:
        return (
            f"no: {left} is worse than {right} on {verdict.weakest} ({numbers}), and better on "
            f"{held} of {n} parts"
        )
    return (
        f"that cannot be told: {better} on {held} of {n} parts by itself, least so on "
        f"{verdict.weakest} (best guess {numbers})"
    )


def _many(verdict: Verdict) -> str:
    return f"about {verdict.takes:,}" if verdict.takes else "more than 1,000"


def _interval(verdict: Verdict) -> str:
    low, high = (math.nan if end is None else end for end in (verdict.low, verdict.high))
    start, end = (size_text(one, verdict.unit, signed=True) for one in (low, high))
    return f"{start} to {end}" if math.isfinite(low) or math.isfinite(high) else "unknown"
