"""Verdicts as a page shows them: the word, the sentence, a line of numbers, and the rest behind a
click.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.core.metrics import facts_of
from reports.draw.axes import number
from reports.draw.page_parts import Untested, VerdictEntry
from reports.findings.claims import Claim, load_claims
from reports.findings.decisions import INCONCLUSIVE, OUTSIDE, SUPPORTED, Verdict
from reports.findings.sentences import arms_in_words, interval_text
from reports.findings.verdicts import judge_claims
from reports.study.runs import StudyResults
from reports.study.strengths import encoder_parameters


@dataclass(frozen=True)
class Judged:
    """The verdicts of a page: tested claims, in range and decided first; the others and why; how
    many there are of each; what a reader must know before any of them; and the claims.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    claims: dict[str, Claim] = field(default_factory=dict)
    entries: list[VerdictEntry] = field(default_factory=list)
    untested: list[Untested] = field(default_factory=list)
    note: str = ""
    warnings: list[str] = field(default_factory=list)


def judge(study: StudyResults, kind: str) -> Judged:
    """The claims of a page on a study; Holm's adjustment is over the tests of that page."""
    claims = [claim for claim in load_claims() if kind == "all" or kind in claim.pages]
    if not len(study.rows) or not claims:
        return Judged()
    strengths = encoder_parameters(study.runs.values())
    modalities = {
        data: kind for run in study.runs.values() for data, kind in run.modalities.items()
    }
    # a question of this project that the runs do not ask is nothing that a reader misses
    asked = {claim.name for claim in claims if claim.published}
    verdicts = [
        one
        for one in judge_claims(
            claims, study.rows, strengths, study.rows_matched("flops"), modalities
        )
        if one.tested or one.claim in asked
    ]
    tested = sorted(
        (one for one in verdicts if one.tested),
        key=lambda one: (one.word == OUTSIDE, one.here == INCONCLUSIVE),
    )
    reasons: dict[str, list[str]] = {}
    for one in verdicts:
        if not one.tested:
            reasons.setdefault(one.sentence, []).append(one.reason)
    untested = [Untested(sentence, " ".join(why)) for sentence, why in reasons.items()]
    warnings = unreadable(claims, verdicts)
    named = {claim.name: claim for claim in claims}
    entries = [_entry(one) for one in tested]
    return Judged(verdicts, named, entries, untested, verdict_counts(verdicts), warnings)


def unreadable(claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> list[str]:
    """Controls that failed where a claim rests on them: an encoder that does not help at all cannot
    tell whether a stronger one helps more.
    """
    resting = {claim.name: claim.control for claim in claims if claim.control}
    found = {}
    for verdict in verdicts:
        if verdict.claim not in resting or not verdict.tested:
            continue
        place = (resting[verdict.claim], verdict.data, verdict.measure)
        control = next((v for v in verdicts if (v.claim, v.data, v.measure) == place), None)
        if control is None or control.here != SUPPORTED:
            word = "not tested" if control is None else control.here or control.word
            found[place] = (
                f"Comparisons of encoders cannot be read on {verdict.data} "
                f"by {facts_of(verdict.metric).label}, as that REPA beats vanilla flow matching is "
                f"{word} there."
            )
    return list(found.values())


def _entry(verdict: Verdict) -> VerdictEntry:
    images = "" if verdict.images is None else f"{verdict.images:,} images"
    sides = filter(None, (", ".join(verdict.left), ", ".join(verdict.right)))
    where = filter(None, (verdict.data, "size " + ", ".join(verdict.sizes), images))
    facts = {
        "in full": verdict.reason,
        "source": "; ".join(dict.fromkeys([verdict.source, *(one.source for one in verdict.also)])),
        "compared": " against ".join(sides),
        "where": ", ".join(where),
        "measured by": f"{verdict.metric}, protocol {verdict.protocol_id}",
        "interval": f"from {verdict.lenders}, {number(verdict.df)} degrees of freedom",
        "p, Holm's p": f"{number(verdict.p, 2)}, {number(verdict.p_holm, 2)}",
        "out of range": verdict.outside,
        "known elsewhere": verdict.elsewhere,
        "notes": "; ".join(verdict.notes),
    }
    return VerdictEntry(
        word=verdict.here,
        holm=verdict.holm_word,
        outside=verdict.word == OUTSIDE,
        sentences=[
            (verdict.here, verdict.sentence),
            *((one.word, one.sentence) for one in verdict.also),
        ],
        by=facts_of(verdict.metric).label if verdict.measure == "loss" else "",
        reason=verdict.reason,
        short=f"{_numbers(verdict)} After Holm's adjustment: {verdict.holm_word}",
        facts=[(name, value) for name, value in facts.items() if value],
    )


def _numbers(verdict: Verdict) -> str:
    """What was compared, where, and what came out: the line of a card."""
    left = arms_in_words(verdict.left)
    who = f"{left} against {arms_in_words(verdict.right)}" if verdict.right else "along the ladder"
    at, low, high = (
        math.nan if x is None else x for x in (verdict.effect, verdict.low, verdict.high)
    )
    where = f"{who}, {', '.join(verdict.sizes)}, {facts_of(verdict.metric).label}"
    if verdict.parts:
        where = f"the least of {len(verdict.parts)} parts, {verdict.weakest}: {where}"
    seeds = f"{verdict.seeds} seed{'s' * (verdict.seeds != 1)}"
    return f"{where}: {interval_text(at, low, high, verdict.unit)}, {seeds}."


def verdict_counts(verdicts: Sequence[Verdict]) -> str:
    """How many claims were tested, for the head of the verdicts."""
    tested = [verdict for verdict in verdicts if verdict.tested]
    kept = sum(verdict.here != INCONCLUSIVE for verdict in tested)
    after = sum(verdict.holm_word != INCONCLUSIVE for verdict in tested)
    data = sorted({verdict.data for verdict in verdicts} - {""})
    on = f" on {len(data)} data sets ({', '.join(data)})" if len(data) > 1 else ""
    also = {one.claim for verdict in tested for one in verdict.also}
    every = {verdict.claim for verdict in verdicts} | also
    return (
        f"{len({one.claim for one in tested} | also)} of {len(every)} "
        f"claims could be tested{on}, in {len(tested)} test{'s' * (len(tested) != 1)}; "
        f"{kept} came out other than inconclusive, "
        f"{after} of them also after Holm's adjustment for the number of tests. "
        "In brackets: 95 % intervals. A verdict is on the sentence at this scale."
    )
