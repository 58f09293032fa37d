"""Verdicts as a page shows them: the word, the sentence, a line of numbers, and everything else behind a click."""

from __future__ import annotations

from typing import Any

from reports.axes import number
from reports.claims import load_claims
from reports.runs import Study, mapping
from reports.verdicts import INCONCLUSIVE, OUTSIDE, Verdict, evaluate, summary


def verdict_entries(study: Study, kind: str) -> dict[str, Any]:
    """{"verdicts": tested claims, in range and decided first; "untested": the others and why; "verdicts_note"}.

    The adjustment for the number of claims is over those of the page.
    """
    claims = [claim for claim in load_claims() if kind == "all" or kind in claim.pages]
    if not len(study.rows) or not claims:
        return {"verdicts": [], "untested": [], "verdicts_note": ""}
    verdicts = evaluate(claims, study.rows, _encoder_parameters(study))
    tested = sorted(
        (one for one in verdicts if one.tested), key=lambda one: (one.word == OUTSIDE, one.here == INCONCLUSIVE)
    )
    untested = [{"sentence": one.sentence, "reason": one.reason} for one in verdicts if not one.tested]
    return {"verdicts": [_entry(one) for one in tested], "untested": untested, "verdicts_note": summary(verdicts)}


def _encoder_parameters(study: Study) -> dict[str, float]:
    found = {}
    for run in study.runs.values():
        parameters = mapping(run.cost.get("parameters")).get("encoder")
        if run.description.get("encoder") and isinstance(parameters, int | float):
            found[str(run.description["encoder"])] = float(parameters)
    return found


def _entry(verdict: Verdict) -> dict[str, Any]:
    short = f"{verdict.effect_text}, noise floor {verdict.floor_text}, {verdict.seeds} seeds"
    short += f" · Holm: {verdict.holm_word}"
    images = "" if verdict.images is None else f"{verdict.images:,} images"
    facts = [
        ("source", verdict.source),
        ("compared", " against ".join(filter(None, (", ".join(verdict.left), ", ".join(verdict.right))))),
        ("where", ", ".join(filter(None, (verdict.data, "size " + ", ".join(verdict.sizes), images)))),
        ("measured by", f"{verdict.metric}, protocol {verdict.protocol_id}"),
        ("degrees of freedom", f"{number(verdict.df)} of the interval, {verdict.pooled_df} of the noise floor"),
        ("p, Holm's p", f"{number(verdict.p, 2)}, {number(verdict.p_holm, 2)}"),
        ("out of range", verdict.outside),
        ("known elsewhere", verdict.elsewhere),
        ("notes", "; ".join(verdict.notes)),
    ]
    facts = [[name, value] for name, value in facts if value]
    text = {"sentence": verdict.sentence, "short": short, "reason": verdict.reason, "facts": facts}
    return text | {"word": verdict.here, "holm": verdict.holm_word, "outside": verdict.word == OUTSIDE}
