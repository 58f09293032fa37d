"""Verdicts in words: an effect with its interval, and the one sentence that a verdict rests on.

fd_pixels, selfflow against repa/local_m, tiny, digits: -5.7 % (-12.4 % to +1.5 %), floor 5.3 %, 5
seeds, 24 df: the interval contains zero.
"""

from __future__ import annotations

import math

from reports.findings.claims import Claim
from reports.findings.outcomes import Outcome
from reports.study.comparable import Table

_WHAT = {
    "difference": "{left} against {right}, {size}",
    "equal_flops": "{left} against {right} at equal FLOPs, {size}",
    "speed_up": (
        "images that {left} needs against {right} to the worst final quality of their runs, {size}"
    ),
    "next_size": "{left} against {right} one size larger, mean of {detail}",
    "gap_trend": "change of {left} against {right} from {first} to {size}",
    "level_trend": "change along {levels}, {size}",
    "worst": "{left} against {detail}, the nearest of {rivals} rivals, {size}",
}


def sentence(claim: Claim, table: Table, outcome: Outcome, why: str) -> str:
    """What was compared, where, what came out, what it rests on,
    and why the verdict is what it is.
    """
    what = _WHAT[claim.statistic].format(
        left=", ".join(outcome.left),
        right=", ".join(outcome.right),
        size=outcome.sizes[-1],
        first=outcome.sizes[0],
        levels=" → ".join(outcome.left),
        rivals=len(outcome.right),
        detail=outcome.detail,
    )
    floor = _size_text(outcome.floor, outcome.unit)
    return (
        f"{table.metric}, {what}, {table.data}: {_effect_text(outcome)}, floor {floor}, "
        f"{outcome.runs} seed{'s' * (outcome.runs != 1)}, {_df_text(outcome.df)} df: {why}."
    )


def _effect_text(outcome: Outcome) -> str:
    """ "-7.3 % (-12.0 % to -2.1 %)" """
    low, high = _signed(outcome.low, outcome.unit), _signed(outcome.high, outcome.unit)
    between = (
        f"{low} to {high}"
        if math.isfinite(outcome.low) or math.isfinite(outcome.high)
        else "interval unknown"
    )
    return f"{_signed(outcome.effect, outcome.unit)} ({between})"


def _size_text(value: float, unit: str) -> str:
    """A size without direction: "2.1 %" of a distance, "1.20 times" of images,
    "0.8 points" of an accuracy.
    """
    if not math.isfinite(value):
        return "unknown"
    if unit == "accuracy":
        return f"{100 * abs(value):.1f} points"
    if unit == "log images":
        return f"{math.exp(abs(value)):.2f} times"
    return f"{100 * math.expm1(abs(value)):.1f} %"


def _signed(value: float, unit: str) -> str:
    """A size with its direction."""
    if not math.isfinite(value):
        return "unbounded"
    if unit == "accuracy":
        return f"{100 * value:+.1f} points"
    if unit == "log images":
        return f"x {math.exp(value):.2f}"
    return f"{100 * math.expm1(value):+.1f} %"


def _df_text(df: float) -> str:
    """Degrees of freedom, which are no whole number where sizes have deviations of their own."""
    return f"{df:.3g}" if df < 1000 else "over 1,000"
