"""Verdicts: what the runs of a study say about published findings (the rules: docs/verdicts.md).

    verdicts = judge_claims(load_claims(), study.rows)      # rows of one study only
    for verdict in verdicts:
        print(verdict.word, verdict.sentence, verdict.reason)

supported or contradicted: the 95 % interval excludes zero and the effect is at least the noise
floor, with three seeds an arm and six degrees of freedom; everything else is inconclusive. Outside
the data, sizes, encoders and images of the paper no verdict on it is given: the word says so, and
`here` holds what the rules make of these runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.findings.claims import Claim
from reports.findings.outcomes import Outcome, Properties, Untestable, outcome_text
from reports.findings.statistics import STATISTICS
from reports.study.cells import Comparable, comparable
from reports.study.contrasts import LEAST_DF, LEAST_SEEDS
from reports.study.groups import Group
from reports.study.strengths import Strengths, encoder_strengths

if TYPE_CHECKING:
    import pandas as pd

SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
OUTSIDE, NOT_TESTED = "outside the claim's range", "not tested"
LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    """What a page says about one claim on one data set.

    word: supported, contradicted, inconclusive, "outside the claim's range" or "not tested"; here:
    what the rules make of these runs in or out of range (one of the first three, "" when not
    tested); holm_word: `here` after Holm's adjustment. effect, low, high, floor are in `unit` ("log
    distance": -0.05 reads 5 % lower; "log images"; "accuracy": 0..1), None when not tested. df: of
    the interval; pooled_df: of the floor; seeds: of the arm that has fewest.
    """

    claim: str
    sentence: str
    source: str
    pages: tuple[str, ...]
    word: str
    reason: str
    here: str = ""
    holm_word: str = ""
    in_domain: bool = False
    outside: str = ""
    elsewhere: str = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    unit: str = ""
    df: float | None = None
    pooled_df: int | None = None
    seeds: int | None = None
    p: float | None = None
    p_holm: float | None = None
    data: str = ""
    metric: str = ""
    protocol_id: str = ""
    images: int | None = None
    sizes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tested(self) -> bool:
        """Whether a statistic was computed."""
        return self.p is not None


def judge_claims(
    claims: Sequence[Claim], rows: pd.DataFrame, encoder_parameters: Strengths | None = None
) -> list[Verdict]:
    """One verdict a claim and data set, in the order of the claims.

    rows: of one study (`bench.core.store.runs.row_table`); encoder_parameters: of
    `reports.study.strengths`, for the claims that order encoders by size. Never raises for what the
    runs lack: the verdict is then "not tested", with the reason.
    """
    strengths = encoder_strengths(rows) | {"encoder_parameters": encoder_parameters or {}}
    cache: dict[tuple[str, tuple[float, float]], list[Comparable]] = {}
    out = []
    for claim in claims:
        key = (claim.measure, claim.blocks)
        if key not in cache:
            cache[key] = comparable(rows, *key)
        for data in sorted({runs.group.data for runs in cache[key]}) or [""]:
            own = {order: of_data.get(data, {}) for order, of_data in strengths.items()}
            of_data = [runs for runs in cache[key] if runs.group.data == data]
            out.append(_verdict(claim, data, of_data, own))
    return holm(out)


def _verdict(
    claim: Claim, data: str, groups: Sequence[Comparable], properties: Properties
) -> Verdict:
    common = Verdict(
        claim.name,
        claim.sentence,
        claim.source,
        claim.pages,
        NOT_TESTED,
        "",
        elsewhere=claim.elsewhere,
        data=data,
    )

    # each group by itself: its outcome, or what it lacks
    reasons: list[str] = []
    found: list[tuple[Comparable, Outcome]] = []
    for runs in groups:
        try:
            found.append((runs, STATISTICS[claim.statistic](claim, runs, properties)))
        except Untestable as error:
            reasons.append(str(error))
    not_tested = f"Not tested{data and f' on {data}'}"
    if not found:
        why = reasons[0] if reasons else f"no finished run has {_measure_text(claim)}"
        return replace(common, reason=f"{not_tested}: {why}.")
    usable = [one for one in found if not _is_related(*one)]
    related = sorted({runs.group.metric for runs, outcome in found if _is_related(runs, outcome)})
    if not usable:
        why = (
            f"{', '.join(related)} is related to an encoder of the compared arms, "
            "and nothing unrelated was measured"
        )
        return replace(common, reason=f"{not_tested}: {why}.")

    # one of them decides: what has its seeds first, then the largest budget, then the order of
    # metrics; never the most favourable one
    runs, outcome = min(
        usable,
        key=lambda one: (
            one[1].runs < LEAST_SEEDS,
            -one[0].group.images_total,
            one[0].group.facts.position,
        ),
    )
    group, arms = runs.group, (*outcome.left, *outcome.right)
    here, why = decide(outcome, claim.sign)
    encoders = [runs.encoders[arm] for arm in arms if arm in runs.encoders]
    outside = claim.domain.outside(group.data, outcome.sizes, encoders, group.images_total)
    return replace(
        common,
        word=OUTSIDE if outside else here,
        here=here,
        reason=outcome_text(claim, runs, outcome, why),
        in_domain=not outside,
        outside=outside,
        effect=outcome.effect,
        low=outcome.low,
        high=outcome.high,
        floor=outcome.floor,
        unit=outcome.unit,
        df=outcome.df,
        pooled_df=outcome.pooled_df,
        seeds=outcome.runs,
        p=outcome.p,
        metric=group.metric,
        protocol_id=group.protocol_id,
        images=group.images_total,
        sizes=outcome.sizes,
        left=outcome.left,
        right=outcome.right,
        notes=tuple(_notes(runs, outcome, [one.group for one, _ in usable], related)),
    )


def _notes(
    runs: Comparable, outcome: Outcome, usable: Sequence[Group], related: Sequence[str]
) -> list[str]:
    """What was left out: of the runs that decide, and of the other groups."""
    group, arms = runs.group, (*outcome.left, *outcome.right)
    notes = [note for (arm, _), of_arm in runs.notes.items() if arm in arms for note in of_arm]
    notes += outcome.notes
    if (longer := max(one.images_total for one in usable)) > group.images_total:
        notes.append(
            f"runs of {longer:,} images are left out, "
            f"as an arm has fewer than {LEAST_SEEDS} seeds there"
        )
    if related:
        notes.append(
            f"{', '.join(related)} is left out: related to an encoder of the compared arms"
        )
    protocols = {one.protocol_id for one in usable if one.metric == group.metric}
    if others := sorted(protocols - {group.protocol_id}):
        notes.append(f"{group.metric} under other protocols ({', '.join(others)}) is not mixed in")
    return notes


def _measure_text(claim: Claim) -> str:
    if claim.measure == "distance":
        return "a Fréchet distance"
    return f"a {claim.measure.replace('_', ' ')} by block"


def _is_related(runs: Comparable, outcome: Outcome) -> bool:
    return any(
        arm in (*outcome.left, *outcome.right) and size in outcome.sizes
        for arm, size in runs.related
    )


def decide(outcome: Outcome, sign: int) -> tuple[str, str]:
    """(supported, contradicted or inconclusive; why). sign: +1 when the claim says that the effect
    is positive.
    """
    if outcome.runs < LEAST_SEEDS:
        return (
            INCONCLUSIVE,
            f"an arm has {outcome.runs} seed{'s' * (outcome.runs != 1)} where "
            f"{LEAST_SEEDS} are needed",
        )
    if (df := min(outcome.df, outcome.pooled_df)) < LEAST_DF:
        return (
            INCONCLUSIVE,
            f"the deviation has {df:.0f} degrees of freedom where {LEAST_DF} are needed",
        )
    if outcome.low <= 0 <= outcome.high:
        return INCONCLUSIVE, "the interval contains zero"
    if abs(outcome.effect) < outcome.floor:
        return INCONCLUSIVE, "the effect is under the noise floor"
    word = SUPPORTED if sign * outcome.effect > 0 else CONTRADICTED
    return word, "the interval excludes zero and the effect is above the noise floor"


def holm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with Holm's adjustment (Scandinavian Journal of Statistics 6, 1979) over those
    that were tested.
    """
    order = sorted(
        (i for i, verdict in enumerate(verdicts) if verdict.tested),
        key=lambda i: verdicts[i].p or 0.0,
    )
    out, running = list(verdicts), 0.0
    for position, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - position) * (verdicts[i].p or 0.0)))
        word = verdicts[i].here if running < LEVEL else INCONCLUSIVE
        out[i] = replace(verdicts[i], p_holm=running, holm_word=word)
    return out
