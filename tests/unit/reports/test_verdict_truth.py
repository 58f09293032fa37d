"""Verdicts on synthetic studies with known truth: wrong how often when nothing differs,
right when something does.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, nct
from scipy.stats import t as student
from support.truth import PROPERTIES, SIZES, SPREAD, arms_of, shifts, table

from reports.findings.claims import Claim, load_claims
from reports.findings.statistics import STATISTICS
from reports.findings.verdicts import CONTRADICTED, INCONCLUSIVE, SUPPORTED, decide

CLAIMS = {claim.name: claim for claim in load_claims()}
STUDIES = 500
MOST_WRONG = int(binom.ppf(0.99, STUDIES, 0.05))  # the 99 % bound of a 5 % rule


def words(claim: Claim, seeds: int, floors: float, studies: int) -> list[str]:
    rng = np.random.default_rng(20261123)
    shift = shifts(claim, floors)
    statistic = STATISTICS[claim.statistic]
    outcomes = [
        statistic(claim, table(claim, seeds, rng, shift), PROPERTIES) for _ in range(studies)
    ]
    return [decide(outcome, claim.sign)[0] for outcome in outcomes]


def test_the_bound_is_that_of_a_five_percent_rule():
    assert MOST_WRONG == 37


@pytest.mark.parametrize("name", CLAIMS)
def test_null_studies_give_few_verdicts(name):
    given = words(CLAIMS[name], seeds=3, floors=0.0, studies=STUDIES)
    assert sum(word != INCONCLUSIVE for word in given) <= MOST_WRONG


ONE_OF_EACH = {claim.statistic + claim.measure: claim.name for claim in CLAIMS.values()}.values()


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize(("seeds", "share"), [(5, 0.90), (3, 0.85)])
def test_three_floors_are_found(name, seeds, share):
    claim = CLAIMS[name]
    given = words(claim, seeds, floors=3.0, studies=300)
    assert sum(word == SUPPORTED for word in given) >= share * len(given)
    assert CONTRADICTED not in given


def test_worst_of_all_errs_rarely_where_one_rival_equals_it():
    """The hardest null of an intersection-union test: one rival is as bad,
    the others far from it.
    """
    claim = CLAIMS["representation_term_matters_most"]
    left, near, *far = arms_of(claim)
    shift = {(arm, size): claim.sign * SPREAD * 50 for arm in (left, near) for size in SIZES}
    rng = np.random.default_rng(20261123)
    studies = [
        STATISTICS["worst"](claim, table(claim, 3, rng, shift), PROPERTIES) for _ in range(STUDIES)
    ]
    assert len(far) == 3 and not set(far) & {arm for arm, _ in shift}
    assert sum(decide(outcome, claim.sign)[0] != INCONCLUSIVE for outcome in studies) <= MOST_WRONG
    assert all((outcome.p < 0.05) == (not outcome.low <= 0 <= outcome.high) for outcome in studies)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_opposite_of_a_claim_contradicts_it(name):
    given = words(CLAIMS[name], seeds=5, floors=-4.0, studies=50)
    assert sum(word == CONTRADICTED for word in given) >= 40


def test_power_of_two_arms_is_that_of_the_noncentral_t():
    """Three arms, n seeds: 3 (n - 1) degrees of freedom, noncentrality 3 / sqrt(2 / n)."""
    claim = CLAIMS["dual_timestep_alone"]
    for seeds in (3, 5):
        df, centre = 3 * (seeds - 1), 3 / np.sqrt(2 / seeds)
        expected = 1 - nct.cdf(student.ppf(0.975, df), df, centre)
        given = words(claim, seeds, floors=3.0, studies=1000)
        found = sum(word == SUPPORTED for word in given) / len(given)
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / len(given)) + 0.005
