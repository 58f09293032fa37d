"""KID against torch-fidelity, IS by hand, sources of pictures,
the FID family with a small network for Inception.
"""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from probes.distances import frechet
from probes.distances import reference as fid_reference
from probes.distances.fid import measure_fid_family
from probes.distances.frechet import distance_of, fit
from probes.distances.images import DatasetImages, FolderImages, NpzImages
from probes.distances.inception_score import inception_score
from probes.distances.kid import kid
from probes.distances.precision_recall import precision_recall
from probes.distances.reference import adm_parts, adm_reference, image_reference
from probes.extractors.inception import inception_features, spatial_features


def test_kid_is_torch_fidelitys():
    from bench.core.compat import import_vision

    import_vision("torch_fidelity")
    from torch_fidelity.metric_kid import kid_features_to_metric

    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 24)), random.normal(size=(250, 24)) * 1.2 + 0.1
    theirs = kid_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        kid_subsets=10,
        kid_subset_size=100,
        rng_seed=5,
        verbose=False,
    )
    ours = kid(x, y, subsets=10, size=100, seed=5)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.spread == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)
    assert kid(x, y).subset_size == 250  # all, where there are fewer than 1,000
    assert abs(kid(x, x[::-1].copy()).value) < 0.05 < kid(x, y + 1).value
    with pytest.raises(ValueError, match="two of each"):
        kid(x[:1], y)


def test_inception_score_by_hand():
    certain = np.array([[50.0, 0, 0], [0, 50, 0], [0, 0, 50]])
    assert inception_score(certain) == pytest.approx(3, rel=1e-9)
    assert inception_score(np.zeros((4, 3))) == pytest.approx(1)
    # p = (3/4, 1/4) and (1/4, 3/4), mean (1/2, 1/2): KL = 3/4 ln 3/2 + 1/4 ln 1/2 for both
    logits = np.log([[3.0, 1.0], [1.0, 3.0]])
    expected = np.exp(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert inception_score(logits) == pytest.approx(expected)
    # consecutive blocks: each holds one class alone and scores 1; shuffled blocks would score more
    assert inception_score(np.repeat(certain[:2], 4, axis=0), block=4) == pytest.approx(1)
    far = np.array([[0.0, 2000.0], [0.0, 2000.0]])  # a class that no picture has
    assert inception_score(far) == pytest.approx(1)


def test_spatial_features_are_channels_last_the_first_seven():
    branch = torch.randn(2, 192, 17, 17)
    found = spatial_features(branch)
    assert found.shape == (2, 2023)
    for h, w, c in ((0, 0, 0), (3, 11, 5), (16, 16, 6)):
        assert torch.equal(found[:, (h * 17 + w) * 7 + c], branch[:, c, h, w])


WIDTHS = (6, 7)  # pool and spatial features of a SmallNetwork


class SmallNetwork(nn.Module):
    """In Inception's place: pool features of 6 numbers, logits of 4, and a branch to hook."""

    fingerprint = "feedfacefeedface"

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.Mixed_6d = nn.Module()
        self.Mixed_6d.branch1x1 = nn.Conv2d(3, 8, 1)
        self.weight = torch.randn(192, 6, generator=draw)
        self.fc = torch.randn(6, 4, generator=draw)
        self.passes = 0

    def forward(self, images):
        self.passes += len(images)
        x = images.float() / 127.5 - 1
        self.Mixed_6d.branch1x1(x[:, :, :1, :1])
        pool = x.flatten(1) @ self.weight
        return pool, pool @ self.fc


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SmallNetwork()


def pictures(n, seed, low=0):
    return np.random.default_rng(seed).integers(low, 256, size=(n, 8, 8, 3), dtype=np.uint8)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def samples(tmp_path):
    return NpzImages(save(tmp_path / "samples.npz", arr_0=pictures(300, 0, low=30)))


def statistics(network, images, spatial=True):
    found = inception_features(network, images)
    pool, local = fit(found.pool), fit(found.spatial)
    whole = {"mu": pool.mean, "sigma": pool.covariance}
    return whole | ({"mu_s": local.mean, "sigma_s": local.covariance} if spatial else {})


def test_one_pass_gives_every_metric_with_an_adm_file(network, samples, tmp_path):
    real = pictures(200, 1)
    source = NpzImages(save(tmp_path / "real.npz", arr_0=real))
    path = save(tmp_path / "reference.npz", arr_0=real, **statistics(network, source))
    reference = adm_reference(network, path, tmp_path / "cache", widths=WIDTHS)
    network.passes = 0
    rows = {
        row.metric: row
        for row in measure_fid_family(network, samples, reference, {"name": "ode50"})
    }
    assert network.passes == 300
    assert list(rows) == ["fid", "sfid", "is", "precision", "recall", "kid"]
    ours, theirs = inception_features(network, samples), inception_features(network, source)
    assert rows["fid"].value == pytest.approx(
        distance_of(fit(ours.pool), fit(theirs.pool)).value, rel=1e-9
    )
    assert rows["sfid"].value == pytest.approx(
        distance_of(fit(ours.spatial), fit(theirs.spatial)).value, rel=1e-9
    )
    expected = precision_recall(torch.from_numpy(ours.pool), torch.from_numpy(theirs.pool))
    assert (rows["precision"].value, rows["recall"].value) == expected
    assert rows["kid"].value == pytest.approx(kid(ours.pool, theirs.pool).value)
    assert rows["kid"].protocol["subset_size"] == 200
    assert (
        rows["is"].value == pytest.approx(inception_score(ours.logits))
        and rows["is"].higher_is_better
    )
    for row in rows.values():
        assert row.protocol["extractor_weights"] == network.fingerprint
        assert row.protocol["sampling"] == {"name": "ode50"}
        assert row.note == "" and row.n == 300
    network.passes = 0
    adm_reference(network, path, tmp_path / "cache", widths=WIDTHS)
    assert network.passes == 0  # the reference's features were kept


def test_a_reference_without_mu_s_or_pictures_leaves_the_rest(network, samples, tmp_path):
    source = NpzImages(save(tmp_path / "real.npz", arr_0=pictures(200, 1)))
    path = save(tmp_path / "reference.npz", **statistics(network, source, spatial=False))
    reference = adm_reference(network, path, tmp_path / "cache", widths=WIDTHS)
    rows = {row.metric: row for row in measure_fid_family(network, samples, reference, {})}
    assert rows["sfid"].value is None and "no mu_s" in rows["sfid"].note
    assert (
        rows["precision"].value is None
        and rows["kid"].value is None
        and "arr_0" in rows["kid"].note
    )
    assert rows["fid"].value > 0 and rows["is"].value > 1
    with pytest.raises(ValueError, match="at least mu and sigma"):
        adm_reference(network, save(tmp_path / "no.npz", arr_0=pictures(5, 1)), tmp_path / "cache")
    with pytest.raises(ValueError, match="no reference file"):
        adm_reference(network, tmp_path / "nothing.npz", tmp_path / "cache")


def adm_file(tmp_path, network, **changes):
    """A reference file with some of its arrays changed."""
    source = NpzImages(save(tmp_path / "real.npz", arr_0=pictures(200, 1)))
    return save(
        tmp_path / "reference.npz",
        **({"arr_0": pictures(200, 1)} | statistics(network, source) | changes),
    )


LACKING = {
    "narrow spatial features": (
        {"mu_s": np.zeros(5)},
        {"sfid": "sigma_s of reference.npz are (5,) and (7, 7)"},
    ),
    "spatial features not finite": (
        {"mu_s": np.full(7, np.nan)},
        {"sfid": "hold values that are not finite"},
    ),
    "three pictures": (
        {"arr_0": pictures(3, 1)},
        dict.fromkeys(("precision", "recall"), "reference.npz has 3 picture(s), precision needs 4"),
    ),
    "one picture": (
        {"arr_0": pictures(1, 1)},
        dict.fromkeys(("precision", "recall", "kid"), "has 1 picture(s)"),
    ),
    "pictures of floats": (
        {"arr_0": np.zeros((9, 8, 8, 3), np.float32)},
        dict.fromkeys(("precision", "recall", "kid"), "are uint8"),
    ),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_a_reference_file_does_not_allow_is_missing_and_the_rest_goes_on(
    network, samples, tmp_path, case
):
    changes, missing = LACKING[case]
    path = adm_file(tmp_path, network, **changes)
    assert adm_parts(path, WIDTHS)[2].keys() == missing.keys()
    reference = adm_reference(network, path, tmp_path / "cache", widths=WIDTHS)
    rows = {
        row.metric: row
        for row in measure_fid_family(network, samples, reference, {}, heldout=reference)
    }
    assert {metric for metric, row in rows.items() if row.value is None} == missing.keys()
    for metric, why in missing.items():
        assert why.replace("precision", metric) in rows[metric].note and rows[metric].real is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mu": np.zeros(4)},
            r"are \(4,\) and \(6, 6\), those of Inception's features \(6,\) and \(6, 6\)",
        ),
        ({"mu": np.full(6, np.nan)}, "mu and sigma of .* hold values that are not finite"),
        ({"mu": np.array(["a"] * 6)}, "is no whole .npz of arrays"),
    ],
)
def test_a_reference_file_of_other_features_is_refused(network, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        adm_parts(adm_file(tmp_path, network, **changes), WIDTHS)
    with pytest.raises(ValueError, match=r"those of Inception's features \(2048,\)"):
        adm_parts(adm_file(tmp_path, network))


class Wide(nn.Module):
    """Wide features, to be held against the memory that they take."""

    fingerprint = "widewidewidewide"

    def __init__(self):
        super().__init__()
        self.Mixed_6d = nn.Module()
        self.Mixed_6d.branch1x1 = nn.Conv2d(3, 192, 1)

    def forward(self, images):
        x = images.float()
        self.Mixed_6d.branch1x1(x[:, :, :3, :3])
        return x.flatten(1).repeat(1, 2) + torch.arange(384) % 7, x[:, 0, 0, :4]


def test_memory_does_not_grow_with_the_pictures_of_a_reference(tmp_path, monkeypatch):
    monkeypatch.setattr(frechet, "ROWS_AT_ONCE", 300)
    monkeypatch.setattr(fid_reference, "MOST_MANIFOLD", 50)
    images, network = NpzImages(save(tmp_path / "real.npz", arr_0=pictures(6000, 1))), Wide()
    tracemalloc.start()
    reference = image_reference(network, images, tmp_path / "cache")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = inception_features(network, images)
    assert peak < 7e6 < whole.pool.nbytes  # 9.2 MB
    expected = np.cov(whole.pool.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(reference.pool.covariance, expected, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(
        reference.pool.mean, whole.pool.mean(axis=0, dtype=np.float64), rtol=1e-12
    )
    assert reference.spatial.n == 6000 and len(reference.manifold) == 50
    assert np.array_equal(reference.manifold[[0, -1]], whole.pool[[0, -1]])


def test_a_folder_is_a_reference_and_its_statistics_are_kept(network, samples, tmp_path):
    folder = tmp_path / "pictures" / "class"
    folder.mkdir(parents=True)
    real = pictures(60, 1)
    for i, picture in enumerate(real):
        Image.fromarray(picture).save(folder / f"{i:03d}.png")
    source = FolderImages(tmp_path / "pictures")
    assert torch.equal(
        torch.cat(list(source.batches(7))), torch.from_numpy(real).permute(0, 3, 1, 2)
    )
    first = image_reference(network, source, tmp_path / "cache")
    network.passes = 0
    again = image_reference(network, source, tmp_path / "cache")
    assert network.passes == 0 and np.array_equal(first.pool.covariance, again.pool.covariance)
    network.fingerprint = "another network."
    image_reference(network, source, tmp_path / "cache")
    assert network.passes == 60
    Image.fromarray(255 - real[0]).save(folder / "000.png")
    image_reference(network, FolderImages(tmp_path / "pictures"), tmp_path / "cache")
    assert network.passes == 120
    rows = {
        row.metric: row for row in measure_fid_family(network, samples, again, {}, heldout=first)
    }
    assert all(row.value is not None for row in rows.values())
    assert rows["fid"].real == pytest.approx(0, abs=1e-6) and rows["is"].real is None
    assert (
        rows["precision"].real == rows["recall"].real == 1
        and rows["kid"].real < 0 < rows["kid"].value
    )


def test_samples_that_are_not_finite_are_counted_in_every_row(network, samples, tmp_path):
    source = NpzImages(save(tmp_path / "real.npz", arr_0=pictures(200, 1)))
    reference = image_reference(network, source, tmp_path / "cache")
    clean = {
        row.metric: row
        for row in measure_fid_family(network, samples, reference, {}, not_finite=12)
    }
    assert all(
        "12 of 312 samples were not finite" in row.note and row.n == 300 for row in clean.values()
    )
    network.weight[0, 0] = torch.nan
    rows = measure_fid_family(network, samples, reference, {})
    assert all(
        row.value is None and "300 of 300" in row.note and "nothing is measured" in row.note
        for row in rows
    )


def test_few_samples_are_warned_of(network, tmp_path):
    source = NpzImages(save(tmp_path / "real.npz", arr_0=pictures(200, 1)))
    reference = image_reference(network, source, tmp_path / "cache")
    few = NpzImages(save(tmp_path / "few.npz", arr_0=pictures(5, 2)))
    rows = {row.metric: row for row in measure_fid_family(network, few, reference, {})}
    assert (
        "unreliable: 5 samples for 6 feature dimensions" in rows["fid"].note
        and rows["fid"].value is not None
    )


def test_fid_is_related_to_encoders_of_imagenet_labels(network, samples, tmp_path):
    source = NpzImages(save(tmp_path / "real.npz", arr_0=pictures(50, 1)))
    reference = image_reference(network, source, tmp_path / "cache")
    supervised = {"family": "vit", "trained_on": "ImageNet-1k", "labels": "ImageNet-1k"}
    self_supervised = {"family": "vit", "trained_on": "LVD-142M", "labels": ""}
    assert all(
        row.related for row in measure_fid_family(network, samples, reference, {}, supervised)
    )
    assert not any(
        row.related for row in measure_fid_family(network, samples, reference, {}, self_supervised)
    )


def test_an_npz_streams(tmp_path):
    whole = pictures(400, 3)
    for name, write in (("plain", np.savez), ("small", np.savez_compressed)):
        write(tmp_path / f"{name}.npz", arr_0=whole)
        source = NpzImages(tmp_path / f"{name}.npz")
        assert len(source) == 400
        assert torch.equal(
            torch.cat(list(source.batches(33))), torch.from_numpy(whole).permute(0, 3, 1, 2)
        )
    big = NpzImages(save(tmp_path / "big.npz", arr_0=np.zeros((4000, 32, 32, 3), np.uint8)))
    tracemalloc.start()
    seen = sum(len(batch) for batch in big.batches(64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 4000 and peak < 2e6  # the array has 12 MB


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        NpzImages(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match="no array `arr_0`"):
        NpzImages(save(tmp_path / "other.npz", x=np.zeros(3)))
    with pytest.raises(ValueError, match=r"float32 \(4, 8, 8, 3\); pictures are uint8"):
        NpzImages(save(tmp_path / "float.npz", arr_0=np.zeros((4, 8, 8, 3), np.float32)))
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match="cannot be read as an"):
        NpzImages(tmp_path / "text.npz")
    content = io.BytesIO()
    np.save(content, pictures(10, 0))
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("arr_0.npy", content.getvalue()[:-500])
    with pytest.raises(ValueError, match="ends within picture 7"):
        list(NpzImages(tmp_path / "cut.npz").batches(4))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="there is no picture"):
        FolderImages(tmp_path / "folder")
    Image.fromarray(pictures(1, 0)[0]).save(tmp_path / "folder" / "a.png")
    Image.fromarray(pictures(1, 0)[0, :4]).save(tmp_path / "folder" / "b.png")
    with pytest.raises(ValueError, match=r"unlike sizes: .*b.png is 8 x 4, the first 8 x 8"):
        list(FolderImages(tmp_path / "folder").batches(4))
    (tmp_path / "folder" / "b.png").write_bytes((tmp_path / "folder" / "a.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"b.png cannot be read"):
        list(FolderImages(tmp_path / "folder").batches(4))


def test_a_data_set_is_a_source():
    class Data:
        name, fingerprint, n_train, n_heldout = "data", "0" * 16, 10, 4

        def images(self, split, indices):
            return torch.zeros(len(indices), 3, 8, 8, dtype=torch.uint8)

    source = DatasetImages(Data(), "heldout")
    assert [len(batch) for batch in source.batches(3)] == [3, 1] and source.name == "data heldout"
