"""Verdicts of one page beside each other: sentences that one test speaks of, and Holm's adjustment
for the number of tests.

    verdicts = adjusted(one_test_an_order(verdicts, claims, strengths))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reports.findings.claims import Claim
from reports.findings.decisions import (
    CONTRADICTED,
    INCONCLUSIVE,
    LEVEL,
    SUPPORTED,
    Also,
    Verdict,
)
from reports.findings.ladder import ORDER_NAMES, same_order
from reports.study.contrasts import holm
from reports.study.strengths import Strengths


def one_test_an_order(
    verdicts: Sequence[Verdict], claims: Mapping[str, Claim], strengths: Mapping[str, Strengths]
) -> list[Verdict]:
    """Verdicts on encoders in the same order, or the reverse, become the first of them, which says
    the others' sentences as well: these runs cannot tell the properties apart, and one test counts
    once.
    """
    out: list[Verdict] = []
    for verdict in verdicts:
        order = claims[verdict.claim].order
        place = _of_first(verdict, out, claims, strengths) if order and verdict.tested else None
        if place is None:
            out.append(verdict)
            continue
        first, turned = place
        word = out[first].here
        if word in (SUPPORTED, CONTRADICTED):
            effect = turned * (out[first].effect or 0.0)
            word = SUPPORTED if claims[verdict.claim].sign * effect > 0 else CONTRADICTED
        also = Also(verdict.claim, verdict.sentence, verdict.source, word, verdict.outside)
        name = ORDER_NAMES[claims[out[first].claim].order]
        note = (
            f"the order by {name} is also that by {ORDER_NAMES[order]}"
            f"{' from high to low' * (turned < 0)}: one test, counted once"
        )
        out[first] = replace(
            out[first], also=(*out[first].also, also), notes=(*out[first].notes, note)
        )
    return out


def _of_first(
    verdict: Verdict,
    before: Sequence[Verdict],
    claims: Mapping[str, Claim],
    strengths: Mapping[str, Strengths],
) -> tuple[int, int] | None:
    """Place of the verdict before whose order of the same arms is this one's, and its direction."""
    known = {order: of_data.get(verdict.data, {}) for order, of_data in strengths.items()}
    for place, other in enumerate(before):
        if other.tested and _test_of(other) == _test_of(verdict):
            orders = claims[other.claim].order, claims[verdict.claim].order
            turned = same_order(*orders, known, verdict.encoders) if all(orders) else 0
            if turned:
                return place, turned
    return None


def _test_of(verdict: Verdict) -> tuple[object, ...]:
    """What two verdicts on the same numbers agree in."""
    group = (verdict.data, verdict.measure, verdict.protocol_id, verdict.images)
    return *group, verdict.sizes, frozenset(verdict.left), verdict.right


def adjusted(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with Holm's adjustment over those that were tested."""
    tested = [i for i, verdict in enumerate(verdicts) if verdict.tested]
    out = list(verdicts)
    for i, p in zip(tested, holm([verdicts[i].p or 0.0 for i in tested]), strict=True):
        word = verdicts[i].here if p < LEVEL else INCONCLUSIVE
        out[i] = replace(verdicts[i], p_holm=p, holm_word=word)
    return out
