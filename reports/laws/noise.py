"""How the points of scaling laws scatter: deviations from seeds, and which luck is shared.

    noise = seed_noise(log_y, places, sizes, arms=arms, seeds=seeds, runs=runs)
    noise.draw(np.random.default_rng(0), 400)       # [400, points], what a bootstrap adds to log y
    noise.only(arms == "vanilla").weigh()           # what a fit weighs residuals by

A point is one snapshot of one run. Its luck has two levels: what the whole run shares (a run that
went well is ahead at every snapshot) and what is the snapshot's own; an analysis of variance over
the seeds parts the two. And runs share luck with each other: the harness gives every arm and size
of a seed the same order of pictures, noise and times. So the luck of a run, in its deviations, is

    z = sqrt(w_seed) s[seed] + sqrt(w_size) u[size, seed] + sqrt(w_arm) v[arm, seed] + own

with shares w from the mean products of residuals of cells that have arm, size or neither in common.
A bootstrap that draws every run by itself would be wrong both ways: luck that all sizes of a seed
share moves E and A of a law together and leaves its exponent alone, so intervals of the exponent
would be too wide and those of E too narrow; and luck that two arms share leaves their difference.
The parts are drawn jointly, over all arms at once. Which parts there are is said by the design, not
by a test of the data. A deviation of few degrees of freedom is drawn too, as Student's t has it;
correlated cells count for fewer degrees of freedom than they have (Satterthwaite).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.study.contrasts import LEAST_DF, pooled_variance

LEAST_UNIT = 1e-3 / 1.345  # deviation below which points are not told apart by it
Labels = Sequence[object] | np.ndarray


@dataclass(frozen=True)
class Part:
    """One source of luck, [points] each. label: points of one label share its draw; deviation: of
    log y; doubt: which entry of `Noise.df` says how well that deviation is known; of_run: whether
    all snapshots of a run have it in common.
    """

    label: np.ndarray
    deviation: np.ndarray
    doubt: np.ndarray
    of_run: bool = True


@dataclass(frozen=True)
class Noise:
    """The luck of the points of one or several arms.

    df: degrees of freedom of the deviations; run: [points] labels; seeds_df: how many degrees of
    freedom the seeds of all points have, before any pooling or discount.
    """

    parts: tuple[Part, ...]
    df: np.ndarray
    run: np.ndarray
    seeds_df: int

    @property
    def deviation(self) -> np.ndarray:
        """Of each point's log y, all parts together."""
        return np.sqrt(np.sum([part.deviation**2 for part in self.parts], 0))

    @property
    def run_deviation(self) -> np.ndarray:
        """Of what each point has in common with its run."""
        shared = [part.deviation**2 for part in self.parts if part.of_run]
        return np.sqrt(np.sum(shared, 0)) if shared else np.zeros(len(self.run))

    def only(self, mask: np.ndarray) -> Noise:
        """That of some of the points."""
        parts = tuple(
            Part(part.label[mask], part.deviation[mask], part.doubt[mask], part.of_run)
            for part in self.parts
        )
        return replace(self, parts=parts, run=self.run[mask])

    def weigh(self) -> np.ndarray:
        """What makes residuals alike and independent within runs, [points, points]: generalised
        least squares count a run of many snapshots once as far as its luck is one.
        """
        return inverse_root(self.deviation, self.run_deviation, self.run)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Luck of all points, [count, points]."""
        spread = np.sqrt(self.df / rng.chisquare(self.df, (count, len(self.df))))
        out = np.zeros((count, len(self.run)))
        for part in self.parts:
            _, label = np.unique(part.label, return_inverse=True)
            luck = rng.standard_normal((count, label.max() + 1))[:, label]
            out += part.deviation * spread[:, part.doubt] * luck
        return out


def inverse_root(deviation: np.ndarray, of_run: np.ndarray, run: np.ndarray) -> np.ndarray:
    """W with W V W = 1, V the covariance of points [points, points]: deviation^2 on the diagonal
    and of_run_i of_run_j between the points of a run.
    """
    deviation = np.maximum(deviation, LEAST_UNIT)
    if len(np.unique(run)) == len(run) or not of_run.any():
        return np.diag(1 / deviation)
    covariance = np.outer(of_run, of_run) * (run[:, None] == run)
    np.fill_diagonal(covariance, deviation**2)
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(np.maximum(values, LEAST_UNIT**2 / 100))) @ vectors.T


# From seeds ---------------------------------------------------------------------------------------


def seed_noise(
    log_y: np.ndarray,
    places: Labels,
    sizes: Labels,
    arms: Labels | None = None,
    seeds: Labels | None = None,
    runs: Labels | None = None,
    images: np.ndarray | None = None,
) -> Noise | None:
    """The noise that repeated runs tell, None where no arm has two at one place.

    All are labels of the points. places: of a run, its size (and the images of its end); sizes:
    whose runs scatter alike, with fewer than six degrees of freedom all do; arms, runs: one arm,
    and a run a point, where they are not given; seeds: None where no two runs share any luck;
    images: D of each snapshot.
    """
    run, site, size = (
        _index(range(len(log_y)) if runs is None else runs),
        *map(_index, (places, sizes)),
    )
    seed = run if seeds is None else _index(seeds)
    arm = np.zeros(len(run), int) if arms is None else _index(arms)
    cell = _pair(arm, site)
    # residuals of the snapshots from the mean of their cell, of each run their mean, and the rest
    residual = _centred(log_y, cell if images is None else _pair(cell, _index(images)))
    _, first, of_run = np.unique(run, return_index=True, return_inverse=True)
    count = np.bincount(of_run)
    mean = np.bincount(of_run, residual) / count
    rest = residual - mean[of_run]
    rest_df = (1 - 1 / count[of_run]) * (1 - 1 / np.bincount(cell[first])[cell])
    luck = _Luck(mean, cell[first], arm[first], site[first], seed[first])
    everywhere = np.ones(len(first), bool)
    if not luck.df(everywhere):
        return None

    # deviations of each size, or of all sizes where it has too few seeds to tell
    variance, rest_variance = np.zeros(len(first)), np.zeros(len(run))
    doubt, df = np.zeros(len(run), int), []
    for one in np.unique(size):
        here = size[first] == one
        known = here if luck.df(here) >= LEAST_DF else everywhere
        points = known[of_run]
        variance[here] = luck.variance(known)
        rest_variance[size == one] = (rest[points] ** 2).sum() / max(rest_df[points].sum(), 1e-300)
        doubt[size == one] = len(df) if known is here else np.unique(size).size
        df.append(known)
    run_variance = np.maximum(variance[of_run] - rest_variance / count[of_run], 0.0)

    # who shares it
    shares, correlation = luck.shares(variance)
    alike = [luck.effective_df(known, correlation) for known in (*df, everywhere)]
    seed_doubt = np.full(len(run), len(alike))
    labels = (
        (seed, shares[0], seed_doubt),
        (_pair(site, seed), shares[1], doubt),
        (_pair(arm, seed), shares[2], doubt),
        (run, shares[3], doubt),
    )
    parts = [Part(label, np.sqrt(share * run_variance), at) for label, share, at in labels]
    parts += [Part(np.arange(len(run)), np.sqrt(rest_variance), doubt, of_run=False)]
    every_df = np.array([*alike, max(len(np.unique(seed)) - 1, 1)], float)
    found = tuple(part for part in parts if part.deviation.any()) or (parts[3],)
    return Noise(found, every_df, run, luck.df(everywhere))


class _Luck:
    """Residuals of runs from the mean of their cell, an arm at a place; all are [runs]."""

    def __init__(
        self,
        mean: np.ndarray,
        cell: np.ndarray,
        arm: np.ndarray,
        site: np.ndarray,
        seed: np.ndarray,
    ):
        self.mean, self.cell, self.seed = mean, cell, seed
        _, first = np.unique(cell, return_index=True)
        self.arm, self.site = arm[first], site[first]  # of each cell
        self.runs = np.bincount(cell)

    def _cells(self, known: np.ndarray) -> np.ndarray:
        return np.unique(self.cell[known])

    def df(self, known: np.ndarray) -> int:
        """Degrees of freedom of the cells of these runs."""
        return int((self.runs[self._cells(known)] - 1).sum())

    def variance(self, known: np.ndarray) -> float:
        """Of the mean of a run, pooled over these cells."""
        return pooled_variance([self.mean[self.cell == one] for one in self._cells(known)])[0]

    def shares(self, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What part of a run's variance its seed has everywhere, at the place, in the arm, and what
        is its own; and the correlation of cells, [cells, cells].
        """
        z = np.zeros((len(self.runs), int(self.seed.max()) + 1))
        z[self.cell, self.seed] = self.mean / np.sqrt(np.maximum(variance, 1e-300))
        present = np.zeros(z.shape)
        present[self.cell, self.seed] = 1
        products, pairs = z @ z.T, np.maximum(present @ present.T - 1, 0)
        same_arm = self.arm[:, None] == self.arm
        same_site = self.site[:, None] == self.site
        kinds = (~same_arm & ~same_site, same_site & ~same_arm, same_arm & ~same_site)
        neither, at_site, in_arm = (
            float((products * kind)[pairs > 0].sum() / max((pairs * kind).sum(), 1.0))
            for kind in kinds
        )
        everywhere = max(neither, 0.0)
        shared = [everywhere, max(at_site - everywhere, 0.0), max(in_arm - everywhere, 0.0)]
        shares = np.array([*shared, max(1 - sum(shared), 0.0)]) / max(1.0, sum(shared))
        alike = (shares[0], shares[0] + shares[1], shares[0] + shares[2])
        correlation = sum(kind * one for kind, one in zip(kinds, alike, strict=True))
        return shares, correlation + np.eye(len(self.runs))

    def effective_df(self, known: np.ndarray, correlation: np.ndarray) -> float:
        """Of a pooled variance whose cells are correlated: sum(f)^2 / sum(r^2 sqrt(f f'))."""
        cells = self._cells(known)
        root = np.sqrt(self.runs[cells] - 1.0)
        return (
            float(
                (root**2).sum() ** 2
                / max(root @ correlation[np.ix_(cells, cells)] ** 2 @ root, 1e-300)
            )
            or 1.0
        )


def _index(labels: Labels) -> np.ndarray:
    """Labels as whole numbers from 0."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(label, len(known)) for label in labels], int)


def _pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return _index(list(zip(first.tolist(), second.tolist(), strict=True)))


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    return values - (np.bincount(group, values) / np.bincount(group))[group]


# From residuals -----------------------------------------------------------------------------------


def residual_noise(residuals: np.ndarray, runs: Labels, parameters: int) -> Noise:
    """The noise of snapshots whose runs have no second seed: their distance from a curve of so many
    parameters, as what each run shares and what its snapshots have of their own.
    """
    run = _index(runs)
    count = np.bincount(run)
    mean = np.bincount(run, residuals) / count
    df = max(len(count) - (parameters + 1) // 2, 1)
    rest_df = max(len(run) - len(count) - parameters // 2, 1)
    rest = float(((residuals - mean[run]) ** 2).sum()) / rest_df
    shared = max(float((mean**2).sum()) / df - rest * float((1 / count).mean()), 0.0)
    parts = (
        Part(run, np.full(len(run), math.sqrt(shared)), np.zeros(len(run), int)),
        Part(
            np.arange(len(run)), np.full(len(run), math.sqrt(rest)), np.ones(len(run), int), False
        ),
    )
    return Noise(parts, np.array([df, rest_df], float), run, df)
