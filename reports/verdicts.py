"""Verdicts: what the runs of a study say about published findings (the rules are in docs/verdicts.md).

    verdicts = evaluate(load_claims(), rows)      # rows: bench.core.results.load, the study's runs only
    for verdict in verdicts:
        print(verdict.word, verdict.sentence, verdict.reason)

supported or contradicted: the 95 % interval excludes zero and the effect is at least the noise floor, with three seeds
an arm and six degrees of freedom; everything else is inconclusive. Outside the data, sizes, encoders and images of the
paper no verdict on it is given: the word says so, and `here` holds what the rules make of these runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.claims import Claim
from reports.comparable import Table, comparable, encoder_properties
from reports.statistics import STATISTICS, Outcome, Properties, Untestable

if TYPE_CHECKING:
    import pandas as pd

SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
OUTSIDE, NOT_TESTED = "outside the claim's range", "not tested"
LEAST_SEEDS, LEAST_DF = 3, 6
LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    """What a page says about one claim on one data set.

    word: supported, contradicted, inconclusive, "outside the claim's range" or "not tested"; here: what the rules make
    of these runs in or out of range (one of the first three, "" when not tested); holm_word: `here` after Holm's
    adjustment.
    effect, low, high, floor are in `unit` ("log distance": -0.05 reads 5 % lower; "log images"; "accuracy": 0..1),
    None when not tested; effect_text and floor_text say them in words. df: of the interval; pooled_df: of the floor;
    seeds: of the arm that has fewest.
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
    effect_text: str = ""
    floor_text: str = ""
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
    claims: Sequence[Claim], rows: pd.DataFrame, encoder_parameters: Mapping[str, float] | None = None
) -> list[Verdict]:
    """One verdict a claim and data set, in the order of the claims.

    rows: of one study (`bench.core.results.load`); encoder_parameters: {encoder: parameters}, from cost.json, for the
    claims that order encoders by size. Never raises for what the runs lack: the verdict is then "not tested", with the
    reason.
    """
    properties = encoder_properties(rows, encoder_parameters)
    cache: dict[tuple, list[Table]] = {}
    out = []
    for claim in claims:
        key = (claim.measure, claim.blocks)
        if key not in cache:
            cache[key] = comparable(rows, *key)
        for data in sorted({table.data for table in cache[key]}) or [""]:
            out.append(_verdict(claim, [table for table in cache[key] if table.data == data], properties))
    return holm(out)


def _verdict(claim: Claim, tables: Sequence[Table], properties: Properties) -> Verdict:
    common = Verdict(claim.name, claim.sentence, claim.source, claim.pages, NOT_TESTED, "", elsewhere=claim.elsewhere)
    measure = "a Fréchet distance" if claim.measure == "distance" else f"a {claim.measure.replace('_', ' ')} by block"
    reasons, found = [], []
    for table in tables:
        try:
            found.append((table, STATISTICS[claim.statistic](claim, table, properties)))
        except Untestable as error:
            reasons.append(str(error))
    if not found:
        why = reasons[0] if reasons else f"no finished run has {measure}"
        return replace(common, reason=f"Not tested: {why}.", data=tables[0].data if tables else "")
    usable = [one for one in found if not _is_related(*one)]
    related = sorted({table.metric for table, outcome in found if _is_related(table, outcome)})
    if not usable:
        why = f"{', '.join(related)} is related to an encoder of the compared arms, and nothing unrelated was measured"
        return replace(common, reason=f"Not tested: {why}.", data=found[0][0].data)
    # the largest budget first, then the order of metrics; never the most favourable one
    table, outcome = min(usable, key=lambda one: (-one[0].images, one[0].position))
    here, why = decide(outcome, claim.sign)
    encoders = [table.encoders[arm] for arm in (*outcome.left, *outcome.right) if arm in table.encoders]
    outside = claim.domain.outside(table.data, outcome.sizes, encoders, table.images)
    notes = [
        note for (arm, _), given in table.notes.items() if arm in (*outcome.left, *outcome.right) for note in given
    ]
    if related:
        notes.append(f"{', '.join(related)} is left out: related to an encoder of the compared arms")
    others = sorted({other.protocol_id for other, _ in usable if other.metric == table.metric} - {table.protocol_id})
    if others:
        notes.append(f"{table.metric} under other protocols ({', '.join(others)}) is not mixed in")
    return replace(
        common,
        word=OUTSIDE if outside else here, here=here, reason=_reason(claim, table, outcome, why), in_domain=not outside,
        outside=outside, effect=outcome.effect, low=outcome.low, high=outcome.high, floor=outcome.floor,
        unit=outcome.unit,
        effect_text=effect_text(outcome), floor_text=size_text(outcome.floor, outcome.unit), df=outcome.df,
        pooled_df=outcome.pooled_df, seeds=outcome.runs, p=outcome.p, data=table.data, metric=table.metric,
        protocol_id=table.protocol_id, images=table.images, sizes=outcome.sizes, left=outcome.left, right=outcome.right,
        notes=tuple(notes),
    )  # fmt: skip


def _is_related(table: Table, outcome: Outcome) -> bool:
    return any(arm in (*outcome.left, *outcome.right) and size in outcome.sizes for arm, size in table.related)


def decide(outcome: Outcome, sign: int) -> tuple[str, str]:
    """(supported, contradicted or inconclusive; why). sign: +1 when the claim says that the effect is positive."""
    if outcome.runs < LEAST_SEEDS:
        return INCONCLUSIVE, f"an arm has {outcome.runs} seed{'s' * (outcome.runs != 1)} where {LEAST_SEEDS} are needed"
    if (df := min(outcome.df, outcome.pooled_df)) < LEAST_DF:
        return INCONCLUSIVE, f"the deviation has {df:.0f} degrees of freedom where {LEAST_DF} are needed"
    if outcome.low <= 0 <= outcome.high:
        return INCONCLUSIVE, "the interval contains zero"
    if abs(outcome.effect) < outcome.floor:
        return INCONCLUSIVE, "the effect is under the noise floor"
    word = SUPPORTED if sign * outcome.effect > 0 else CONTRADICTED
    return word, "the interval excludes zero and the effect is above the noise floor"


def holm(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with Holm's adjustment (Scandinavian Journal of Statistics 6, 1979) over those that were tested."""
    order = sorted((i for i, verdict in enumerate(verdicts) if verdict.tested), key=lambda i: verdicts[i].p or 0.0)
    out, running = list(verdicts), 0.0
    for position, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - position) * (verdicts[i].p or 0.0)))
        word = verdicts[i].here if running < LEVEL else INCONCLUSIVE
        out[i] = replace(verdicts[i], p_holm=running, holm_word=word)
    return out


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many claims were tested, for the foot of the verdicts."""
    tested = [verdict for verdict in verdicts if verdict.tested]
    kept = sum(verdict.here != INCONCLUSIVE for verdict in tested)
    after = sum(verdict.holm_word != INCONCLUSIVE for verdict in tested)
    return (
        f"{len(tested)} of {len(verdicts)} claims could be tested; {kept} came out other than inconclusive, "
        f"{after} of them also after Holm's adjustment for the number tested. "
        "A verdict is on the sentence at this scale."
    )


def size_text(value: float, unit: str) -> str:
    """A size without direction: "2.1 %" of a distance, "1.20 times" of images, "0.8 points" of an accuracy."""
    if not math.isfinite(value):
        return "unknown"
    if unit == "accuracy":
        return f"{100 * abs(value):.1f} points"
    if unit == "log images":
        return f"{math.exp(abs(value)):.2f} times"
    return f"{100 * math.expm1(abs(value)):.1f} %"


def _signed(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "unbounded"
    if unit == "accuracy":
        return f"{100 * value:+.1f} points"
    if unit == "log images":
        return f"x {math.exp(value):.2f}"
    return f"{100 * math.expm1(value):+.1f} %"


def effect_text(outcome: Outcome) -> str:
    """ "-7.3 % (95 % interval -12.0 % to -2.1 %)" """
    low, high = _signed(outcome.low, outcome.unit), _signed(outcome.high, outcome.unit)
    return f"{_signed(outcome.effect, outcome.unit)} (95 % interval {low} to {high})"


def _df_text(df: float) -> str:
    return f"{df:.3g}" if df < 1000 else "over 1,000"


_WHAT = {
    "difference": "{left} against {right} at size {size}",
    "equal_flops": "{left} against {right} at size {size} and equal FLOPs",
    "speed_up": "images that {left} needs against {right} at size {size} to the worst final quality of their runs",
    "next_size": "{left} against {right} one size larger, mean over neighbouring sizes of {sizes}",
    "gap_trend": "change of the difference of {left} and {right} from size {first} to {size}",
    "level_trend": "change from {first_arm} to {last_arm} along the order {left} at size {size}",
    "worst": "{left} against the nearest of {right} at size {size}",
}


def _reason(claim: Claim, table: Table, outcome: Outcome, why: str) -> str:
    what = _WHAT[claim.statistic].format(
        left=", ".join(outcome.left), right=", ".join(outcome.right), size=outcome.sizes[-1], first=outcome.sizes[0],
        sizes=", ".join(outcome.sizes), first_arm=outcome.left[0], last_arm=outcome.left[-1],
    )  # fmt: skip
    return (
        f"{table.metric}, {what}: {effect_text(outcome)}, noise floor {size_text(outcome.floor, outcome.unit)}, "
        f"{outcome.runs} seeds, {_df_text(outcome.df)} degrees of freedom: {why}."
    )
