"""Runs that stand apart: the published example, a regression by hand, what must not be named."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.findings.apart import extreme

# NIST/SEMATECH e-Handbook, 1.3.5.17.3: Rosner's 54 values, of which three stand apart at 0.05
ROSNER = """
-0.25 0.68 0.94 1.15 1.20 1.26 1.26 1.34 1.38 1.43 1.49 1.49 1.55 1.56 1.58 1.65 1.69 1.70 1.76
1.77 1.81 1.91 1.94 1.96 1.99 2.06 2.09 2.10 2.14 2.15 2.23 2.24 2.26 2.35 2.37 2.40 2.47 2.54
2.62 2.64 2.90 2.92 2.92 2.93 3.21 3.26 3.30 3.59 3.68 4.30 4.64 5.34 5.42 6.01
"""


def _one_arm(values: np.ndarray, level: float = 0.01) -> dict[int, float]:
    return extreme(values, np.full(len(values), "one"), level)


def test_the_handbooks_example():
    values = np.array([float(word) for word in ROSNER.split()])
    found = _one_arm(values, 0.05)
    assert sorted(values[list(found)]) == [5.34, 5.42, 6.01]
    # its test statistics are |x - mean| / s with the value itself in both: 3.119, 2.943, 3.179
    for t, printed, left in zip(found.values(), (3.119, 2.943, 3.179), (54, 53, 52), strict=True):
        freedom = left - 2
        within = t * (left - 1) / np.sqrt(left * (freedom + t * t))
        assert abs(within - printed) < 5e-4
    assert not _one_arm(values[:51], 0.05)


def test_a_deviation_is_that_of_a_regression_without_the_run():
    """Student's t of a column that is one for this run alone, beside one for each arm."""
    values = np.random.default_rng(0).normal(size=12)
    values[7] += 9
    arms = np.repeat(["a", "b", "c"], 4)
    (place, t), *more = extreme(values, arms, 0.01).items()
    assert place == 7 and not more
    columns = np.stack([*(arms == arm for arm in "abc"), np.arange(12) == place]).T.astype(float)
    fit, (rest,), *_ = np.linalg.lstsq(columns, values, rcond=None)
    error = np.sqrt(rest / (12 - 4) * np.linalg.inv(columns.T @ columns)[3, 3])
    np.testing.assert_allclose(t, fit[3] / error, rtol=1e-10)


def test_two_do_not_hide_each_other_and_arms_differ():
    values = np.random.default_rng(1).normal(size=14) * 0.01
    values[7:] += 5  # an arm that is worse is no run that stands apart
    assert not extreme(values, np.repeat(["a", "b"], 7), 0.01)
    values[3] += 1
    values[12] += 1.1
    assert sorted(extreme(values, np.repeat(["a", "b"], 7), 0.01)) == [3, 12]


@pytest.mark.parametrize(("each", "share"), [(4, 0.08), (12, 0.06)])
def test_chance_names_about_as_many_as_the_level(each: int, share: float):
    """A thousand tables of normal numbers. The test's critical values are for 25 runs and more:
    of twelve, 7 % of tables name one where the level is 5 %.
    """
    generator = np.random.default_rng(2)
    arms = np.repeat(["a", "b", "c"], each)
    tables = generator.normal(size=(1000, len(arms)))
    named = sum(bool(extreme(table, arms, 0.05)) for table in tables)
    assert named <= stats.binom.ppf(0.999, 1000, share)


def test_equal_runs_and_lone_ones():
    assert not _one_arm(np.zeros(8))
    assert not _one_arm(np.array([0, 1e-12, 0, 0, -1e-12, 0, 0, 0]))
    assert list(_one_arm(np.array([0.0, 0, 0, 0, 1, 0, 0, 0]))) == [4]
    assert not extreme(np.array([0.0, 5, 9]), np.array(["a", "b", "c"]), 0.01)
    assert not extreme(np.array([]), np.array([]), 0.01)
