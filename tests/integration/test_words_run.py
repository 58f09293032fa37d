"""A run on words: trained, read, measured, and shown with what was asked for."""

import functools
import json

import numpy as np
from PIL import Image
from support.runs import only_run, run_in_process, tiny_run

from bench.evaluation.grids import LINE
from probes.extractors.reader import ReadingRecipe


def test_a_run_on_words_is_read_and_shown(tmp_path, monkeypatch):
    few = functools.partial(ReadingRecipe, steps=20, batch=32)
    monkeypatch.setattr("probes.extractors.reader.ReadingRecipe", few)
    words = ["data=words", "data.count=64", "data.heldout_words=8", "method=selfflow", "size=nano"]
    words += ["images=256", "snapshots=0", "measure=full", "evaluation.samples=16"]
    words += ["evaluation.metrics=[heldout_loss,word_accuracy]"]
    assert run_in_process(tiny_run(tmp_path, *words)) == 0
    run = only_run(tmp_path)
    (file,) = run.glob("results/reading-*.json")
    rows = {row["metric"]: row for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert set(rows) == {"word_accuracy", "character_accuracy"}
    for row in rows.values():
        assert 0 <= row["value"] <= 1 and 0 <= row["real"] <= 1 and row["n"] == 16
        assert row["protocol"]["sampling"]["labels"] == "balanced"
        assert (
            row["request"]["labels"] == "balanced" and row["request"]["metrics"] == "word_accuracy"
        )
    shapes = {np.asarray(Image.open(path)).shape for path in run.glob("samples/*.png")}
    cell = (2 * 12 + 2 + LINE, 2 * 32 + 2)  # a row for each time that the eight words are asked for
    assert shapes == {(8 * cell[0] + 2, 8 * cell[1] + 2, 3)}
