"""What a planned study can show, against the noncentral t distribution of scipy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student
from support.truth import rows

from reports.findings.planned import what_it_can_show
from reports.findings.power import detectable

ARMS = {"vanilla": 10.0, "repa/m": 9.0, "selfflow": 8.0, "dual_timestep": 9.9}


def planned(arms: int, seeds: int) -> dict[str, list[tuple[str, int]]]:
    return {"nano": [(f"arm{i}", seed) for i in range(arms) for seed in range(seeds)]}


@pytest.mark.parametrize(("seeds", "df"), [(3, 4), (5, 8), (20, 38)])
def test_the_least_effect_is_found_four_times_in_five(seeds, df):
    least = detectable(0.02, seeds, df)
    centre = least / (0.02 / np.sqrt(seeds))
    bound = student.ppf(0.975, df)
    assert nct.sf(bound, df, centre) + nct.cdf(-bound, df, centre) == pytest.approx(0.8, abs=1e-6)


def test_a_plan_is_told_by_finished_runs_of_its_size():
    table = rows(ARMS, seeds=6)
    (line,) = what_it_can_show(table, "digits", planned(3, 5))
    final = table[table["final"]].pivot_table("value", "arm", "seed").to_numpy()
    y = np.log(final)
    rest = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    scatter = np.sqrt(2 * (rest**2).sum() / (3 * 5))
    said = [float(one) / 100 for one in re.findall(r"(\d+\.\d+) %", line)]
    expected = [detectable(scatter, 5, 8), detectable(scatter, 10, 18), scatter]
    assert said == pytest.approx(np.expm1(expected), abs=6e-4)
    assert line.startswith("nano, fd_pixels: a difference of ")


@pytest.mark.parametrize(
    ("table", "plan", "says"),
    [
        (rows(ARMS), planned(3, 2), "3 arms of 2 shared seeds give no verdict inside a size"),
        (rows(ARMS), planned(2, 5), "2 arms of 5 shared seeds give no verdict inside a size"),
        (rows(ARMS), planned(1, 5), "1 arm of 5 shared seeds give no verdict"),
        (rows(ARMS, seeds=1), planned(3, 5), "is known once two arms have two seeds each"),
        (rows({}), planned(3, 5), "is known once two arms have two seeds each"),
    ],
)
def test_a_plan_that_tells_nothing_says_why(table, plan, says):
    (line,) = what_it_can_show(table, "digits", plan)
    assert says in line
