"""Statistics over a ladder of encoders, ordered by a measure of their own: the trend along it, and
whether it is monotone.

    level_trend(claim, runs, properties).steps      # each encoder against the one before it
    same_order("encoder_linear_probe", "encoder_structure", properties, encoders)    # 1, -1 or 0
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from reports.findings.claims import Claim
from reports.findings.outcomes import (
    Outcome,
    Properties,
    Rung,
    Untestable,
    arms_meant,
    cells_of,
    either,
    have_seeds,
    outcome,
    require_room,
    seed_notes,
    unit_of,
    with_seeds,
)
from reports.study.cells import ArmSize, Comparable
from reports.study.contrasts import end_to_end_weights, holm, ranks

ORDER_NAMES = {
    "encoder_linear_probe": "linear probe",
    "encoder_parameters": "parameters",
    "encoder_structure": "spatial structure",
}


def level_trend(claim: Claim, runs: Comparable, properties: Properties) -> Outcome:
    """Change from the first to the last level on a straight line over their measured strength, and
    every step from one to the next with Holm's adjustment, at the largest size with enough levels.

    The line alone would call a ladder that falls and rises again flat.
    """
    # sizes with enough arms whose encoders have the property
    known = properties.get(claim.order, {})
    order, needed = claim.order.replace("_", " "), claim.needs_arms
    given = {
        size: [
            arm
            for arm in arms_meant(claim, claim.left, runs, size)
            if runs.encoders.get(arm) in known
        ]
        for size in runs.sizes
    }
    given = {size: arms for size, arms in given.items() if len(arms) >= needed}
    if not given:
        raise Untestable(
            f"needs {needed} arms {either(claim.left)} of one size with a known {order}"
        )
    # the largest of them where those arms have their seeds
    kept = {size: with_seeds(arms, runs, size, needed) for size, arms in given.items()}
    seeded = [size for size, arms in kept.items() if have_seeds(cells_of(arms, size), runs)]
    size = (seeded or list(kept))[-1]

    # the line over the levels as they were measured
    strength = {arm: known[runs.encoders[arm]].value for arm in kept[size]}
    arms = sorted(strength, key=lambda arm: (strength[arm], arm))
    if len(set(strength.values())) < claim.needs_levels:
        raise Untestable(f"the encoders do not differ in their {order}")
    cells = cells_of(arms, size)
    scores = [strength[arm] for arm in arms]
    scores = list(np.log(scores)) if claim.order == "encoder_parameters" else scores
    weights = dict(zip(cells, end_to_end_weights(scores), strict=True))
    require_room(runs, weights)

    # what was left out, and what these runs cannot tell apart
    from_here = list(given)[list(given).index(size) :]
    notes = seed_notes(
        runs, [cell for at in from_here for cell in cells_of(given[at], at)], weights
    )
    encoders = [runs.encoders[arm] for arm in arms]
    notes += dict.fromkeys(known[encoder].note for encoder in encoders if known[encoder].note)
    return outcome(
        runs.contrast(weights), unit_of(runs), arms, (), [size],
        notes=notes, steps=_steps(runs, cells),
    )  # fmt: skip


def _steps(runs: Comparable, cells: Sequence[ArmSize]) -> list[Rung]:
    """Each level against the one before it; Holm's adjustment is over the steps."""
    pairs = list(itertools.pairwise(cells))
    found = [runs.contrast({after: 1.0, before: -1.0}, beside=cells) for before, after in pairs]
    return [
        Rung(f"{before[0]} to {after[0]}", one.effect, *one.interval(), p)
        for (before, after), one, p in zip(
            pairs, found, holm([one.p for one in found]), strict=True
        )
    ]


def same_order(one: str, other: str, properties: Properties, encoders: Sequence[str]) -> int:
    """1 where two properties order the encoders the same way, -1 the other way round, 0 else or
    where one of them is not known.
    """
    if any(
        encoder not in properties.get(name, {}) for name in (one, other) for encoder in encoders
    ):
        return 0
    first, second = (
        ranks([properties[name][encoder].value for encoder in encoders]) for name in (one, other)
    )
    if np.array_equal(first, second):
        return 1
    return -1 if np.array_equal(first, len(encoders) - 1 - second) else 0
