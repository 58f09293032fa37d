"""A verdict's reason in words: what was compared, where, what came out, what it rests on, and why
the word is what it is.

    fd_pixels, selfflow against repa/local_m, tiny, digits: -5.7 % (-12.4 % to +1.5 %), 5 seeds,
    8 df; a run scatters by 5.3 %, a pair of one seed by 4.1 %: the interval contains zero; ...
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from reports.draw.axes import signed as with_sign
from reports.draw.theme import arm_label
from reports.findings.claims import Claim
from reports.findings.outcomes import Outcome, in_its_unit
from reports.findings.power import least_effect, seeds_needed
from reports.study.cells import Comparable
from reports.study.contrasts import UNPAIRED

_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_WHAT = {
    "difference": "{left} against {right}{detail}, {size}",
    "over_training": "change of {left} against {right} from {detail} of the images on, {size}",
    "equal_flops": "{left} against {right} at equal FLOPs ({detail}), {size}",
    "speed_up": (
        "images that {left} needs against {right} to the best mean quality of the slower, {size}"
    ),
    "next_size": "{left} against {right} one size larger, {detail}",
    "gap_trend": "change of {left} against {right} from {first} to {size}",
    "level_trend": "change along {levels}, {size}",
    "worst": "{left} against {detail}, the nearest of {rivals} rivals, {size}",
}


def outcome_text(claim: Claim, runs: Comparable, outcome: Outcome, why: str) -> str:
    """The whole reason, one sentence."""
    what = _WHAT[claim.statistic].format(
        left=", ".join(outcome.left),
        right=", ".join(outcome.right),
        size=outcome.sizes[-1],
        first=outcome.sizes[0],
        levels=" → ".join(outcome.left),
        rivals=len(outcome.right),
        detail=outcome.detail,
    )
    seeds, df = outcome.estimate.seeds, outcome.estimate.df
    return (
        f"{runs.group.metric}, {what}, {runs.group.data}: {effect_text(outcome)}, "
        f"{seeds} seed{'s' * (seeds != 1)}, {_df_text(df)} df{_scatter_text(outcome)}: {why}."
    )


def joined(words: Sequence[str], last: str = "and") -> str:
    """ "a, b and c"; where one has a comma of its own outside brackets, "a; b, with c; and d" """
    if any("," in _BRACKETS.sub("", word) for word in words):
        return "; ".join([*words[:-1], f"{last} {words[-1]}"] if len(words) > 1 else words)
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def arms_in_words(arms: Sequence[str]) -> str:
    """The arms of a side: "REPA (mean of 3 encoders)"."""
    methods = {arm.partition("/")[0] for arm in arms}
    if len(arms) > 1 and len(methods) == 1:
        return f"{arm_label(methods.pop())} (mean of {len(arms)} encoders)"
    return joined([arm_label(arm) for arm in arms])


def effect_text(outcome: Outcome) -> str:
    """ "-7.3 % (-12.0 % to -2.1 %)" """
    return interval_text(outcome.effect, outcome.low, outcome.high, outcome.unit)


def interval_text(effect: float, low: float, high: float, unit: str) -> str:
    """An effect with its interval, in its unit."""
    at, start, end = (size_text(value, unit, signed=True) for value in (effect, low, high))
    known = math.isfinite(low) or math.isfinite(high)
    return f"{at} ({f'{start} to {end}' if known else 'interval unknown'})"


def size_text(value: float, unit: str, signed: bool = False) -> str:
    """A size in its unit: "2.1 %" of a distance, "1.20 times" of images, "0.8 points" of an
    accuracy; with its direction "-2.1 %", "x 0.83", "-0.8 points".
    """
    if not math.isfinite(value):
        return "unbounded" if signed else "unknown"
    if unit == "log images":
        return f"x {math.exp(value):.2f}" if signed else f"{math.exp(abs(value)):.2f} times"
    size = value if signed else abs(value)
    scale, name = in_its_unit(size, unit)
    # a loss is compared in tenths of a percent, and a difference of 0.04 % is no 0.0 %
    digits = 1 if abs(scale) >= 1 or unit == "accuracy" else 2
    return f"{with_sign(scale, digits, '+' if signed else '')} {name}"


def _scatter_text(outcome: Outcome) -> str:
    """The floors, which inform and decide nothing."""
    estimate = outcome.estimate
    if not math.isfinite(estimate.run_floor):
        return ""
    run, pair = (size_text(one, outcome.unit) for one in (estimate.run_floor, estimate.seed_floor))
    if estimate.design == UNPAIRED:
        return f"; a run scatters by {run}, unpaired"
    what = "a pair of one seed" if len(outcome.left) == len(outcome.right) == 1 else "a seed"
    what = what if len(outcome.sizes) == 1 else "the change of a seed"
    return f"; a run scatters by {run}, {what} by {pair}"


def reference_text(outcome: Outcome) -> str:
    """What the interval has to leave out: "zero", or "the margin of -1.1 %"."""
    if not outcome.reference:
        return "zero"
    return f"the margin of {size_text(outcome.reference, outcome.unit, signed=True)}"


def power_text(outcome: Outcome) -> str:
    """What these runs could have shown, and what the effect that was seen would take; "" where no
    error is known.
    """
    least = least_effect(outcome.estimate)
    if not math.isfinite(least):
        return ""
    # both in the direction of what was seen: 10 % more is not 10 % less turned round
    found = outcome.reference + math.copysign(least, outcome.distance)
    shown = size_text(found, outcome.unit, signed=True)
    could = f"four times in five these runs would have shown {shown}"
    seeds = seeds_needed(outcome.estimate, outcome.distance)
    seen = size_text(outcome.effect, outcome.unit, signed=True)
    takes = "more than 1,000 seeds" if seeds is None else f"{seeds} seeds"
    return f"{could}, and the {seen} seen would take {takes}"


def steps_text(outcome: Outcome) -> str:
    """Each step of a ladder with its interval and its adjusted p."""
    each = [
        f"{step.name} {interval_text(step.effect, step.low, step.high, outcome.unit)}, "
        f"Holm's p {step.p_holm:.2g}"
        for step in outcome.steps
    ]
    return "; ".join(each)


def _df_text(df: float) -> str:
    """Degrees of freedom, which are no whole number where sizes have deviations of their own."""
    return f"{df:.3g}" if df < 1000 else "over 1,000"
