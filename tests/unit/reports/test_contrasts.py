"""Contrasts against scipy's tests and closed forms, curves against hand-computed ones,
Holm on a worked example.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.findings.adjustment import adjusted
from reports.findings.along_training import first_reached, value_at
from reports.findings.claims import load_claims
from reports.findings.decisions import INCONCLUSIVE, SUPPORTED, Verdict
from reports.study.contrasts import (
    OVER,
    UNPAIRED,
    WITHIN,
    contrast,
    difference_weights,
    end_to_end_weights,
    pooled_variance,
    ranks,
)

RNG = np.random.default_rng(5)
A, B, C = RNG.normal(0, 1, 4), RNG.normal(1, 1, 5), RNG.normal(2, 1, 3)
LEFT, RIGHT, THIRD = ("a", "S"), ("b", "S"), ("c", "S")
PAIR = {LEFT: 1.0, RIGHT: -1.0}


def seeds(*arms: np.ndarray, first: int = 0) -> list[dict[int, float]]:
    return [dict(enumerate(values.tolist(), first)) for values in arms]


def test_two_paired_arms_are_students_paired_test():
    a, b = seeds(A, B[:4])
    estimate = contrast(PAIR, {LEFT: a, RIGHT: b})
    expected = stats.ttest_rel(A, B[:4])
    assert estimate.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert estimate.interval() == pytest.approx((interval.low, interval.high))
    assert (estimate.df, estimate.design, estimate.seeds) == (3, WITHIN, 4)
    assert estimate.seed_floor == pytest.approx((A - B[:4]).std(ddof=1))


def test_arms_of_a_size_are_a_two_way_layout():
    """Against least squares on dummies of arms and seeds."""
    y = RNG.normal(size=(4, 5)) + RNG.normal(size=5)
    cells = {(arm, "S"): one for arm, one in zip("abcd", seeds(*y), strict=True)}
    estimate = contrast(PAIR, cells)
    arm, seed = np.indices(y.shape)
    design = np.hstack([np.eye(4)[arm.ravel()], np.eye(5)[seed.ravel()][:, 1:]])
    _, squares, rank, _ = np.linalg.lstsq(design, y.ravel(), rcond=None)
    variance = squares[0] / (y.size - rank)
    assert estimate.df == y.size - rank == 12
    assert estimate.stderr == pytest.approx(math.sqrt(variance * 2 / 5))
    assert estimate.seed_floor == pytest.approx(math.sqrt(2 * variance))
    assert estimate.run_floor == pytest.approx(math.sqrt(y.var(1, ddof=1).mean()))


def test_the_deviation_is_of_the_compared_arms_and_vanilla_where_that_has_six():
    y = RNG.normal(size=(3, 4))
    wild = 100 * RNG.normal(size=4)
    own = dict(zip((LEFT, RIGHT, ("vanilla", "S")), seeds(*y), strict=True))
    alone = contrast(PAIR, own)
    assert alone.df == 6 and contrast(PAIR, own | {THIRD: seeds(wild)[0]}) == alone
    few = {cell: {0: of[0], 1: of[1], 2: of[2]} for cell, of in own.items()}
    lent = contrast(PAIR, few | {THIRD: seeds(wild[:3])[0]})
    assert (lent.df, len(lent.lenders)) == (6, 4)
    # and an arm that lacks one of the seeds lends nothing
    assert contrast(PAIR, few | {THIRD: {0: 1.0, 1: 2.0}}).df == 4


def test_over_sizes_seeds_are_the_sample():
    y = RNG.normal(size=(4, 6)) + RNG.normal(size=6)
    keys = [("a", "S"), ("b", "S"), ("a", "L"), ("b", "L")]
    weights = dict(zip(keys, (-1.0, 1.0, 1.0, -1.0), strict=True))
    estimate = contrast(weights, dict(zip(keys, seeds(*y), strict=True)))
    expected = stats.ttest_1samp(np.array([-1.0, 1.0, 1.0, -1.0]) @ y, 0.0)
    assert estimate.p == pytest.approx(expected.pvalue)
    assert (estimate.df, estimate.design) == (5, OVER)


def test_only_the_seeds_that_all_cells_have_count():
    a, b = seeds(A)[0], seeds(B, first=2)[0]
    shared = contrast(PAIR, {LEFT: a, RIGHT: b})
    assert shared == contrast(PAIR, {LEFT: {2: a[2], 3: a[3]}, RIGHT: {2: b[2], 3: b[3]}})
    assert shared.seeds == 2


def test_seeds_that_are_not_shared_are_students_test():
    for b, paired in ((seeds(B, first=9)[0], True), (seeds(B)[0], False)):
        estimate = contrast(PAIR, {LEFT: seeds(A)[0], RIGHT: b}, paired=paired)
        expected = stats.ttest_ind(A, B)
        assert estimate.p == pytest.approx(expected.pvalue)
        assert (estimate.df, estimate.design, estimate.seeds) == (7, UNPAIRED, 4)


def test_unpaired_sizes_are_welchs_test():
    big = ("b", "L")
    weights = {LEFT: 1.0, big: -1.0}
    estimate = contrast(weights, {LEFT: seeds(A)[0], big: seeds(B)[0]}, paired=False)
    expected = stats.ttest_ind(A, B, equal_var=False)
    assert estimate.p == pytest.approx(expected.pvalue)
    assert estimate.df == pytest.approx(expected.df)


def test_a_third_arm_lends_its_deviation_unpaired():
    a, b, c = seeds(A[:3], B[:3], C)
    weights = difference_weights([LEFT], [RIGHT])
    estimate = contrast(weights, {LEFT: a, RIGHT: b, THIRD: c}, paired=False)
    within = np.mean([one.var(ddof=1) for one in (A[:3], B[:3], C)])
    assert estimate.df == 6
    assert estimate.run_floor == pytest.approx(math.sqrt(within))
    assert estimate.stderr == pytest.approx(math.sqrt(within * 2 / 3))


def test_end_to_end_change_is_that_of_the_fitted_line():
    scores, y = [0.0, 1.0, 2.5, 3.0], np.array([1.0, 4.0, 2.0, 8.0])
    slope = np.polyfit(scores, y, 1)[0]
    assert end_to_end_weights(scores) @ y == pytest.approx(slope * 3.0)
    assert ranks([0.7, 0.9, 0.7]).tolist() == [0.5, 2.0, 0.5]
    with pytest.raises(ValueError, match="cannot be ordered"):
        end_to_end_weights([1.0, 1.0])


@pytest.mark.parametrize("paired", [True, False])
def test_one_run_an_arm_gives_no_error(paired):
    a, b = seeds(A[:1], B[:1])
    estimate = contrast(PAIR, {LEFT: a, RIGHT: b}, paired=paired)
    assert estimate.interval() == (-math.inf, math.inf)
    assert estimate.p == 1.0 and math.isnan(estimate.run_floor) and estimate.lenders == ()
    assert pooled_variance([A[:1]]) == (0.0, 0)


def test_known_variance_widens_the_interval_and_adds_degrees_of_freedom():
    a, b = seeds(A, B[:4])
    plain, wide = (contrast(PAIR, {LEFT: a, RIGHT: b}, known_variance=v) for v in (0.0, 0.5))
    assert wide.stderr**2 == pytest.approx(plain.stderr**2 + 0.5)
    assert wide.df == pytest.approx(3 * wide.stderr**4 / plain.stderr**4)


def test_curves_are_read_on_a_logarithmic_axis():
    images, values = np.array([1.0, 10.0, 100.0]), np.array([3.0, 2.0, 1.0])
    assert value_at(images, values, math.sqrt(10)) == pytest.approx(2.5)
    assert first_reached(images, values, 1.5) == pytest.approx(math.log(10**1.5))
    assert math.isnan(value_at(images, values, 1000.0))
    assert math.isnan(first_reached(images, values, 3.5))
    assert math.isnan(first_reached(images, values, 0.5))


def test_holm_on_a_worked_example():
    claim = load_claims()[0]
    base = Verdict(
        claim.name, claim.sentence, claim.source, claim.pages, SUPPORTED, "", here=SUPPORTED
    )
    found = adjusted(
        [replace(base, p=p) for p in (0.01, 0.04, 0.03, 0.005)] + [replace(base, here="")]
    )
    assert [verdict.p_holm for verdict in found] == pytest.approx([0.03, 0.06, 0.06, 0.02, None])
    assert [verdict.holm_word for verdict in found] == [
        SUPPORTED,
        INCONCLUSIVE,
        INCONCLUSIVE,
        SUPPORTED,
        "",
    ]
