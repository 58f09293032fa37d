"""Local extractor, pixels, copy rate, related metrics and the rows made of them,
on a small data set drawn here.
"""

import json
import math
import multiprocessing

import numpy as np
import pytest
import torch

from bench.core.model.tokens import TokenGrid
from bench.core.store.rows import Row, write_rows
from probes.distances import local as samples
from probes.distances.frechet import distance_of, fit
from probes.distances.local import Reference, measure_samples
from probes.distances.pixels import copy_rate, nearest_distances, pixel_vectors
from probes.extractors import fidelity
from probes.extractors import local as extractor_module
from probes.extractors.local import Recipe, local_extractor, read_images
from probes.metric import STATED, Record, related, related_probe

ROUNDED = {"rounding": "round_half_up", "decoder_precision": "float32"}


class Blobs:
    """8 x 8 pictures of a bright corner: four classes, easy to tell."""

    name, noun, classes, fingerprint = "blobs", "picture", 4, "0123456789abcdef"
    grid = TokenGrid(shape=(8, 8), patch=2, channels=1)
    n_train, n_heldout = 240, 120

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.precisions = set()
        self._labels = {s: torch.arange(n) % 4 for s, n in (("train", 240), ("heldout", 120))}
        self._data = {split: self.draw(labels, draw) for split, labels in self._labels.items()}

    @staticmethod
    def draw(labels, draw):
        data = 0.3 * torch.randn(len(labels), 1, 8, 8, generator=draw) - 0.5
        for i, label in enumerate(labels.tolist()):
            data[
                i, 0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4
            ] += 1
        return data

    def tokens(self, split, indices):
        return self.grid.patchify(self._data[split][torch.as_tensor(indices)])

    def labels(self, split, indices):
        return self._labels[split][torch.as_tensor(indices)]

    def images(self, split, indices):
        x = self.grid.unpatchify(self.tokens(split, indices))
        return ((x + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).expand(-1, 3, -1, -1)

    def decode(self, tokens, precision):
        self.precisions.add(precision)
        return self.grid.unpatchify(tokens)


@pytest.fixture(scope="module")
def blobs():
    return Blobs()


@pytest.fixture(scope="module")
def quick():
    return Recipe(steps=40, epochs=1)


@pytest.fixture(scope="module")
def reference(blobs, quick, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    local_extractor(blobs, cache, quick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor_module, "Recipe", lambda: quick)
        return Reference.of(blobs, cache)


def test_the_extractor_learns_and_is_made_once(blobs, quick, tmp_path, monkeypatch):
    state = torch.random.get_rng_state()
    first = local_extractor(blobs, tmp_path, quick)
    assert torch.equal(state, torch.random.get_rng_state())  # a run's own streams are left alone
    assert first.accuracy > 0.9 and first.trained_on == "blobs-train" and first.labels == "blobs"
    monkeypatch.setattr(extractor_module, "train", lambda *_: pytest.fail("trained again"))
    second = local_extractor(blobs, tmp_path, quick)
    assert second.fingerprint == first.fingerprint and len(first.fingerprint) == 16
    images = blobs.images("heldout", range(9))
    assert np.array_equal(read_images(first, images)[0], read_images(second, images)[0])
    (folder,) = [path for path in (tmp_path / "extractors").iterdir() if path.is_dir()]
    card = json.loads((folder / "card.json").read_text())
    low, high = card["heldout"]["interval_95"]
    assert low < card["heldout"]["accuracy"] <= high and card["heldout"]["n"] == 120


def _make_slowly(folder, counter):
    from bench.core.store.cache import cached_folder

    def make(place):
        with open(counter, "a") as file:
            file.write("made\n")
        (place / "content").write_text("whole")

    assert (cached_folder(folder, make) / "content").read_text() == "whole"


def test_the_cache_is_filled_once_by_many_processes(tmp_path):
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "entry", tmp_path / "counter")
    processes = [context.Process(target=_make_slowly, args=arguments) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 6
    assert (tmp_path / "counter").read_text() == "made\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter", "entry", "entry.lock"]


def test_a_failed_entry_leaves_nothing(tmp_path):
    from bench.core.store.cache import cached_folder

    def fail(place):
        (place / "half").write_text("")
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        cached_folder(tmp_path / "entry", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["entry.lock"]
    (tmp_path / ".entry.tmp").mkdir()  # as a killed process leaves it
    (tmp_path / ".entry.tmp" / "half").write_text("")
    assert list(
        cached_folder(tmp_path / "entry", lambda place: (place / "whole").touch()).iterdir()
    ) == [tmp_path / "entry" / "whole"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="name another cache folder"):
        cached_folder(tmp_path / "file" / "entry", fail)


def test_a_damaged_extractor_is_named(blobs, quick, tmp_path):
    local_extractor(blobs, tmp_path, quick)
    (weights,) = tmp_path.rglob("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="delete that folder"):
        local_extractor(blobs, tmp_path, quick)


def test_torch_fidelity_finds_the_same_distance(blobs, reference):
    from torch_fidelity import calculate_metrics

    heldout, train = blobs.images("heldout", range(120)), blobs.images("train", range(240))
    theirs = calculate_metrics(
        input1=fidelity.Pictures(heldout),
        input2=fidelity.Pictures(train),
        fid=True,
        feature_extractor=reference.registered,
        cuda=False,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )["frechet_inception_distance"]
    features = [
        fidelity.features_and_logits(reference.registered, images)[0] for images in (heldout, train)
    ]
    ours = distance_of(fit(features[0]), fit(features[1])).value
    # The distance of near sets is a small difference of traces; torch-fidelity's mean is float32.
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert ours == pytest.approx(reference.real["fd_local"], rel=1e-6)


def test_copy_rate_tells_copies_from_new_pictures():
    draw = torch.Generator().manual_seed(0)
    train, heldout, new = (torch.randn(n, 10, generator=draw) for n in (200, 100, 100))
    usual = float(nearest_distances(heldout, train).median())
    assert copy_rate(nearest_distances(train[:50], train), usual) == (0.0, "")
    assert copy_rate(nearest_distances(new, train), usual)[0] == pytest.approx(1, abs=0.2)
    value, note = copy_rate(
        nearest_distances(new, train), float(nearest_distances(train[:60], train).median())
    )
    assert math.isnan(value) and "copies" in note, "of duplicated data there is no rate"
    dense = ((heldout[:, None].double() - train[None]) ** 2).sum(-1).sqrt().min(1).values
    torch.testing.assert_close(nearest_distances(heldout, train, block=33), dense)


def test_pixel_vectors_are_the_data_or_its_averages():
    digits = torch.randn(3, 1, 8, 8)
    assert torch.equal(pixel_vectors(digits), digits.flatten(1))
    pictures = torch.randn(2, 3, 64, 64)
    expected = pictures.reshape(2, 3, 16, 4, 16, 4).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(pixel_vectors(pictures), expected)
    assert pixel_vectors(torch.randn(2, 4, 4, 32, 32)).shape[1] <= 1024


def test_rows_of_good_and_bad_samples(blobs, reference, monkeypatch):
    roundings = set()
    convert = samples.pictures_of
    monkeypatch.setattr(
        samples, "pictures_of", lambda x, rounding: roundings.add(rounding) or convert(x, rounding)
    )
    labels = torch.arange(100) % 4
    tokens = blobs.grid.patchify(Blobs.draw(labels, torch.Generator().manual_seed(5)))
    sampling = {"name": "ode50", "seed": 0, "rounding": "truncate", "decoder_precision": "bf16"}
    blobs.precisions.clear()
    rows = {row.metric: row for row in measure_samples(tokens, labels, reference, sampling, None)}
    assert (roundings, blobs.precisions) == ({"truncate"}, {"bf16"}), (
        "pictures are made as their protocol says"
    )
    assert set(rows) == {
        "fd_local",
        "precision",
        "recall",
        "fd_pixels",
        "copy_rate",
        "label_agreement",
    }
    assert rows["label_agreement"].value > 0.9 and 0.8 < rows["copy_rate"].value < 1.2
    noise = {
        row.metric: row
        for row in measure_samples(torch.randn(100, 16, 4), labels, reference, sampling, None)
    }
    assert (
        noise["fd_local"].value > rows["fd_local"].value
        and noise["fd_pixels"].value > rows["fd_pixels"].value
    )
    assert noise["label_agreement"].value < 0.6
    for row in rows.values():
        assert row.real is not None and row.protocol["sampling"] == sampling
        assert all(value is not None for value in row.protocol.values())
        assert row.related == ""


def test_samples_that_are_not_finite_are_counted(blobs, reference):
    labels = torch.arange(100) % 4
    tokens = blobs.grid.patchify(Blobs.draw(labels, torch.Generator().manual_seed(5)))
    tokens[:10] = float("nan")
    rows = {row.metric: row for row in measure_samples(tokens, labels, reference, ROUNDED, None)}
    assert all("10 of 100 samples were not finite" in row.note for row in rows.values())
    assert rows["fd_local"].n == 90 and np.isfinite(rows["fd_local"].value)
    assert rows["label_agreement"].value <= 0.9
    all_bad = measure_samples(
        torch.full_like(tokens, float("inf")), labels, reference, ROUNDED, None
    )
    assert all(row.value is None and "nothing is measured" in row.note for row in all_bad)


def test_a_picture_that_a_decoder_spoils_is_counted_though_its_tokens_are_finite(
    blobs, reference, monkeypatch
):
    labels = torch.arange(1100) % 4
    tokens = blobs.grid.patchify(Blobs.draw(labels, torch.Generator().manual_seed(5)))
    good = {
        row.metric: row for row in measure_samples(tokens[7:], labels[7:], reference, ROUNDED, None)
    }
    spoilt = tokens[:7].clone()

    def decode(part, precision):
        pixels = blobs.grid.unpatchify(part)
        pixels[[bool((one == spoilt).all((1, 2)).any()) for one in part], 0, 0, 0] = float("nan")
        return pixels

    monkeypatch.setattr(blobs, "decode", decode)
    rows = {row.metric: row for row in measure_samples(tokens, labels, reference, ROUNDED, None)}
    assert all("7 of 1100 samples were not finite" in row.note for row in rows.values())
    for metric in ("fd_local", "fd_pixels", "precision", "recall", "copy_rate"):
        assert (
            rows[metric].value == pytest.approx(good[metric].value, rel=1e-6)
            and rows[metric].n == 1093
        )


def stored(path, rows):
    """Rows as a reader of the result file finds them."""
    file = write_rows(path, "samples", 64, rows, {})
    return {row["metric"]: row for row in json.loads(file.read_text())["rows"]}


def reference_of(data, quick, cache, monkeypatch):
    monkeypatch.setattr(extractor_module, "Recipe", lambda: quick)
    return Reference.of(data, cache)


def test_heldout_pictures_that_are_training_pictures_lose_the_copy_rate_alone(
    quick, tmp_path, monkeypatch
):
    data = Blobs()
    data.fingerprint = "copies0123456789"
    for part in (data._data, data._labels):
        part["heldout"] = part["train"][:120]
    reference = reference_of(data, quick, tmp_path, monkeypatch)
    tokens = data.tokens("train", torch.arange(60)) + 0.01
    rows = stored(tmp_path, measure_samples(tokens, torch.arange(60) % 4, reference, ROUNDED, None))
    copies = rows.pop("copy_rate")
    assert (
        copies["value"] is copies["real"] is None
        and "held-out pictures are copies of training" in copies["note"]
    )
    assert "value was nan" in copies["note"] and "real was nan" in copies["note"]
    assert all(row["value"] is not None and row["real"] is not None for row in rows.values())


@pytest.mark.parametrize("heldout", [5, 3, 1])
def test_few_heldout_pictures_lose_their_own_values_alone(quick, tmp_path, monkeypatch, heldout):
    data = Blobs()
    data.n_heldout, data.fingerprint = heldout, f"few{heldout}3456789abcd"
    reference = reference_of(data, quick, tmp_path, monkeypatch)
    tokens = data.tokens("train", torch.arange(60)) + 0.01
    rows = stored(tmp_path, measure_samples(tokens, torch.arange(60) % 4, reference, ROUNDED, None))
    without = {
        5: set(),
        3: {"precision", "recall"},
        1: {"precision", "recall", "fd_local", "fd_pixels"},
    }
    assert all(row["value"] is not None for row in rows.values())
    assert {metric for metric, row in rows.items() if row["real"] is None} == without[heldout]


def test_numbers_that_json_cannot_hold_are_named(tmp_path):
    details = {"spread": math.inf, "interval": [0.1, math.nan], "n": 3, "of": {"a": 1.5}}
    row = Row("m", 1.0, 3, True, {}, stderr=math.nan, real=-math.inf, note="few", details=details)
    found = stored(tmp_path, [row, Row("plain", 1.0, 3, True, {}, note="few", details={"a": 0.5})])
    assert (found["m"]["value"], found["m"]["stderr"], found["m"]["real"]) == (1.0, None, None)
    assert found["m"]["details"] == {
        "spread": None,
        "interval": [0.1, None],
        "n": 3,
        "of": {"a": 1.5},
    }
    assert found["m"]["note"] == (
        "few; stderr was nan; real was -inf; details.spread was inf; details.interval[1] was nan"
    )
    assert found["plain"]["note"] == "few" and found["plain"]["details"] == {"a": 0.5}


def test_related_metrics_are_marked(blobs, reference):
    extractor = reference.extractor
    same_labels = {"family": "vit", "trained_on": "elsewhere", "labels": "blobs"}
    same_kind = {"family": "convnet", "trained_on": "blobs-train", "labels": ""}
    other = {"family": "vit", "trained_on": "blobs-train", "labels": ""}
    assert "labels of blobs" in related(extractor, same_labels)
    assert "convnet trained on blobs-train" in related(extractor, same_kind)
    assert related(extractor, other) == related(extractor, None) == ""
    assert (
        related_probe("blobs", same_labels)
        and not related_probe("blobs", other)
        and not related_probe("", other)
    )
    imagenet = {"family": "vit", "trained_on": "ImageNet-1k", "labels": "ImageNet-1k"}
    assert related_probe("imagenet256", imagenet) and not related_probe("imagenet22k", imagenet)
    tokens, labels = blobs.tokens("heldout", range(100)), blobs.labels("heldout", range(100))
    rows = {
        row.metric: row for row in measure_samples(tokens, labels, reference, ROUNDED, same_kind)
    }
    assert rows["fd_local"].related and rows["label_agreement"].related
    assert rows["fd_pixels"].related == rows["copy_rate"].related == ""


def test_protocols_are_complete_or_refused():
    record = Record("knn", variant="cosine", data=STATED, n=STATED)
    whole = {"name": "knn", "version": 1, "variant": "cosine", "data": "x", "n": 3}
    assert record.complete(data="x", n=3) == whole
    with pytest.raises(ValueError, match="protocol 'knn': missing \\['n'\\]"):
        record.complete(data="x")
    with pytest.raises(ValueError, match="not to be stated \\['variant'\\]"):
        record.complete(data="x", n=3, variant="L2")
