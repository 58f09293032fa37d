"""The luck that runs of a scaling law share: found from seeds, drawn again, and what a fit makes of
it.
"""

from __future__ import annotations

import numpy as np
import pytest

from reports.laws.fits import fit_power_law
from reports.laws.noise import Noise, Part, residual_noise, seed_noise

N = np.geomspace(1e5, 3e7, 6)
D = np.geomspace(1e7, 1e9, 6)


def design(arms: int, sizes: int, seeds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of the runs of a study in which every arm and size has every seed."""
    grid = np.meshgrid(np.arange(arms), np.arange(sizes), np.arange(seeds), indexing="ij")
    arm, size, seed = (axis.ravel() for axis in grid)
    return arm, size, seed


def shared(
    rng: np.random.Generator, labels: tuple[np.ndarray, ...], of_seed: float, at_size: float
) -> np.ndarray:
    """Luck of variance one: parts that all runs of a seed share, and those of a size and seed."""
    arm, size, seed = labels
    own = rng.standard_normal(len(arm))
    everywhere = rng.standard_normal(seed.max() + 1)[seed]
    here = rng.standard_normal((size.max() + 1, seed.max() + 1))[size, seed]
    return (
        np.sqrt(of_seed) * everywhere
        + np.sqrt(at_size) * here
        + np.sqrt(1 - of_seed - at_size) * own
    )


def test_a_deviation_is_that_of_a_size_over_arms_or_of_all_sizes_where_it_is_hardly_known():
    arm, size = np.repeat([0, 1], 6), np.tile([0, 0, 0, 0, 1, 1], 2)
    log_y = np.array([0.0, 2.0, 0.0, 2.0, 5.0, 5.2, 7.0, 9.0, 7.0, 9.0, 1.0, 1.2])
    found = seed_noise(log_y, size, size, arms=arm)
    assert found is not None and found.seeds_df == 8
    assert found.deviation[:4] == pytest.approx(np.sqrt(8 / 6))
    assert found.deviation[4:6] == pytest.approx(np.sqrt((8 + 2 * 0.02) / 8))
    assert found.df[:2] == pytest.approx([6, 8])
    assert seed_noise(np.zeros(2), [0, 1], [0, 1]) is None


def test_shares_are_found_from_the_seeds():
    labels, rng = design(3, 6, 2000), np.random.default_rng(0)
    arm, size, seed = labels
    log_y = arm + size + 0.02 * shared(rng, labels, of_seed=0.3, at_size=0.4)
    found = seed_noise(log_y, size, size, arms=arm, seeds=seed)
    assert found is not None
    parts = [part.deviation[0] ** 2 / 0.02**2 for part in found.parts]
    assert parts[:2] == pytest.approx([0.3, 0.4], abs=0.03)
    assert parts[-1] == pytest.approx(0.3, abs=0.03)
    # three arms that correlate by 0.7 count for less: 3 (n - 1) / (1 + 2 r^2)
    assert found.df[0] == pytest.approx(3 * 1999 / (1 + 2 * 0.7**2), rel=0.05)


def test_luck_is_drawn_with_the_covariance_that_its_parts_say():
    labels, rng = design(2, 2, 3), np.random.default_rng(1)
    _, size, seed = labels
    deviation = np.array([0.1, 0.2])[size]
    parts = (
        Part(seed, np.sqrt(0.3) * deviation, 0 * seed),
        Part(10 * size + seed, np.sqrt(0.5) * deviation, 0 * seed),
        Part(np.arange(len(seed)), np.sqrt(0.2) * deviation, 0 * seed),
    )
    drawn = Noise(parts, np.array([1e9]), np.arange(len(seed)), 8).draw(rng, 40_000)
    expected = 0.3 * (seed[:, None] == seed) + 0.2 * np.eye(len(seed))
    expected = expected + 0.5 * ((size[:, None] == size) & (seed[:, None] == seed))
    scale = np.outer(deviation, deviation)
    assert np.cov(drawn.T) / scale == pytest.approx(expected, abs=0.03)


def test_what_a_run_shares_is_told_from_what_its_snapshots_have():
    size, snapshot, seed = (
        axis.ravel()
        for axis in np.meshgrid(np.arange(5), np.arange(6), np.arange(3), indexing="ij")
    )
    ratios = []
    for trial in range(200):
        rng = np.random.default_rng(trial)
        run = 0.03 * rng.standard_normal((5, 3))[size, seed]
        log_y = size - snapshot + run + 0.01 * rng.standard_normal(len(size))
        found = seed_noise(log_y, size, size, runs=3 * size + seed, images=D[snapshot])
        assert found is not None
        shares, every = found.run_deviation[0], found.deviation[0]
        ratios.append([shares**2 / 0.03**2, (every**2 - shares**2) / 0.01**2])
    assert np.mean(ratios, 0) == pytest.approx([1, 1], abs=0.08)


def test_residuals_are_weighed_by_the_inverse_of_their_covariance():
    run = np.array([0, 0, 0, 1, 1, 2])
    found = residual_noise(np.array([3.0, 2.0, 4.0, -3.0, -2.0, 1.0]), run, 1)
    shares, every = found.run_deviation, found.deviation
    covariance = np.outer(shares, shares) * (run[:, None] == run)
    np.fill_diagonal(covariance, every**2)
    weigh = found.weigh()
    assert shares[0] > 0 and weigh @ covariance @ weigh.T == pytest.approx(np.eye(6))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7])
def test_exponents_are_covered_where_arms_and_sizes_of_a_seed_share_luck(correlation):
    labels = design(3, 6, 3)
    arm, size, seed = labels
    n, covered, widths = N[size], 0, []
    for trial in range(100):
        rng = np.random.default_rng(trial)
        luck = shared(rng, labels, of_seed=correlation, at_size=0.0)
        y = (0.2 + 30 * n**-0.4) * np.exp(0.01 * luck)
        noise = seed_noise(np.log(y), size, size, arms=arm, seeds=seed)
        here = arm == 0
        found = fit_power_law(
            n[here], y[here], bootstrap=100, seed=trial, noise=noise and noise.only(here)
        )
        low, high = found.interval("a")
        covered += low <= 0.4 <= high
        widths.append(high - low)
    print(f"correlation {correlation}: {covered} of 100, median width {np.median(widths):.3f}")
    assert covered >= 88
    # luck that all sizes share is none of the exponent's
    assert np.median(widths) < 0.065 * np.sqrt(1 - correlation) + 0.01


@pytest.mark.parametrize(
    "spread", [[0.04, 0.03, 0.02, 0.01, 0.01, 0.01], [0.01, 0.01, 0.01, 0.03, 0.03, 0.03]]
)
def test_exponents_are_covered_where_sizes_scatter_unlike(spread):
    arm, size, seed = design(3, 6, 5)
    n, here, covered = N[size], arm == 0, 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        y = (0.2 + 30 * n**-0.4) * np.exp(np.array(spread)[size] * rng.standard_normal(len(n)))
        noise = seed_noise(np.log(y), size, size, arms=arm, seeds=seed)
        found = fit_power_law(
            n[here], y[here], bootstrap=100, seed=trial, noise=noise and noise.only(here)
        )
        low, high = found.interval("a")
        covered += low <= 0.4 <= high
    assert covered >= 88


@pytest.mark.parametrize(("correlation", "seeds"), [(0.0, 3), (0.5, 3), (0.0, 1)])
def test_joint_exponents_are_covered_where_snapshots_share_the_luck_of_their_run(
    correlation, seeds
):
    size, snapshot, seed = (
        axis.ravel()
        for axis in np.meshgrid(np.arange(6), np.arange(6), np.arange(seeds), indexing="ij")
    )
    n, d, run = N[size], D[snapshot], seeds * size + seed
    covered, alone = {"a": 0, "b": 0}, 0
    for trial in range(30 if seeds > 1 else 20):
        rng = np.random.default_rng(trial)
        luck = shared(rng, (size, size, seed), correlation, 1 - correlation)
        noise_of_snapshots = 0.005 * rng.standard_normal(len(n))
        y = (0.2 + 30 * n**-0.4 + 500 * d**-0.35) * np.exp(0.015 * luck + noise_of_snapshots)
        noise = seed_noise(np.log(y), size, size, seeds=seed, runs=run, images=d)
        found = fit_power_law(n, y, d, bootstrap=80, seed=trial, noise=noise, runs=run)
        for name, value in (("a", 0.4), ("b", 0.35)):
            low, high = found.interval(name)
            covered[name] += low <= value <= high
        if trial < 15 and seeds > 1 and not correlation:
            low, high = fit_power_law(n, y, d, bootstrap=80, seed=trial).interval("a")
            alone += low <= 0.4 <= high
    print(correlation, seeds, covered, "every snapshot taken as a run:", alone, "of 15")
    assert min(covered.values()) >= trial - 4  # of 30 at 95 %: fewer happens once in 300
    if seeds > 1 and not correlation:
        assert alone <= 10
