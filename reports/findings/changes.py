"""What each arm changes against a reference arm at one size: the numbers behind a forest plot and
the first sentence of a page, by the rules of verdicts.

    for change in changes(cells, "tiny", "vanilla"):
        change.arm, change.numbers, change.told      # "selfflow", (-7.3, -12.0, -2.1), True

*Told* means that a verdict would be given: three shared seeds, six degrees of freedom, an interval
without zero, and no arm saturated (docs/verdicts.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reports.findings.decisions import LEVEL
from reports.findings.outcomes import in_its_unit, unit_of
from reports.findings.power import seeds_needed
from reports.study.cells import Comparable
from reports.study.contrasts import LEAST_DF, LEAST_SEEDS, OVER, BySeed, Estimate, holm
from reports.study.groups import sorted_arms

# percent or points, of an effect that one may look for
ROUND = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True)
class Change:
    """The difference of an arm from the reference, on the logarithm, or of shares of samples.

    n: runs of the arm; p_holm: after Holm's adjustment over the arms beside it; saturated: why
    nothing better or worse can be said, ""; related: whether the metric is kin to its encoder;
    of: what its estimate is in (`unit_of`); higher_is_better: of the metric.
    """

    arm: str
    estimate: Estimate
    n: int
    p_holm: float
    saturated: str = ""
    related: bool = False
    of: str = "log distance"
    higher_is_better: bool = False

    @property
    def unit(self) -> str:
        """Of its numbers: "%" or "points"."""
        return in_its_unit(0.0, self.of)[1]

    @property
    def better(self) -> bool:
        """Whether the arm is the better one, by the best guess."""
        return (self.estimate.effect > 0) == self.higher_is_better

    @property
    def numbers(self) -> tuple[float, float | None, float | None]:
        """Best guess and 95 % interval in its unit; None where no interval is known."""
        at, _ = in_its_unit(self.estimate.effect, self.of)
        if self.estimate.df <= 0:
            return at, None, None
        low, high = (in_its_unit(end, self.of)[0] for end in self.estimate.interval())
        return (at, low, high) if math.isfinite(high) else (at, None, None)

    @property
    def decimals(self) -> int:
        """With how many its numbers are written."""
        return 1 if max(abs(one) for one in self.numbers if one is not None) >= 1 else 2

    @property
    def judged(self) -> bool:
        """Whether there are seeds enough to judge."""
        one = self.estimate
        enough = one.design == OVER or one.df >= LEAST_DF
        return one.seeds >= LEAST_SEEDS and enough and not self.saturated

    @property
    def told(self) -> bool:
        """Whether the arm can be told from the reference."""
        low, high = self.estimate.interval()
        return self.judged and not low <= 0 <= high

    @property
    def told_after_holm(self) -> bool:
        """The same after the adjustment for as many arms."""
        return self.told and self.p_holm < LEVEL


def changes(
    cells: Comparable,
    size: str,
    reference: str,
    values: Mapping[tuple[str, str], BySeed] | None = None,
) -> list[Change]:
    """The arms of a size against one of them, [] without it. values: other values of the same runs
    than their last ones.
    """
    known = cells.final if values is None else values
    if (reference, size) not in known:
        return []
    found = [
        Change(
            arm,
            cells.contrast({(arm, size): 1.0, (reference, size): -1.0}, values),
            len(known[arm, size]),
            1.0,
            cells.saturated.get((arm, size), "") or cells.saturated.get((reference, size), ""),
            (arm, size) in cells.related,
            unit_of(cells),
            cells.group.higher_is_better,
        )
        for arm in sorted_arms(arm for arm, at in known if at == size and arm != reference)
    ]
    adjusted = holm([one.estimate.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def seeds_for(found: Sequence[Change]) -> tuple[float, int | None] | None:
    """A round effect, in the unit of the changes, of about the size that was seen, and the seeds
    that would show it for the arm that needs most of them (None: more than 1,000); None where no
    error is known.
    """
    known = [one for one in found if one.estimate.df > 0 and one.estimate.seeds > 1]
    if not known:
        return None
    seen = sorted(abs(one.numbers[0]) for one in known)[-1]
    size = min(ROUND, key=lambda one: abs(math.log(one / max(seen, ROUND[0]))))
    effect = math.log1p(-size / 100) if known[0].unit == "%" else size / 100
    needed = [seeds_needed(one.estimate, effect) for one in known]
    return size, None if None in needed else max(n for n in needed if n is not None)
