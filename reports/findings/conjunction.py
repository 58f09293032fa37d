"""Claims that say something of several data sets at once: "improves every modality at every
weighting". The verdict is an intersection-union test of the verdicts on each.

    p = max over parts of the p of each in the claim's direction          supported: all parts are
    p = k min over parts of the p of each in the other direction          contradicted: one is

That all parts hold is said at 5 % where each is said at 5 %, without any adjustment (Berger,
Technometrics 24, 1982): it is wrong only where the weakest part is. That one fails may be wrong in
any of the k parts, so those p are multiplied by k (Bonferroni). Everything else is inconclusive,
and names the parts that are not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.findings.claims import Claim, match
from reports.findings.decisions import (
    CONTRADICTED,
    INCONCLUSIVE,
    LEVEL,
    NOT_TESTED,
    OUTSIDE,
    SUPPORTED,
    Verdict,
)
from reports.findings.sentences import interval_text, joined

LEAST_PARTS = 2
OPEN_NAMED = 4  # parts that are not told, of which each is named


def is_part(claim: Claim, data: str) -> bool:
    """Whether a claim on several data sets is about this one."""
    return any(match(pattern, [data]) for pattern in claim.every)


def conjunction(claim: Claim, parts: Sequence[Verdict]) -> Verdict:
    """The verdict on all parts from that on each; effect, interval and metric are those of the
    part that supports the claim least. parts: at least one.

    Not tested where there are fewer than two, or where a part could not be tested and none
    contradicts the claim.
    """
    tested = [part for part in parts if part.tested]
    lacking = [part for part in parts if not part.tested]
    whole = " + ".join(sorted({part.data.partition("/")[0] for part in parts}))
    if len(tested) < LEAST_PARTS:
        why = lacking[0].reason if lacking else "it is about several kinds of data"
        return replace(
            parts[0],
            word=NOT_TESTED,
            here="",
            p=None,
            data=whole,
            reason=f"Not tested on all of {whole}: {why}",
        )
    for_it = {part.data: _p(part, claim.sign) for part in tested}
    against = {part.data: min(1.0, len(parts) * _p(part, -claim.sign)) for part in tested}
    refuting = [part for part in tested if part.here == CONTRADICTED and against[part.data] < LEVEL]
    weakest = max(tested, key=lambda part: (for_it[part.data], -claim.sign * (part.effect or 0)))
    if refuting:
        weakest = min(refuting, key=lambda part: against[part.data])
        here, p = CONTRADICTED, against[weakest.data]
    elif lacking:
        names = joined([part.data for part in lacking])
        return replace(
            lacking[0],
            data=whole,
            reason=f"Not tested on all of {whole}: {names} could not be. {lacking[0].reason}",
        )
    else:
        p = max(for_it.values())
        here = SUPPORTED if all(part.here == SUPPORTED for part in tested) else INCONCLUSIVE
    outside = "; ".join(dict.fromkeys(part.outside for part in tested if part.outside))
    return replace(
        weakest,
        word=OUTSIDE if outside else here,
        here=here,
        in_domain=not outside,
        outside=outside,
        data=whole,
        p=p,
        parts=tuple(tested),
        weakest=weakest.data,
        reason=f"{_summary(here, tested, refuting, weakest)} The least of them: {weakest.reason}",
        notes=tuple(f"{part.data}: {_found(part)}" for part in tested),
        takes=max((part.takes or 0 for part in tested), default=None),
    )


def _p(part: Verdict, sign: int) -> float:
    """p of a part in a direction, 1 where the effect points the other way: two-sided, as its own
    verdict is, so that the conjunction is never surer than its parts.
    """
    assert part.p is not None and part.effect is not None
    return part.p if sign * part.effect > 0 else 1.0


def _summary(
    here: str, tested: Sequence[Verdict], refuting: Sequence[Verdict], weakest: Verdict
) -> str:
    """How many parts hold, and which do not."""
    held = [part for part in tested if part.here == SUPPORTED]
    if here == SUPPORTED:
        return f"All {len(tested)} parts hold by themselves."
    if here == CONTRADICTED:
        return f"It is the other way on {joined([part.data for part in refuting])}."
    open_ones = [part for part in tested if part not in held]
    order = sorted(open_ones, key=lambda part: part.data != weakest.data)
    names = [part.data for part in order]
    if len(names) > OPEN_NAMED:
        names = [*names[: OPEN_NAMED - 1], f"{len(names) - OPEN_NAMED + 1} more"]
    return f"{len(held)} of {len(tested)} parts hold by themselves; not told: {joined(names)}."


def _found(part: Verdict) -> str:
    """What came out of a part, in a few words."""
    assert part.effect is not None and part.low is not None and part.high is not None
    return (
        f"{part.here}, {part.metric} {interval_text(part.effect, part.low, part.high, part.unit)}"
    )
