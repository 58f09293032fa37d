"""CKNNA, spatial structure, the feature store and their rows: planted signals,
dense computations, re-use.
"""

import errno
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.core.model.backbone import SiT
from bench.core.model.flow import interpolate
from bench.core.model.sizes import Size
from bench.core.model.tokens import TokenGrid
from bench.core.store import files
from bench.core.store.files import new_array
from probes.features import store as features_module
from probes.features.cknna import cknna, clamped, measure_cknna, neighbours
from probes.features.linear import ProbeRecipe
from probes.features.probes import measure_features
from probes.features.store import (
    FeatureGrid,
    encoder_features,
    feature_store,
    probe_noise,
    subset,
)
from probes.features.strength import PixelProbe, Strength, measure_encoder, pixel_probe
from probes.features.structure import local_against_distant


def dense_cknna(x, y, k=10):
    """The definition with full matrices, as in the paper."""

    def kernel(z):
        z = z / z.norm(dim=1, keepdim=True)
        return (z @ z.T).double()

    def mask(matrix):
        hollow = matrix.clone().fill_diagonal_(-torch.inf)
        return torch.zeros_like(matrix).scatter_(1, hollow.topk(k, dim=1).indices, 1)

    def hsic(p, q):
        n = len(p)
        p, q = p.clone().fill_diagonal_(0), q.clone().fill_diagonal_(0)
        return (
            (p * q.T).sum() + p.sum() * q.sum() / ((n - 1) * (n - 2)) - 2 * (p @ q).sum() / (n - 2)
        ) / (n * (n - 3))

    def similarity(a, b):
        both = mask(a) * mask(b)
        return hsic(both * a, both * b)

    a, b = kernel(x), kernel(y)
    return float(similarity(a, b) / (torch.sqrt(similarity(a, a) * similarity(b, b)) + 1e-6))


def test_cknna_is_the_dense_definition_and_finds_what_was_planted():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=draw)
    rotated = x @ torch.linalg.qr(torch.randn(12, 12, generator=draw))[0] * 3
    noisy = x + 0.5 * torch.randn(200, 12, generator=draw)
    stranger = torch.randn(200, 9, generator=draw)
    for y in (rotated, noisy, stranger):
        for block in (33, 1000):
            found = cknna(neighbours(x, block=block), neighbours(y, block=block))
            assert found == pytest.approx(dense_cknna(x, y), rel=1e-5, abs=1e-7)
    scores = [cknna(neighbours(x), neighbours(y)) for y in (rotated, noisy, stranger)]
    assert (
        scores[0] == pytest.approx(1, abs=1e-3)
        and scores[0] > scores[1] > scores[2] + 0.1
        and scores[2] < 0.1
    )


def test_clamping_is_a_variant():
    x = torch.arange(-10.0, 10).reshape(4, 5)
    assert clamped(x, 0.5).abs().max() == 5.0
    outliers = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    outliers[:, 0] *= 100
    plain, cut = neighbours(outliers), neighbours(outliers, clamp=0.95)
    assert not np.array_equal(plain.columns, cut.columns)


def test_cknna_refuses_what_has_no_neighbours():
    with pytest.raises(ValueError, match="needs at least 11 images, not 8"):
        neighbours(torch.randn(8, 3))
    with pytest.raises(ValueError, match="not finite"):
        neighbours(torch.full((20, 3), torch.nan))
    with pytest.raises(ValueError, match="other images"):
        cknna(neighbours(torch.randn(20, 3)), neighbours(torch.randn(21, 3)))


def test_spatial_structure_by_hand():
    # Four patches in a row, the halves unlike: pairs at distance 1 are (1, 0, 1), at 2 and 3 all 0.
    halves = torch.tensor([[[1.0, 0], [2, 0], [0, 1], [0, 3]]])
    assert local_against_distant(halves, (4,)).item() == pytest.approx(2 / 3)
    assert local_against_distant(torch.ones(2, 16, 3), (4, 4)).tolist() == pytest.approx([0, 0])
    rough = torch.randn(8, 16, 64, generator=torch.Generator().manual_seed(0))
    assert local_against_distant(rough, (4, 4)).abs().max() < 0.1
    with pytest.raises(ValueError, match="do not fill a grid"):
        local_against_distant(halves, (3, 2))


class Stripes:
    """Random 8 x 8 pictures without a signal, but for class 1 of the first task: brighter."""

    name, classes, fingerprint = "stripes", 2, "fedcba9876543210"
    grid = TokenGrid(shape=(8, 8), patch=2, channels=1)
    n_train, n_heldout = 300, 140

    def __init__(self, brightness):
        draw = torch.Generator().manual_seed(3)
        self._labels = {s: torch.arange(n) % 2 for s, n in (("train", 300), ("heldout", 140))}
        self._data = {
            s: 0.3 * torch.randn(len(y), 1, 8, 8, generator=draw)
            + brightness * (y[:, None, None, None] - 0.5)
            for s, y in self._labels.items()
        }
        self.fingerprint = f"{brightness:.6f}{'0' * 8}"

    def tokens(self, split, indices):
        return self.grid.patchify(self._data[split][indices])

    def labels(self, split, indices):
        return self._labels[split][indices]

    def images(self, split, indices):
        return (
            ((self._data[split][indices] + 1) * 127.5)
            .clamp(0, 255)
            .to(torch.uint8)
            .expand(-1, 3, -1, -1)
        )


@pytest.fixture(scope="module")
def net():
    draw = torch.Generator().manual_seed(0)
    network = SiT(Stripes.grid, Size("test", 3, 16, 2), 2).initialise(draw)
    for p in network.parameters():  # adaLN-Zero would make every block the identity
        p.data += 0.05 * torch.randn(p.shape, generator=draw)
    return network.eval()


GRID = FeatureGrid(blocks=(1, 3), times=(0.1, 0.8))


def test_features_are_the_means_of_block_outputs(net, tmp_path):
    data = Stripes(1.0)
    store = feature_store(net, data, GRID, "a" * 16, tmp_path, batch=64)
    indices = torch.arange(data.n_heldout)
    noise = probe_noise(0, "heldout", 0, data.n_heldout, (16, 4))
    x_t = interpolate(data.tokens("heldout", indices), noise, torch.full((data.n_heldout,), 0.8))
    with torch.no_grad():
        _, taps = net(
            x_t, torch.full((data.n_heldout,), 0.8), torch.full((data.n_heldout,), 2), taps=(3,)
        )
    found = store.features("heldout", block=3, t=0.8)
    assert isinstance(found, np.memmap) and found.dtype == np.float16 and found.shape == (140, 16)
    np.testing.assert_allclose(found, taps[3].mean(1).numpy(), rtol=2e-3, atol=1e-3)
    assert np.array_equal(store.labels("heldout"), data.labels("heldout", indices))


def test_a_store_is_reused_for_its_snapshot_alone_and_any_batch(net, tmp_path, monkeypatch):
    data = Stripes(1.0)
    first = feature_store(net, data, GRID, "a" * 16, tmp_path, batch=64)
    other = feature_store(net, data, GRID, "b" * 16, tmp_path, batch=256)
    assert other.folder != first.folder
    np.testing.assert_allclose(
        first.features("train", 3, 0.8).astype(float),
        other.features("train", 3, 0.8).astype(float),
        atol=2e-3,
    )
    monkeypatch.setattr(features_module, "_fill", lambda *_: pytest.fail("computed again"))
    assert feature_store(net, data, GRID, "a" * 16, tmp_path).folder == first.folder


@pytest.mark.parametrize("claimed", [True, False])
def test_a_full_disk_is_told_and_leaves_nothing(net, tmp_path, monkeypatch, claimed):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if claimed:  # space that looked free is gone when the blocks are asked for
        monkeypatch.setattr(files.os, "posix_fallocate", no_space)
    else:
        monkeypatch.setattr(files.shutil, "disk_usage", lambda place: SimpleNamespace(free=100))
    message = r"the disk is full: .* needs .* GB, .* GB are free at .*another cache=DIR"
    with pytest.raises(OSError, match=message) as told:
        feature_store(net, Stripes(1.0), GRID, "a" * 16, tmp_path)
    assert told.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=r"stripes train by cut needs"):
        encoder_features(encoder(), Stripes(1.0), "train", tmp_path)
    assert [path.suffix for path in (tmp_path / "features").iterdir()] == [".lock", ".lock"]


def test_blocks_of_a_cached_array_are_on_the_disk(tmp_path):
    new_array(tmp_path / "a.npy", (1000, 600), np.float16)
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1_200_000
    assert np.load(tmp_path / "a.npy", mmap_mode="r").shape == (1000, 600)


def test_noise_belongs_to_the_image():
    whole = probe_noise(0, "train", 0, 200, (4, 2))
    assert torch.equal(probe_noise(0, "train", 64, 70, (4, 2)), whole[64:134])
    assert not torch.equal(probe_noise(0, "heldout", 0, 64, (4, 2)), whole[:64])


def test_a_subset_is_drawn_once_for_all():
    assert (
        torch.equal(subset(1000, 100), subset(1000, 100))
        and len(set(subset(1000, 100).tolist())) == 100
    )
    assert subset(5, 10).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (FeatureGrid((0,), (0.5,)), "blocks 1 to 3"),
        (FeatureGrid((4,), (0.5,)), r"blocks \[4\] cannot be probed"),
        (FeatureGrid((1,), (1.5,)), "within 0 and 1"),
        (FeatureGrid((1,), ()), "within 0 and 1"),
    ],
)
def test_places_that_do_not_exist_are_refused(net, tmp_path, grid, message):
    with pytest.raises(ValueError, match=message):
        feature_store(net, Stripes(1.0), grid, "a" * 16, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variant", ["fast", "repa"])
def test_probes_find_a_planted_signal_and_none_where_none_is(net, tmp_path, variant):
    recipe = ProbeRecipe(epochs=40, batch=64, learning_rate=0.02)
    for brightness in (1.5, 0.0):
        data = Stripes(brightness)
        store = feature_store(net, data, GRID, "a" * 16, tmp_path)
        unrelated = {"family": "vit", "trained_on": "x", "labels": ""}
        rows = measure_features(store, data, unrelated, variant, recipe)
        assert {(row.metric, row.block, row.t) for row in rows} == {
            (metric, block, t)
            for metric in ("linear_probe", "knn")
            for block in (1, 3)
            for t in (0.1, 0.8)
        }
        for row in rows:
            low, high = row.details["interval_95"]
            assert low < row.value <= high and row.stderr > 0 and row.related == ""
            assert all(value is not None for value in row.protocol.values())
            if brightness and row.t == 0.1:
                assert row.value > 0.95
            if not brightness:
                assert 0.33 < row.value < 0.67  # four standard errors of 140 fair coins
    marked = measure_features(
        store, data, aligned={"family": "vit", "trained_on": "x", "labels": "stripes"}
    )
    assert all("labels of stripes" in row.related for row in marked)


def encoder(labels=""):
    def read(images):
        patches = (
            images[:, :1].float().unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).flatten(2, 3)[:, 0]
        )
        return SimpleNamespace(patches=patches, grid=(4, 4))

    class Cut(torch.nn.Module):
        name, fingerprint, family, trained_on = "cut", "0" * 16, "none", "nothing"
        width, hears = 4, False

        def forward(self, images):
            return read(images)

    cut = Cut()
    cut.labels = labels
    return cut


def test_rows_of_an_encoder_and_of_pixels(tmp_path):
    data = Stripes(1.5)
    rows = {row.metric: row for row in measure_encoder(encoder(), data, tmp_path)}
    assert rows["encoder_linear_probe"].value > 0.95 and rows["encoder_knn"].value > 0.8
    assert -0.2 < rows["encoder_structure"].value < 0.2 and rows["encoder_structure"].stderr > 0
    assert rows["encoder_knn"].related == "" and pixel_probe(data).value > 0.95
    told = {row.metric: row for row in measure_encoder(encoder("stripes"), data, tmp_path)}
    assert "learned the probed labels" in told["encoder_linear_probe"].related


def test_what_no_run_changes_is_measured_once(tmp_path, monkeypatch):
    data = Stripes(1.5)

    def inputs(most=50_000):
        given = {"data_here": data, "cache": tmp_path, "device": torch.device("cpu")}
        return SimpleNamespace(**given, settings={"probe_images": most})

    monkeypatch.setattr(
        "probes.features.strength.Encoder", object
    )  # that of the test is a plain one
    strength = Strength("strength_cut", encoder())
    first = [strength.measure(inputs()), PixelProbe("pixel_linear_probe").measure(inputs())]
    by_hand = [measure_encoder(encoder(), data, tmp_path), [pixel_probe(data)]]
    assert [[row.to_json() for row in rows] for rows in first] == [
        [row.to_json() for row in rows] for rows in by_hand
    ]
    monkeypatch.setattr("probes.features.strength.measure_encoder", None)
    monkeypatch.setattr("probes.features.strength.pixel_probe", None)
    again = [strength.measure(inputs()), PixelProbe("pixel_linear_probe").measure(inputs())]
    assert [[row.to_json() for row in rows] for rows in again] == [
        [row.to_json() for row in rows] for rows in first
    ]
    with pytest.raises(TypeError):
        strength.measure(inputs(most=100))  # of fewer pictures it is another number


def test_few_heldout_pictures_have_no_cknna_and_the_rest_goes_on(net, tmp_path):
    data = Stripes(1.5)
    data.n_heldout, data.fingerprint = 5, "five0000"
    store = feature_store(net, data, GRID, "a" * 16, tmp_path)
    rows = measure_cknna(store, data, encoder(), tmp_path, aligned=None)
    assert len(rows) == 4 and all(row.value is None and row.n == 5 for row in rows)
    assert rows[0].note == "missing: 5 held-out picture(s), CKNNA needs 11"
    of_encoder = measure_encoder(encoder(), data, tmp_path)
    assert all(
        row.value is not None for row in (*measure_features(store, data, None, "fast"), *of_encoder)
    )


def test_cknna_rows(net, tmp_path):
    data = Stripes(1.5)
    store = feature_store(net, data, GRID, "a" * 16, tmp_path)
    plain = measure_cknna(store, data, encoder(), tmp_path, aligned=None)
    clamp = measure_cknna(store, data, encoder(), tmp_path, aligned=None, clamp=0.95)
    assert [(row.block, row.t) for row in plain] == [(1, 0.1), (1, 0.8), (3, 0.1), (3, 0.8)]
    assert plain[0].value > plain[1].value + 0.05  # noise hides the neighbours
    assert (
        plain[0].protocol["clamp"] == "none"
        and clamp[0].protocol["clamp"] == "0.95 quantile of |x|"
    )
    assert plain[0].n == 140 and plain[0].related == ""
