"""Scaling laws: recovery of known ones, agreement with scipy, coverage of the intervals,
refusals, and the command.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, curve_fit

from reports.laws.command import fit_table
from reports.laws.comparison import crossing_point, effective_parameters, predict_largest
from reports.laws.fits import Law, Refusal, fit_power_law, size_noise

N = np.geomspace(1e5, 3e7, 6)
D = np.geomspace(1e7, 1e9, 4)


def law(n, e=0.2, scale=30.0, a=0.4):
    return e + scale * np.asarray(n, float) ** -a


def noisy(
    seed: int, seeds: int = 3, spread: float = 0.01, **parameters
) -> tuple[np.ndarray, np.ndarray]:
    n = np.repeat(N, seeds)
    return n, law(n, **parameters) * np.exp(
        spread * np.random.default_rng(seed).standard_normal(len(n))
    )


@pytest.mark.parametrize(
    ("e", "scale", "a"), [(0.2, 30.0, 0.4), (1.7, 400.0, 0.34), (0.01, 5.0, 0.15), (2.0, 1e5, 1.0)]
)
def test_a_law_without_noise_is_recovered(e, scale, a):
    found = fit_power_law(N, law(N, e, scale, a), bootstrap=2)
    assert found.values == pytest.approx([e, scale, a], rel=1e-3)


def test_the_joint_law_without_noise_is_recovered():
    n, d = (axis.ravel() for axis in np.meshgrid(N, D))
    found = fit_power_law(n, law(n) + 500 * d**-0.35, d, bootstrap=2)
    assert found.values == pytest.approx([0.2, 30.0, 0.4, 500.0, 0.35], rel=1e-3)


def test_small_noise_agrees_with_scipy():
    n, y = noisy(3, spread=0.002)
    found = fit_power_law(n, y, bootstrap=100)
    (e, log_scale, a), covariance = curve_fit(
        lambda x, e, s, a: np.log(e + np.exp(s - a * np.log(x))), n, np.log(y), p0=(0.1, 3.0, 0.5)
    )
    error = np.sqrt(covariance[2, 2])
    assert found["a"] == pytest.approx(a, abs=0.5 * error)
    assert found["E"] == pytest.approx(e, rel=0.01)
    assert np.log(found["A"]) == pytest.approx(log_scale, rel=0.02)
    low, high = found.interval("a")
    assert (high - low) / 3.92 == pytest.approx(
        error, rel=0.6
    )  # 12 df of seeds against 15 of residuals, 100 samples


def test_one_wild_run_moves_the_fit_little():
    n, y = noisy(1)
    wild = y.copy()
    wild[4] *= 1.5
    assert fit_power_law(n, wild, bootstrap=2)["a"] == pytest.approx(
        fit_power_law(n, y, bootstrap=2)["a"], abs=0.05
    )


def test_exponent_intervals_cover_the_truth():
    covered, widths = 0, []
    for seed in range(100):
        low, high = fit_power_law(*noisy(seed), bootstrap=120).interval("a")
        covered += low <= 0.4 <= high
        widths.append(high - low)
    print(
        f"95 % intervals of the exponent cover the truth in {covered} of 100 fits, "
        f"median width {np.median(widths):.3f}"
    )
    assert covered >= 88
    assert 0.02 < np.median(widths) < 0.12  # informative: the exponent is 0.4


@pytest.mark.parametrize(
    "spread", [[0.04, 0.03, 0.02, 0.01, 0.01, 0.01], [0.01, 0.01, 0.01, 0.03, 0.03, 0.03]]
)
def test_exponent_intervals_cover_the_truth_where_sizes_scatter_unlike(spread):
    n, deviation = np.repeat(N, 5), np.repeat(spread, 5)
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        arms = [law(n) * np.exp(deviation * rng.standard_normal(len(n))) for _ in range(3)]
        noise = size_noise([(n, None, np.log(y)) for y in arms])
        low, high = fit_power_law(n, arms[0], bootstrap=120, noise=noise).interval("a")
        covered += low <= 0.4 <= high
    assert covered >= 88


def test_a_size_that_scatters_counts_less_as_scipy_weighs_it():
    n, deviation = np.repeat(N, 5), np.repeat([0.01, 0.01, 0.08, 0.01, 0.002, 0.002], 5)
    y = law(n) * np.exp(
        0.5 * deviation * np.random.default_rng(5).standard_normal(len(n))
    )  # no residual is wild
    found = fit_power_law(
        n,
        y,
        bootstrap=300,
        noise={float(at): (one, 1000) for at, one in zip(n, deviation, strict=True)},
    )
    (e, _, a), covariance = curve_fit(
        lambda x, e, s, a: np.log(e + np.exp(s - a * np.log(x))),
        n, np.log(y), p0=(0.1, 3.0, 0.5), sigma=deviation, absolute_sigma=True,
    )  # fmt: skip
    assert found["a"] == pytest.approx(a, rel=0.02)
    assert found["E"] == pytest.approx(e, rel=0.01)
    low, high = found.interval("a")
    assert (high - low) / 3.92 == pytest.approx(np.sqrt(covariance[2, 2]), rel=0.2)


def test_noise_is_that_of_a_size_over_arms_or_of_all_sizes_where_it_is_hardly_known():
    n = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 2.0])
    arms = [np.array([0.0, 2.0, 0.0, 2.0, 5.0, 5.2]), np.array([7.0, 9.0, 7.0, 9.0, 1.0, 1.2])]
    found = size_noise([(n, None, log_y) for log_y in arms])
    assert found[1.0] == (pytest.approx(np.sqrt(8 / 6)), 6)
    assert found[2.0] == (pytest.approx(np.sqrt((8 + 2 * 0.02) / 8)), 8)
    assert size_noise([(np.array([1.0, 2.0]), None, np.zeros(2))]) == {}


def test_intervals_of_all_parameters_of_the_joint_law_cover():
    n, d = (np.repeat(axis.ravel(), 2) for axis in np.meshgrid(N, D))
    truth = {"E": 0.2, "A": 30.0, "a": 0.4, "B": 500.0, "b": 0.35}
    covered = dict.fromkeys(truth, 0)
    for seed in range(30):
        y = (law(n) + 500 * d**-0.35) * np.exp(
            0.01 * np.random.default_rng(seed).standard_normal(len(n))
        )
        found = fit_power_law(n, y, d, bootstrap=100)
        for name, value in truth.items():
            low, high = found.interval(name)
            covered[name] += low <= value <= high
    assert min(covered.values()) >= 24  # 30 at 95 %: fewer than 24 happens once in 10,000


def test_the_largest_size_is_foretold():
    inside = 0
    for seed in range(40):
        found = predict_largest(*noisy(seed), bootstrap=100)
        inside += found.low <= found.measured <= found.high
    assert found.n == N[-1]
    assert inside >= 33


def test_methods_are_compared_by_multiplier_and_crossing():
    method, baseline = (
        fit_power_law(*noisy(1, spread=1e-4, a=0.45), bootstrap=50),
        fit_power_law(*noisy(2, spread=1e-4), bootstrap=50),
    )
    times = effective_parameters(method, baseline, 1e6)
    expected = ((30 * 1e6**-0.45) / 30) ** (-1 / 0.4) / 1e6
    assert times.value == pytest.approx(expected, rel=0.05)
    assert times.low < times.value < times.high
    assert crossing_point(method, baseline, 1e5, 3e7).value is None
    steep = fit_power_law(*noisy(3, spread=1e-4, scale=100.0, a=0.5), bootstrap=50)
    met = crossing_point(steep, baseline, 1e4, 3e7)
    truth = brentq(lambda n: float(law(n, scale=100.0, a=0.5) - law(n)), 1e4, 3e7)
    assert met.value == pytest.approx(truth, rel=0.05)
    assert met.low <= met.value <= met.high


@pytest.mark.slow
def test_intervals_of_multiplier_and_crossing_cover_the_truth():
    times = ((30 * 1e6**-0.45) / 30) ** (-1 / 0.4) / 1e6
    meets = brentq(lambda n: float(law(n, scale=100.0, a=0.5) - law(n)), 1e4, 3e7)
    inside = np.zeros(2)
    for seed in range(40):
        baseline = fit_power_law(*noisy(seed, spread=0.01), bootstrap=200, seed=1)
        method, steep = (
            fit_power_law(*noisy(1000 + seed, spread=0.01, **truth), bootstrap=200, seed=2)
            for truth in ({"a": 0.45}, {"scale": 100.0, "a": 0.5})
        )
        found = (
            effective_parameters(method, baseline, 1e6),
            crossing_point(steep, baseline, 1e4, 3e7),
        )
        inside += [
            one.low <= truth <= one.high for one, truth in zip(found, (times, meets), strict=True)
        ]
    assert (inside >= 35).all(), inside


def test_where_the_baseline_never_gets_there_the_interval_is_unbounded():
    low, flat = (
        fit_power_law(*noisy(1, spread=1e-4), bootstrap=50),
        fit_power_law(*noisy(2, spread=1e-4, e=2.5), bootstrap=50),
    )
    never = effective_parameters(low, flat, 3e7)
    assert never.value is None and never.share == 0
    some = Law(low.names, low.values, low.samples[:20], low.deviation, low.df, True, low.residuals)
    mixed = Law(
        flat.names,
        low.values,
        np.vstack([low.samples[:15], flat.samples[:5]]),
        0.0,
        1,
        True,
        flat.residuals,
    )
    half = effective_parameters(some, mixed, 3e7)
    assert half.share == 0.75 and half.high == np.inf and half.low < 1.1


def joint(pairs):
    n, d = np.array(pairs).T
    return n, 1.7 + 400 * n**-0.34 + 400 * d**-0.28, d


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        (
            [(1e6, 1e8), (1e7, 1e9), (1e8, 1e10), (1e9, 1e11), (1e6, 1e11)],
            "5 pairs of N and D for the 5 parameters",
        ),
        ([(n, 20 * n) for n in np.geomspace(1e6, 1e9, 8)], "D goes with N"),
    ],
)
def test_joint_designs_that_leave_a_parameter_open_are_refused(pairs, why):
    n, y, d = joint(pairs)
    with pytest.raises(Refusal, match=why):
        fit_power_law(n, y, d)


def test_rising_values_are_no_power_law():
    with pytest.raises(Refusal, match="do not fall with size"):
        fit_power_law([1e5, 1e6, 1e7, 1e8], [1.0, 1.1, 1.2, 1.3])


@pytest.mark.parametrize(
    ("n", "y", "why"),
    [
        ([1e5, 1e6, 1e7], [3.0, 2.0, 1.0], "3 values of N"),
        ([1e5, 1e6, 1e7, 1e8], [3.0, 2.0, np.nan, 1.0], "y holds nan"),
        ([1e5, 1e6, 1e7, -1.0], [3.0, 2.0, 1.5, 1.0], "N holds -1"),
        ([], [], "0 values of N"),
    ],
)
def test_refusals_say_why(n, y, why):
    with pytest.raises(Refusal, match=why):
        fit_power_law(n, y)


def test_the_command_prints_and_draws(tmp_path, capsys):
    n, y = noisy(0)
    table = tmp_path / "table.csv"
    table.write_text("N,loss\n" + "".join(f"{a},{b}\n" for a, b in zip(n, y, strict=True)))
    fit_table(table, "N", "loss")
    out = capsys.readouterr().out
    assert "loss = E + A N^-a" in out and "from the smaller ones" in out
    picture = (tmp_path / "table-fit.svg").read_bytes()
    assert picture.startswith(b"<?xml")
    fit_table(table, "N", "loss")
    assert (tmp_path / "table-fit.svg").read_bytes() == picture
    with pytest.raises(ValueError, match=r"no column 'M'.*N, loss"):
        fit_table(table, "M", "loss")
    table.write_text("N,loss\n1,2\nmany,3\n")
    with pytest.raises(ValueError, match="line 3: N is 'many'"):
        fit_table(table, "N", "loss")


def test_degrees_of_freedom_are_those_of_the_points_own_seeds():
    n = np.repeat([1e5, 2e5, 4e5, 8e5, 1.6e6, 3.2e6], [7, 3, 3, 3, 3, 3])
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(n))
    law = fit_power_law(n, (0.3 + 50 * n**-0.5) * np.exp(noise), bootstrap=20)
    assert law.df == 6 + 5 * 2
