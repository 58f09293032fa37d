"""What tables of scaling laws say in words: refusals, misfits, pairs of arms, numbers with their
interval.

times_text(effective_multiplier(selfflow, vanilla, 1e9))      # "1.8 times (1.3 to 2.9)"
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping

from reports.draw.axes import number
from reports.laws.comparison import Compared
from reports.laws.fits import Law

MISFIT = 0.05  # share of bootstrap samples below which a form is said to miss the means


def refused_text(refusals: Mapping[str, str]) -> str:
    """ " Not fitted (vanilla, repa/m): there are 4 values of N." and the like, or nothing."""
    words = ""
    for reason in dict.fromkeys(refusals.values()):
        arms = ", ".join(arm for arm, other in refusals.items() if other == reason)
        words += f" Not fitted ({arms}): {reason}."
    return words


def missed_text(laws: Mapping[str, Law]) -> str:
    """Which forms miss the means by more than seeds explain, in words."""
    missed = [
        f"{arm} (p {number(law.misfit, 2)})"
        for arm, law in laws.items()
        if law.misfit is not None and law.misfit < MISFIT
    ]
    return (
        f" The form misses the means by more than seeds explain: {', '.join(missed)}; "
        "intervals there take it for true."
        if missed
        else ""
    )


def related_text(metric: str, related: set[str], *arms: str) -> str:
    who = ", ".join(arm for arm in arms if arm in related)
    return f"{metric} related to the encoder of {who}" if who else ""


def each_pair(arms: Iterable[str]) -> list[tuple[str, str]]:
    """Every arm against vanilla, and every other pair, the one that comes first on the page against
    the later one.
    """
    arms = list(arms)
    others = [arm for arm in arms if arm != "vanilla"]
    pairs = [(arm, "vanilla") for arm in others if "vanilla" in arms]
    return [*pairs, *itertools.combinations(others, 2)]


def times_text(found: Compared) -> str:
    """ "1.8 times (1.3 to 2.9)", or the lower limit where no finite number is large enough."""
    never = f"no finite number in {100 * (1 - found.share):.0f} % of samples"
    if found.value is None:
        known = found.low is not None and math.isfinite(found.low)
        return f"{never}; more than {number(found.low)} times" if known else never
    return _with_interval(found, f"{number(found.value)} times") + (
        f"; {never}" if found.share < 1 else ""
    )


def crossing_text(found: Compared) -> str:
    """ "410k (200k to 900k)", or that no crossing is sure."""
    if found.value is None:
        return f"none that is sure: they cross in {100 * found.share:.0f} % of samples"
    return _with_interval(found, number(found.value))


def _with_interval(found: Compared, value: str) -> str:
    return (
        value
        if found.low is None or found.high is None
        else f"{value} ({between(found.low, found.high)})"
    )


def between(low: float, high: float) -> str:
    return f"{number(low, 4)} to {'unbounded' if math.isinf(high) else number(high, 4)}"
