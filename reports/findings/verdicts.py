"""Verdicts: what the runs of a study say about published findings (the
rules are in docs/verdicts.md).

    verdicts = evaluate(load_claims(), rows)      # rows: bench.core.store.rows.load, the study's runs only
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
from reports.findings.outcomes import Outcome, Properties, Untestable
from reports.findings.statistics import STATISTICS
from reports.findings.verdict_text import sentence
from reports.study.comparable import Table, comparable
from reports.study.contrasts import LEAST_DF, LEAST_SEEDS
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


def evaluate(
    claims: Sequence[Claim], rows: pd.DataFrame, encoder_parameters: Strengths | None = None
) -> list[Verdict]:
    """One verdict a claim and data set, in the order of the claims.

    rows: of one study (`bench.core.store.rows.load`); encoder_parameters: of
    `reports.study.strengths`, for the claims that order encoders by size. Never raises for what the
    runs lack: the verdict is then "not tested", with the reason.
    """
    strengths = encoder_strengths(rows) | {"encoder_parameters": encoder_parameters or {}}
    cache: dict[tuple, list[Table]] = {}
    out = []
    for claim in claims:
        key = (claim.measure, claim.blocks)
        if key not in cache:
            cache[key] = comparable(rows, *key)
        for data in sorted({table.data for table in cache[key]}) or [""]:
            own = {order: of_data.get(data, {}) for order, of_data in strengths.items()}
            out.append(_verdict(claim, [table for table in cache[key] if table.data == data], own))
    return holm(out)


def _verdict(claim: Claim, tables: Sequence[Table], properties: Properties) -> Verdict:
    common = Verdict(
        claim.name,
        claim.sentence,
        claim.source,
        claim.pages,
        NOT_TESTED,
        "",
        elsewhere=claim.elsewhere,
    )
    measure = (
        "a Fréchet distance"
        if claim.measure == "distance"
        else f"a {claim.measure.replace('_', ' ')} by block"
    )
    reasons, found = [], []
    for table in tables:
        try:
            found.append((table, STATISTICS[claim.statistic](claim, table, properties)))
        except Untestable as error:
            reasons.append(str(error))
    data = tables[0].data if tables else ""
    not_tested = f"Not tested{data and f' on {data}'}"
    if not found:
        why = reasons[0] if reasons else f"no finished run has {measure}"
        return replace(common, reason=f"{not_tested}: {why}.", data=data)
    usable = [one for one in found if not _is_related(*one)]
    related = sorted({table.metric for table, outcome in found if _is_related(table, outcome)})
    if not usable:
        why = (
            f"{', '.join(related)} is related to an encoder of the compared arms, "
            "and nothing unrelated was measured"
        )
        return replace(common, reason=f"{not_tested}: {why}.", data=data)
    # what has its seeds first, then the largest budget, then the order of metrics; never the most
    # favourable one
    table, outcome = min(
        usable, key=lambda one: (one[1].runs < LEAST_SEEDS, -one[0].images, one[0].position)
    )
    here, why = decide(outcome, claim.sign)
    encoders = [
        table.encoders[arm] for arm in (*outcome.left, *outcome.right) if arm in table.encoders
    ]
    outside = claim.domain.outside(table.data, outcome.sizes, encoders, table.images)
    notes = [
        note
        for (arm, _), given in table.notes.items()
        if arm in (*outcome.left, *outcome.right)
        for note in given
    ]
    notes += outcome.notes
    if (longer := max(one.images for one, _ in usable)) > table.images:
        notes.append(
            f"runs of {longer:,} images are left out, "
            f"as an arm has fewer than {LEAST_SEEDS} seeds there"
        )
    if related:
        notes.append(
            f"{', '.join(related)} is left out: related to an encoder of the compared arms"
        )
    others = sorted(
        {other.protocol_id for other, _ in usable if other.metric == table.metric}
        - {table.protocol_id}
    )
    if others:
        notes.append(f"{table.metric} under other protocols ({', '.join(others)}) is not mixed in")
    return replace(
        common,
        word=OUTSIDE if outside else here,
        here=here,
        reason=sentence(claim, table, outcome, why),
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
        data=table.data,
        metric=table.metric,
        protocol_id=table.protocol_id,
        images=table.images,
        sizes=outcome.sizes,
        left=outcome.left,
        right=outcome.right,
        notes=tuple(notes),
    )


def _is_related(table: Table, outcome: Outcome) -> bool:
    return any(
        arm in (*outcome.left, *outcome.right) and size in outcome.sizes
        for arm, size in table.related
    )


def decide(outcome: Outcome, sign: int) -> tuple[str, str]:
    """(supported, contradicted or inconclusive; why). sign:
    +1 when the claim says that the effect is positive.
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
    """The verdicts with Holm's adjustment (Scandinavian Journal of Statistics 6,
    1979) over those that were tested.
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


def summary(verdicts: Sequence[Verdict]) -> str:
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
