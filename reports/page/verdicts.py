"""Verdicts as a page shows them: the word, the sentence, a line of numbers, and the rest behind a
click.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.draw.axes import number
from reports.draw.content import Untested, VerdictEntry
from reports.findings.claims import load_claims
from reports.findings.verdicts import INCONCLUSIVE, OUTSIDE, Verdict, judge_claims
from reports.study.runs import StudyResults
from reports.study.strengths import encoder_parameters


def verdict_entries(
    study: StudyResults, kind: str
) -> tuple[list[VerdictEntry], list[Untested], str]:
    """Tested claims, in range and decided first; the others and why; how many there are of each.

    The adjustment for the number of claims is over those of the page.
    """
    claims = [claim for claim in load_claims() if kind == "all" or kind in claim.pages]
    if not len(study.rows) or not claims:
        return [], [], ""
    verdicts = judge_claims(claims, study.rows, encoder_parameters(study.runs.values()))
    tested = sorted(
        (one for one in verdicts if one.tested),
        key=lambda one: (one.word == OUTSIDE, one.here == INCONCLUSIVE),
    )
    reasons: dict[str, list[str]] = {}
    for one in verdicts:
        if not one.tested:
            reasons.setdefault(one.sentence, []).append(one.reason)
    untested = [Untested(sentence, " ".join(why)) for sentence, why in reasons.items()]
    return [_entry(one) for one in tested], untested, verdict_counts(verdicts)


def _entry(verdict: Verdict) -> VerdictEntry:
    images = "" if verdict.images is None else f"{verdict.images:,} images"
    sides = filter(None, (", ".join(verdict.left), ", ".join(verdict.right)))
    where = filter(None, (verdict.data, "size " + ", ".join(verdict.sizes), images))
    freedom = f"{number(verdict.df)} of the interval, {verdict.pooled_df} of the noise floor"
    facts = {
        "source": verdict.source,
        "compared": " against ".join(sides),
        "where": ", ".join(where),
        "measured by": f"{verdict.metric}, protocol {verdict.protocol_id}",
        "degrees of freedom": freedom,
        "p, Holm's p": f"{number(verdict.p, 2)}, {number(verdict.p_holm, 2)}",
        "out of range": verdict.outside,
        "known elsewhere": verdict.elsewhere,
        "notes": "; ".join(verdict.notes),
    }
    return VerdictEntry(
        word=verdict.here,
        holm=verdict.holm_word,
        outside=verdict.word == OUTSIDE,
        sentence=verdict.sentence,
        reason=verdict.reason,
        short=f"{verdict.reason} Holm: {verdict.holm_word}",
        facts=[(name, value) for name, value in facts.items() if value],
    )


def verdict_counts(verdicts: Sequence[Verdict]) -> str:
    """How many claims were tested, for the head of the verdicts."""
    tested = [verdict for verdict in verdicts if verdict.tested]
    kept = sum(verdict.here != INCONCLUSIVE for verdict in tested)
    after = sum(verdict.holm_word != INCONCLUSIVE for verdict in tested)
    data = sorted({verdict.data for verdict in verdicts} - {""})
    on = (
        f" on {len(data)} data sets ({', '.join(data)}), {len(tested)} times in all"
        if len(data) > 1
        else ""
    )
    return (
        f"{len({one.claim for one in tested})} of {len({one.claim for one in verdicts})} "
        f"claims could be tested{on}; "
        f"{kept} came out other than inconclusive, "
        f"{after} of them also after Holm's adjustment for the number tested. "
        "In brackets: 95 % intervals. A verdict is on the sentence at this scale."
    )
