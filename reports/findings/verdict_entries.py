"""Verdicts as a page shows them: the word, the sentence, a line of numbers,
and everything else behind a click.
"""

from __future__ import annotations

from typing import Any

from reports.draw.axes import number
from reports.findings.claims import load_claims
from reports.findings.verdicts import INCONCLUSIVE, OUTSIDE, Verdict, evaluate, summary
from reports.study.runs import Study
from reports.study.strengths import encoder_parameters


def verdict_entries(study: Study, kind: str) -> dict[str, Any]:
    """{"verdicts": tested claims, in range and decided first; "untested": the others and why;
    "verdicts_note"}.

    The adjustment for the number of claims is over those of the page.
    """
    claims = [claim for claim in load_claims() if kind == "all" or kind in claim.pages]
    if not len(study.rows) or not claims:
        return {"verdicts": [], "untested": [], "verdicts_note": ""}
    verdicts = evaluate(claims, study.rows, encoder_parameters(study.runs.values()))
    tested = sorted(
        (one for one in verdicts if one.tested),
        key=lambda one: (one.word == OUTSIDE, one.here == INCONCLUSIVE),
    )
    reasons: dict[str, list[str]] = {}
    for one in verdicts:
        if not one.tested:
            reasons.setdefault(one.sentence, []).append(one.reason)
    untested = [{"sentence": claim, "reason": " ".join(given)} for claim, given in reasons.items()]
    return {
        "verdicts": [_entry(one) for one in tested],
        "untested": untested,
        "verdicts_note": summary(verdicts),
    }


def _entry(verdict: Verdict) -> dict[str, Any]:
    images = "" if verdict.images is None else f"{verdict.images:,} images"
    facts = [
        ("source", verdict.source),
        (
            "compared",
            " against ".join(filter(None, (", ".join(verdict.left), ", ".join(verdict.right)))),
        ),
        (
            "where",
            ", ".join(filter(None, (verdict.data, "size " + ", ".join(verdict.sizes), images))),
        ),
        ("measured by", f"{verdict.metric}, protocol {verdict.protocol_id}"),
        (
            "degrees of freedom",
            f"{number(verdict.df)} of the interval, {verdict.pooled_df} of the noise floor",
        ),
        ("p, Holm's p", f"{number(verdict.p, 2)}, {number(verdict.p_holm, 2)}"),
        ("out of range", verdict.outside),
        ("known elsewhere", verdict.elsewhere),
        ("notes", "; ".join(verdict.notes)),
    ]
    facts = [[name, value] for name, value in facts if value]
    short = f"{verdict.reason} Holm: {verdict.holm_word}"
    text = {"sentence": verdict.sentence, "short": short, "reason": verdict.reason, "facts": facts}
    return text | {
        "word": verdict.here,
        "holm": verdict.holm_word,
        "outside": verdict.word == OUTSIDE,
    }
