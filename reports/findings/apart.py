"""Which runs stand far apart from the others of their arm: one that failed in training is most of
what its arm scatters by, and a table of means does not show it.

    for one in runs_apart(study): one.run, one.label, one.value, one.others

The generalised extreme Studentized deviate test (Rosner 1983, Technometrics 25, 165; NIST/SEMATECH
e-Handbook, 1.3.5.17.3), of what is left when each arm's own mean is taken off: several such runs do
not hide each other; its level holds from 25 runs on, and is exceeded by half of it for twelve. It
informs. Nothing is left out of any number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.study.runs import StudyResults

BY_CHANCE = 0.01  # how often a page names any run by chance; shared by its metrics and sizes
FEWEST_RUNS = 3  # runs of an arm, for one of them to be told from the others
AT_MOST = 0.2  # of the runs
ROUNDING = 1e-9  # of logarithms: values that agree to this are equal


@dataclass(frozen=True)
class Apart:
    """A run that stands apart, in the metric in which it does so most, by its label.

    others: the least and the largest value among the other runs of its arm that do not stand apart;
    distance: from their mean, in Studentized deviations of one run.
    """

    run: str
    data: str
    label: str
    value: float
    others: tuple[float, float]
    distance: float


def runs_apart(study: StudyResults) -> list[Apart]:
    """Of all that is compared by a distance or a loss; by data set, then the furthest first."""
    tested = []
    for group in study.distances:
        for _, part in study.by_size(group):
            part = part[part["value"] > 0]
            part = part[part.groupby("arm")["value"].transform("size") >= FEWEST_RUNS]
            if len(part):
                tested.append((group, part))
    furthest: dict[str, Apart] = {}
    for group, part in tested:
        values, arms, ids = (part[name].to_numpy() for name in ("value", "arm", "run"))
        found = extreme(np.log(values.astype(float)), arms, BY_CHANCE / len(tested))
        apart = np.isin(np.arange(len(values)), list(found))
        for place, distance in found.items():
            run, beside = str(ids[place]), values[(arms == arms[place]) & ~apart]
            if not len(beside) or (run in furthest and furthest[run].distance >= abs(distance)):
                continue
            furthest[run] = Apart(
                run=run,
                data=group.data,
                label=group.facts.label,
                value=float(values[place]),
                others=(float(beside.min()), float(beside.max())),
                distance=abs(distance),
            )
    return sorted(furthest.values(), key=lambda one: (one.data, -one.distance))


def extreme(values: np.ndarray, arms: np.ndarray, level: float) -> dict[int, float]:
    """{place: Studentized deviation from its arm's mean}, in the order in which they were taken
    away, of the values [runs] that stand apart; arms: [runs].

    The deviation is that of `values` among those that were left then, over the standard deviation
    without it, pooled over arms: Student's t with n - arms - 1 degrees of freedom.
    """
    from scipy import stats

    left = np.arange(len(values))
    taken: list[tuple[int, float]] = []
    significant = 0
    for _ in range(int(AT_MOST * len(values))):
        _, arm, count = np.unique(arms[left], return_inverse=True, return_counts=True)
        freedom = len(left) - len(count) - 1
        if freedom < 1:
            break
        deviation = values[left] - (np.bincount(arm, values[left]) / count)[arm]
        kept = 1 - 1 / count[arm]  # of a deviation's variance; 0 for an arm's only run
        scaled = np.divide(deviation, np.sqrt(kept), out=np.zeros(len(left)), where=kept > 0)
        place = int(np.argmax(np.abs(scaled)))
        without = (deviation @ deviation - scaled[place] ** 2) / freedom
        t = float(scaled[place] / np.sqrt(max(without, ROUNDING**2)))
        taken.append((int(left[place]), t))
        if 2 * float(stats.t.sf(abs(t), freedom)) * len(left) < level:
            significant = len(taken)
        left = np.delete(left, place)
    return dict(taken[:significant])
