"""What is read against what was asked for, and readers that are not there."""

import functools
import itertools
import shutil
import sys

import pytest
import torch

from bench.core.data.words import Words
from probes.extractors import reader
from probes.extractors.reader import ReadingRecipe, local_reader, reader_of
from probes.reading import accuracies, edit_distance

SMALL = ReadingRecipe(width=32, steps=250, batch=64)


@functools.cache
def data():
    fonts = ["DejaVuSans", "DejaVuSerif"], ["DejaVuSans-Bold"]
    return Words("words", None, 2, 12, 16, 4, 512, 40, *fonts)


def by_definition(a, b):
    """The least number of edits, tried in all ways."""
    if not a or not b:
        return len(a) + len(b)
    kept = by_definition(a[1:], b[1:]) + (a[0] != b[0])
    return min(kept, by_definition(a[1:], b) + 1, by_definition(a, b[1:]) + 1)


def test_edit_distance_by_its_definition():
    texts = ["".join(p) for n in range(4) for p in itertools.product("ab", repeat=n)]
    for a, b in itertools.product(texts, texts):
        assert edit_distance(a, b) == by_definition(a, b), (a, b)
    assert edit_distance("kitten", "sitting") == 3


def test_accuracies_by_hand():
    # right, right but for case and spaces, one letter of four, nothing read, one letter too many
    read = ["owls", "He ns", "caxs", "", "dogss"]
    words, letters = accuracies(read, ["owls", "hens", "cats", "pigs", "dogs"])
    assert words == pytest.approx(2 / 5)
    assert letters == pytest.approx((1 + 1 + 3 / 4 + 0 + 4 / 5) / 5)


def test_the_local_reader_reads_words_that_it_has_not_seen(tmp_path):
    found = local_reader(data(), tmp_path, SMALL)
    words, letters = accuracies(found.read(data().images("heldout")), data().texts["heldout"])
    assert letters > 0.8 and words > 0.6
    noise = torch.randint(0, 256, (200, 3, 12, 16), dtype=torch.uint8)
    assert accuracies(found.read(noise), ["ab"] * 200)[1] < 0.3
    (card,) = tmp_path.glob("extractors/*/card.json")
    assert f'"word_accuracy": {words}' in card.read_text()
    again = local_reader(data(), tmp_path, SMALL)  # from the cache
    assert again.fingerprint == found.fingerprint
    card.with_name("weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"is damaged .* delete that folder"):
        local_reader(data(), tmp_path, SMALL)


def test_a_reader_that_is_missing_is_refused_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)  # as if it were not there
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="pip install rapidocr-onnxruntime"):
        reader_of("rapidocr", data(), tmp_path)
    with pytest.raises(ValueError, match="apt install tesseract-ocr"):
        reader_of("tesseract", data(), tmp_path)
    with pytest.raises(ValueError, match=r"reader=ocr is unknown \(choices: local, rapidocr"):
        reader_of("ocr", data(), tmp_path)


def test_other_readers_are_shown_large_pictures_one_by_one(tmp_path, monkeypatch):
    shown = []

    class Engine:
        def __call__(self, picture, **said):
            shown.append((picture.shape, said))
            return ([["Ow l", 0.9]], 0.1) if len(shown) == 1 else (None, 0.1)

    module = type("module", (), {"RapidOCR": Engine})
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", module)
    monkeypatch.setattr(reader.importlib.metadata, "version", lambda name: "1.4.4")
    found = reader_of("rapidocr", data(), tmp_path)
    assert found.read(data().images("heldout")[:2]) == ["Ow l", ""] and found.fingerprint == "1.4.4"
    assert shown[0] == ((72, 88, 3), {"use_det": False, "use_cls": False, "use_rec": True})
