"""What a verdict holds, and the rule by which an outcome becomes a word.

    word, why = decide(outcome, claim.sign)

The interval decides, from three seeds on. Noise floors inform: an effect that nobody would see who
trains once is still an effect, and an interval that excludes zero says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.findings.outcomes import Outcome
from reports.findings.sentences import power_text, reference_text, steps_text
from reports.study.contrasts import LEAST_DF, LEAST_SEEDS, OVER, UNPAIRED

SUPPORTED, CONTRADICTED, INCONCLUSIVE = "supported", "contradicted", "inconclusive"
NOT_MONOTONE = "not monotone"
OUTSIDE, NOT_TESTED = "outside the claim's range", "not tested"
LEVEL = 0.05


@dataclass(frozen=True)
class Also:
    """A further sentence of the same test: a claim by whose measure the encoders have one order."""

    claim: str
    sentence: str
    source: str
    word: str
    outside: str


@dataclass(frozen=True)
class Verdict:
    """What a page says about one claim on one data set.

    word: supported, contradicted, not monotone, inconclusive, "outside the claim's range" or "not
    tested"; here: what the rules make of these runs in or out of range (one of the first four, ""
    when not tested); holm_word: `here` after Holm's adjustment. measure: the claim's, or "loss"
    where the held-out loss decides the same sentence. effect, low, high and the floors are in
    `unit` ("log distance": -0.05 reads 5 % lower; "log images"; "accuracy": 0..1), None when not
    tested; run_floor: deviation of one run, seed_floor: of one seed's contrast, for information.
    seeds: shared by the compared arms; takes: seeds that would show the effect that was seen, 0
    where 1,000 would not, None where no error is known; lenders: whose deviation the interval is
    of, in words; also: further sentences of the same test; parts: of a claim on several data sets,
    the verdicts on each, of which `weakest` is the one whose numbers these are.
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
    measure: str = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    run_floor: float | None = None
    seed_floor: float | None = None
    unit: str = ""
    df: float | None = None
    seeds: int | None = None
    takes: int | None = None
    lenders: str = ""
    p: float | None = None
    p_holm: float | None = None
    data: str = ""
    metric: str = ""
    protocol_id: str = ""
    images: int | None = None
    sizes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    also: tuple[Also, ...] = ()
    parts: tuple[Verdict, ...] = ()
    weakest: str = ""

    @property
    def tested(self) -> bool:
        """Whether a statistic was computed."""
        return self.p is not None


def decide(outcome: Outcome, sign: int) -> tuple[str, str]:
    """(supported, contradicted, not monotone or inconclusive; why). sign: +1 when the claim says
    that the effect is positive.
    """
    estimate = outcome.estimate
    if estimate.seeds < LEAST_SEEDS:
        have = f"{estimate.seeds} seed{'s' * (estimate.seeds != 1)}"
        who = "an arm has" if estimate.design == UNPAIRED else "the compared arms share"
        return INCONCLUSIVE, f"{who} {have} where {LEAST_SEEDS} are needed"
    if estimate.design != OVER and estimate.df < LEAST_DF:
        # every seed adds as many as there are arms to tell it from, one fewer where seeds are pairs
        arms = max(1, len(estimate.lenders) - (estimate.design != UNPAIRED))
        return (
            INCONCLUSIVE,
            f"the deviation has {estimate.df:.2g} degrees of freedom where {LEAST_DF} are needed, "
            f"as these arms have with {1 + math.ceil(LEAST_DF / arms)} seeds",
        )
    rises, falls = turns(outcome)
    if max(rises, falls) < LEVEL:
        return NOT_MONOTONE, f"it rises at one step and falls at another ({steps_text(outcome)})"
    limit = reference_text(outcome)
    if outcome.low <= outcome.reference <= outcome.high:
        could = power_text(outcome)
        return INCONCLUSIVE, f"the interval contains {limit}" + (f"; {could}" if could else "")
    word = SUPPORTED if sign * outcome.distance > 0 else CONTRADICTED
    return word, f"the interval excludes {limit}"


def turns(outcome: Outcome) -> tuple[float, float]:
    """Adjusted p of the surest step up and of the surest step down, 1 where there is none: both are
    needed for a ladder to be not monotone.
    """
    rises = [step.p_holm for step in outcome.steps if step.effect > 0]
    falls = [step.p_holm for step in outcome.steps if step.effect < 0]
    return min(rises, default=1.0), min(falls, default=1.0)
