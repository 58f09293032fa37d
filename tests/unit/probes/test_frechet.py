"""The Frechet distance against closed forms, scipy and torch-fidelity."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from bench.core.store.rows import SAME_WORDS
from probes.distances.frechet import (
    FRECHET,
    Gaussian,
    Moments,
    distance_of,
    fit,
    frechet_distance,
)
from probes.metric import dropped_note, finite_rows


def sets(n=400, d=24, seed=0):
    random = np.random.default_rng(seed)
    mix = random.normal(size=(d, d))
    return random.normal(size=(n, d)) @ mix, random.normal(size=(n, d)) @ mix * 1.3 + 0.4


def test_diagonal_covariances_have_a_closed_form():
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 0.25])
    gap = np.array([0.5, -1.0, 2.0])
    expected = (gap**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(gap, np.diag(a), np.zeros(3), np.diag(b)) == pytest.approx(
        expected, rel=1e-12
    )


def test_distance_of_samples_is_scipys():
    x, y = sets()
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    gap = x.mean(0) - y.mean(0)
    expected = gap @ gap + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    eigenvalues = np.linalg.eigvals(s @ t).astype(complex)  # a second route to the same trace
    second = gap @ gap + np.trace(s + t) - 2 * np.sqrt(eigenvalues).real.sum()
    found = distance_of(fit(x), fit(y))
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.value == pytest.approx(second, rel=1e-6)
    assert found.note == ""


def test_fit_keeps_its_digits_far_from_the_origin_and_across_blocks():
    x = sets(n=9000, d=3)[0].astype(np.float32) + np.float32(1000)
    gaussian = fit(x)
    np.testing.assert_allclose(
        gaussian.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-10
    )
    np.testing.assert_allclose(gaussian.mean, x.astype(np.float64).mean(0), rtol=1e-12)


def test_moments_of_parts_are_those_of_the_whole():
    x = sets(n=9000, d=3)[0].astype(np.float32) + np.float32(1000)
    moments = Moments()
    for start in range(0, 9000, 70):
        moments.add(x[start : start + 70])
    found = moments.gaussian()
    np.testing.assert_allclose(
        found.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-10
    )
    np.testing.assert_allclose(found.mean, x.mean(axis=0, dtype=np.float64), rtol=1e-12)
    assert found.n == 9000
    with pytest.raises(ValueError, match="not finite"):
        moments.add(np.full((3, 3), np.inf, np.float32))
        moments.gaussian()
    with pytest.raises(ValueError, match=r"features of 1 picture\(s\) have no covariance"):
        one = Moments()
        one.add(x[:1])
        one.gaussian()


def test_a_set_has_no_distance_to_itself():
    x, _ = sets()
    assert abs(distance_of(fit(x), fit(x)).value) < 1e-6


def test_fewer_samples_than_dimensions_are_named():
    x, y = sets(n=20)
    note = distance_of(fit(x), fit(y)).note
    assert "unreliable" in note and "20 samples" in note and "24 feature dimensions" in note
    file_without_n = Gaussian(fit(y).mean, fit(y).covariance, 0)
    assert "reference" not in distance_of(fit(x), file_without_n).note


def test_commuting_covariances_have_a_closed_form():
    """tr(S + T - 2 (S T)^(1/2)) = sum (sqrt s_i - sqrt t_i)^2 on common eigenvectors, zeros among
    them.
    """
    random = np.random.default_rng(2)
    axes = np.linalg.qr(random.normal(size=(40, 40)))[0]
    s, t = random.uniform(0, 5, 40), random.uniform(0, 5, 40)
    s[:15], t[10:25] = 0, 0
    found = frechet_distance(np.zeros(40), axes * s @ axes.T, np.full(40, 0.1), axes * t @ axes.T)
    assert found == pytest.approx(0.4 + ((np.sqrt(s) - np.sqrt(t)) ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize(("width", "n"), [(64, 20), (256, 50), (512, 30)])
def test_singular_covariances_are_right(width, n):
    """Of centred data A and B, tr (S_a S_b)^(1/2) is the sum of singular values of A B^T / (n - 1):
    a matrix as small as the data are few. General square roots fail here.
    """
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, n, width))
    centred = x - x.mean(0), y - y.mean(0)
    common = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum() / (n - 1)
    gap = x.mean(0) - y.mean(0)
    traces = sum((part**2).sum() for part in centred) / (n - 1)
    assert distance_of(fit(x), fit(y)).value == pytest.approx(
        gap @ gap + traces - 2 * common, rel=1e-9
    )


def test_what_is_no_covariance_is_refused():
    good, zero = np.diag([4.0, 1.0, 0.0]), np.zeros(3)
    cases = {
        "negative variances": np.diag([4.0, 1.0, -0.1]),
        "not symmetric": good + np.triu(np.ones((3, 3)), 1),
        "not finite": np.full((3, 3), np.inf),
    }
    for said, matrix in cases.items():
        for pair in ((matrix, good), (good, matrix)):
            with pytest.raises(ValueError, match=said):
                frechet_distance(zero, pair[0], zero, pair[1])
    with pytest.raises(ValueError, match="a mean of features is not finite"):
        frechet_distance(zero * np.nan, good, zero, good)
    rounded = good.astype(np.float32) * np.float32(1 + 1e-7)
    rounded[0, 1], rounded[2, 2] = 1e-7, -1e-7
    assert frechet_distance(zero, rounded, zero, good) == pytest.approx(0, abs=1e-5)


def test_values_that_are_not_finite_are_counted_or_refused():
    x, y = sets()
    x[3, 2], x[7] = np.nan, np.inf
    with pytest.raises(ValueError, match="not finite"):
        fit(x)
    mask, dropped = finite_rows(x)
    assert dropped == 2 and not mask[3] and not mask[7] and mask.sum() == len(x) - 2
    assert dropped_note(dropped, len(x)).startswith("2 of 400 samples")
    assert np.isfinite(distance_of(fit(x[mask]), fit(y)).value)
    assert finite_rows(np.zeros((4, 3, 2), np.uint8))[1] == 0


@pytest.mark.parametrize("shape", [(1, 4), (5,)])
def test_too_little_for_a_covariance_is_refused(shape):
    with pytest.raises(ValueError, match="no covariance"):
        fit(np.zeros(shape))


def test_unlike_extractors_have_no_distance():
    with pytest.raises(ValueError, match="one extractor"):
        distance_of(fit(np.eye(3)), fit(np.eye(4)))


def test_rows_of_earlier_versions_are_read_in_todays_words():
    assert FRECHET in SAME_WORDS.values()
