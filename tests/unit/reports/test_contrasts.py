"""Contrasts against scipy's tests and closed forms, curves against hand-computed ones,
Holm on a worked example.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from reports.findings.along_training import first_reached, value_at
from reports.findings.claims import load_claims
from reports.findings.verdicts import INCONCLUSIVE, SUPPORTED, Verdict, holm
from reports.study.contrasts import (
    contrast,
    difference_weights,
    end_to_end_weights,
    pooled_variance,
    ranks,
)

RNG = np.random.default_rng(5)
A, B, C = RNG.normal(0, 1, 4), RNG.normal(1, 1, 5), RNG.normal(2, 1, 3)


def test_two_arms_are_students_test():
    estimate = contrast({"a": 1.0, "b": -1.0}, {"a": A, "b": B}, {"a": 0, "b": 0})
    expected = stats.ttest_ind(A, B)
    assert estimate.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert estimate.interval() == pytest.approx((interval.low, interval.high))
    assert (estimate.df, estimate.pooled_df, estimate.runs) == (7, 7, 4)


def test_arms_of_unlike_strata_are_welchs_test():
    estimate = contrast({"a": 1.0, "b": -1.0}, {"a": A, "b": B}, {"a": "small", "b": "large"})
    expected = stats.ttest_ind(A, B, equal_var=False)
    assert estimate.p == pytest.approx(expected.pvalue)
    assert estimate.df == pytest.approx(expected.df)


def test_a_third_arm_lends_its_deviation():
    estimate = contrast(
        difference_weights("a", "b"), {"a": A, "b": B, "c": C}, dict.fromkeys("abc", 0)
    )
    within = (A.var(ddof=1) * 3 + B.var(ddof=1) * 4 + C.var(ddof=1) * 2) / 9
    assert estimate.df == 9
    assert estimate.floor == pytest.approx(math.sqrt(within))
    assert estimate.stderr == pytest.approx(math.sqrt(within * (1 / 4 + 1 / 5)))


def test_end_to_end_change_is_that_of_the_fitted_line():
    scores, y = [0.0, 1.0, 2.5, 3.0], np.array([1.0, 4.0, 2.0, 8.0])
    slope = np.polyfit(scores, y, 1)[0]
    assert end_to_end_weights(scores) @ y == pytest.approx(slope * 3.0)
    assert ranks([0.7, 0.9, 0.7]).tolist() == [0.5, 2.0, 0.5]
    with pytest.raises(ValueError, match="cannot be ordered"):
        end_to_end_weights([1.0, 1.0])


def test_one_run_an_arm_gives_no_error():
    estimate = contrast({"a": 1.0, "b": -1.0}, {"a": A[:1], "b": B[:1]}, {"a": 0, "b": 0})
    assert estimate.interval() == (-math.inf, math.inf)
    assert estimate.p == 1.0
    assert pooled_variance([A[:1]]) == (0.0, 0)


def test_known_variance_widens_the_interval_and_adds_degrees_of_freedom():
    cells, strata = {"a": A, "b": B}, {"a": 0, "b": 0}
    plain, wide = (
        contrast({"a": 1.0, "b": -1.0}, cells, strata, known_variance=v) for v in (0.0, 0.5)
    )
    assert wide.stderr**2 == pytest.approx(plain.stderr**2 + 0.5)
    assert wide.df == pytest.approx(7 * wide.stderr**4 / plain.stderr**4)


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
    adjusted = holm(
        [replace(base, p=p) for p in (0.01, 0.04, 0.03, 0.005)] + [replace(base, here="")]
    )
    assert [verdict.p_holm for verdict in adjusted] == pytest.approx([0.03, 0.06, 0.06, 0.02, None])
    assert [verdict.holm_word for verdict in adjusted] == [
        SUPPORTED,
        INCONCLUSIVE,
        INCONCLUSIVE,
        SUPPORTED,
        "",
    ]
