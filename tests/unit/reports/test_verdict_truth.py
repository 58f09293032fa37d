"""Verdicts on synthetic studies with known truth: wrong how often when nothing differs, right when
something does, whatever the runs of a seed share.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, nct, ttest_1samp
from scipy.stats import t as student
from support.truth import PROPERTIES, SIZES, SPREAD, arms_of, shifts, table

from reports.findings.claims import Claim, load_claims
from reports.findings.decisions import (
    CONTRADICTED,
    INCONCLUSIVE,
    NOT_MONOTONE,
    SUPPORTED,
    decide,
)
from reports.findings.power import least_effect, seeds_needed
from reports.findings.statistics import STATISTICS

CLAIMS = {claim.name: claim for claim in load_claims()}
STUDIES = 500
MOST_WRONG = int(binom.ppf(0.99, STUDIES, 0.05))  # the 99 % bound of a 5 % rule
ONE_OF_EACH = {
    one.statistic + one.measure: one.name
    for one in CLAIMS.values()
    if one.published and not one.margin
}
MARGIN = CLAIMS["sound_encoder_no_better"]
OVER_SIZES = ("next_size", "gap_trend")
INSIDE = [name for kind, name in ONE_OF_EACH.items() if not kind.startswith(OVER_SIZES)]


def words(
    claim: Claim, seeds: int, deviations: float, studies: int, correlation: float = 0.0
) -> list[str]:
    rng = np.random.default_rng(20261123)
    shift = shifts(claim, deviations)
    statistic = STATISTICS[claim.statistic]
    outcomes = [
        statistic(claim, table(claim, seeds, rng, shift, correlation), PROPERTIES)
        for _ in range(studies)
    ]
    return [decide(outcome, claim.sign)[0] for outcome in outcomes]


def test_the_bound_is_that_of_a_five_percent_rule():
    assert MOST_WRONG == 37


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_null_studies_give_few_verdicts(name, correlation):
    given = words(CLAIMS[name], 5, 0.0, STUDIES, correlation)
    assert 0 < sum(word != INCONCLUSIVE for word in given) <= MOST_WRONG


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("kind", ["next_sizedistance", "gap_trenddistance"])
def test_null_studies_of_three_seeds_over_sizes_give_few_verdicts(kind, correlation):
    given = words(CLAIMS[ONE_OF_EACH[kind]], 3, 0.0, STUDIES, correlation)
    assert 0 < sum(word != INCONCLUSIVE for word in given) <= MOST_WRONG


@pytest.mark.parametrize("name", INSIDE)
def test_one_and_a_half_deviations_of_a_run_are_found_by_five_seeds(name):
    given = words(CLAIMS[name], 5, 1.5, 300, correlation=0.5)
    assert sum(word == SUPPORTED for word in given) >= 0.72 * len(given)
    assert CONTRADICTED not in given


@pytest.mark.parametrize("name", ONE_OF_EACH.values())
def test_the_opposite_of_a_claim_contradicts_it(name):
    given = words(CLAIMS[name], 5, -4.0, 50, correlation=0.5)
    assert sum(word == CONTRADICTED for word in given) >= 40
    assert SUPPORTED not in given


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_no_better_errs_rarely_at_its_margin_and_is_found_inside_it(correlation):
    """Non-inferiority: at the margin itself either word is an error; without any difference it is
    found as often as a difference of that size would be.
    """
    at_margin = math.log1p(-MARGIN.margin) / SPREAD
    on = words(MARGIN, 5, at_margin, STUDIES, correlation)
    assert 0 < sum(word != INCONCLUSIVE for word in on) <= MOST_WRONG
    wide = replace(MARGIN, margin=0.08)
    none = words(wide, 5, 0.0, 100, correlation)
    assert sum(word == SUPPORTED for word in none) >= 95 and CONTRADICTED not in none
    beyond = words(wide, 5, 2 * math.log1p(-0.08) / SPREAD, 100, correlation)
    assert sum(word == CONTRADICTED for word in beyond) >= 95


def test_a_margin_is_tested_as_scipy_tests_a_shifted_mean():
    """One-sided against the margin, from two arms whose deviation six seeds tell."""
    rng = np.random.default_rng(3)
    runs = table(MARGIN, 8, rng, {})
    left, right = (
        np.array(list(runs.final[arm, SIZES[-1]].values())) for arm in arms_of(MARGIN)[:2]
    )
    del runs.final["spare", SIZES[-1]]
    found = STATISTICS["difference"](MARGIN, runs, PROPERTIES)
    assert found.p == pytest.approx(ttest_1samp(left - right, math.log(1 - 0.011)).pvalue)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_worst_of_all_errs_rarely_where_one_rival_equals_it(correlation):
    """The hardest null of an intersection-union test: one rival is as bad, the others far off."""
    claim = CLAIMS["representation_term_matters_most"]
    left, near, *far = arms_of(claim)
    shift = {(arm, size): claim.sign * SPREAD * 50 for arm in (left, near) for size in SIZES}
    rng = np.random.default_rng(20261123)
    studies = [
        STATISTICS["worst"](claim, table(claim, 3, rng, shift, correlation), PROPERTIES)
        for _ in range(STUDIES)
    ]
    assert len(far) == 3 and not set(far) & {arm for arm, _ in shift}
    wrong = sum(decide(outcome, claim.sign)[0] != INCONCLUSIVE for outcome in studies)
    assert 0 < wrong <= MOST_WRONG
    assert all((one.p < 0.05) == (not one.low <= 0 <= one.high) for one in studies)


@pytest.mark.parametrize(("seeds", "correlation"), [(4, 0.0), (5, 0.5)])
def test_power_of_two_arms_is_that_of_the_noncentral_t(seeds, correlation):
    """Three arms, n seeds: 2 (n - 1) degrees of freedom; what runs of a seed share is no noise."""
    claim = CLAIMS["dual_timestep_alone"]
    df, centre = 2 * (seeds - 1), 2 / np.sqrt((1 - correlation) * 2 / seeds)
    expected = 1 - nct.cdf(student.ppf(0.975, df), df, centre)
    given = words(claim, seeds, 2.0, 1000, correlation)
    found = sum(word == SUPPORTED for word in given) / len(given)
    assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / len(given)) + 0.005


def test_a_ladder_that_falls_and_rises_is_not_monotone():
    claim = CLAIMS["stronger_encoders_worse"]
    rng = np.random.default_rng(1)
    dip = {("repa/m", size): -3 * SPREAD for size in SIZES}
    found = [
        STATISTICS["level_trend"](claim, table(claim, 5, rng, dip, 0.5), PROPERTIES)
        for _ in range(200)
    ]
    given = [decide(outcome, claim.sign)[0] for outcome in found]
    assert sum(word == NOT_MONOTONE for word in given) >= 0.9 * len(given)


def test_least_effect_is_found_four_times_in_five():
    """The effect that a study says it would have shown, and the seeds that it says it takes."""
    claim = CLAIMS["dual_timestep_alone"]
    rng = np.random.default_rng(7)
    outcome = STATISTICS["difference"](claim, table(claim, 400, rng, {}, 0.5), PROPERTIES)
    sure = replace(outcome.estimate, seeds=5, df=8.0, stderr=outcome.estimate.seed_floor / 5**0.5)
    least = least_effect(sure)
    given = words(claim, 5, least / SPREAD, 1000, correlation=0.5)
    assert abs(sum(word == SUPPORTED for word in given) / 1000 - 0.8) < 0.05
    assert seeds_needed(sure, least) == 5
    assert seeds_needed(sure, least / 1000) is None
