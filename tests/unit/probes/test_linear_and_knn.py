"""Linear probes and kNN: against scikit-learn and dense computations,
on planted signals and on noise.
"""

import numpy as np
import pytest
import torch

from bench.core.numbers import standard_error, wilson
from probes.features.knn import knn_predict
from probes.features.linear import ProbeRecipe, fast_answers, repa_answers


def features(separation, n=600, classes=5, width=16, seed=0):
    """n rows whose class moves the mean by `separation` along a direction of its own;
    (train, y, heldout, y).
    """
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    directions = np.linalg.qr(random.normal(size=(width, width)))[0][:classes]
    x = random.normal(size=(n, width)) + separation * directions[labels]
    return (
        x[: n // 2].astype(np.float32),
        labels[: n // 2],
        x[n // 2 :].astype(np.float32),
        labels[n // 2 :],
    )


def fast(*arguments):
    return fast_answers(*arguments).mean()


def repa(*arguments):
    return repa_answers(*arguments, recipe=ProbeRecipe(learning_rate=0.02)).mean()


def knn(train, y, heldout, z):
    train, y, heldout = (torch.from_numpy(a) for a in (train, y, heldout))
    return (knn_predict(train, y, heldout, classes=5).numpy() == z).mean()


@pytest.mark.parametrize("probe", [fast, repa, knn])
def test_a_planted_signal_is_found_and_none_where_none_is(probe):
    assert probe(*features(8.0)) > 0.98
    chance = probe(*features(0.0))
    low, high = wilson(60, 300, z=4)
    assert low < chance < high


def test_both_linear_probes_are_scikit_learn_on_a_separable_case():
    from sklearn.linear_model import LogisticRegression

    train, y, heldout, z = features(6.0)
    theirs = LogisticRegression().fit(train, y).score(heldout, z)
    assert theirs == 1 == fast(train, y, heldout, z) == repa(train, y, heldout, z)


def test_repa_probe_ignores_scale_and_shift_and_repeats_exactly():
    train, y, heldout, z = features(2.0)
    scale, shift = np.float32(3) ** np.arange(-2, 6).repeat(2).astype(np.float32), np.float32(3)
    plain = repa(train, y, heldout, z)
    assert plain == repa(train, y, heldout, z)
    assert repa(
        train * scale + shift * scale, y, heldout * scale + shift * scale, z
    ) == pytest.approx(plain, abs=0.02)


def test_repa_probe_reads_memory_mapped_half_precision(tmp_path):
    train, y, heldout, z = features(6.0)
    np.save(tmp_path / "train.npy", train.astype(np.float16))
    mapped = np.load(tmp_path / "train.npy", mmap_mode="r")
    assert repa_answers(mapped, y, heldout, z, ProbeRecipe(batch=64)).mean() > 0.98


def test_features_that_are_not_finite_are_refused():
    train, y, heldout, z = features(6.0)
    train[5, 3] = np.nan
    for probe in (fast, repa):
        with pytest.raises(ValueError, match="1 of 300 training feature rows are not finite"):
            probe(train, y, heldout, z)


def test_knn_is_the_dense_computation():
    train, y, heldout, z = features(2.0)
    a = train / np.linalg.norm(train, axis=1, keepdims=True)
    b = heldout / np.linalg.norm(heldout, axis=1, keepdims=True)
    nearest = np.argsort(-(b @ a.T), axis=1)[:, :20]
    expected = np.array(
        [np.bincount(y[row], minlength=5).argmax() for row in nearest]
    )  # the smaller label wins ties
    tensors = [torch.from_numpy(v) for v in (train, y, heldout)]
    for block in (7, 64, 1000):
        assert np.array_equal(knn_predict(*tensors, classes=5, k=20, block=block).numpy(), expected)
    assert knn(train, y, heldout, z) == pytest.approx((expected == z).mean())


def test_a_tie_goes_to_the_smaller_label():
    train = torch.tensor([[1.0, 0.0], [0.99, 0.01], [0.98, 0.02], [0.97, 0.03]])
    labels = torch.tensor([3, 1, 1, 3])
    assert knn_predict(train, labels, torch.tensor([[1.0, 0.0]]), classes=4, k=4).tolist() == [1]


def test_wilson_interval_by_hand():
    # 8 of 10, z = 2: centre (0.8 + 0.2) / 1.4, half-width 2 / 1.4 sqrt(0.016 + 0.01)
    low, high = wilson(8, 10, z=2)
    assert low == pytest.approx(1 / 1.4 - 2 / 1.4 * 0.026**0.5)
    assert high == pytest.approx(1 / 1.4 + 2 / 1.4 * 0.026**0.5)
    assert (
        wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == pytest.approx(1) and wilson(10, 10)[0] < 0.75
    )
    assert (
        0
        < standard_error(1.0, 600)
        < standard_error(0.5, 600)
        == pytest.approx(0.5 / 600**0.5, rel=0.01)
    )
    with pytest.raises(ValueError, match="11 successes of 10"):
        wilson(11, 10)
