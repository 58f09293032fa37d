"""A run on sounds: trained, measured, seen and heard, and shown on a page with players."""

import base64
import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from support.runs import only_run, run_in_process, tiny_run

from bench.commands.run import train_and_measure
from bench.core.data.notes import INSTRUMENTS
from bench.core.data.wav import PAUSE
from bench.evaluation.grids import LINE
from probes.extractors.local import Recipe
from reports.output.export import export_page
from reports.output.html import render_html
from reports.page.figures.pictures import sample_grids
from reports.page.pages import build_page
from reports.study.runs import read_study

FEW = ["data.count=40", "data.heldout_count=20", "data.frames=16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = ["data=notes", *FEW, "method=selfflow", "size=nano", "images=256", "snapshots=0"]
    words += ["measure=full", "evaluation.samples=16", "evaluation.metrics=[heldout_loss,fd_local]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probes.extractors.local.Recipe", lambda: Recipe(steps=4, epochs=1, batch=16))
        assert run_in_process(tiny_run(runs, *words)) == 0
    return only_run(runs)


def test_a_run_on_sounds_is_measured(run):
    rows = [
        row
        for file in run.glob("results/*.json")
        for row in json.loads(file.read_text(encoding="utf-8"))["rows"]
    ]
    names = {row["metric"] for row in rows}
    assert names >= {"heldout_loss", "fd_local", "fd_pixels", "label_agreement", "copy_rate"}
    assert all(np.isfinite(row["value"]) for row in rows)
    (local,) = [row for row in rows if row["metric"] == "fd_local"]
    assert local["protocol"]["reference"] == "notes train, 40 of 40 sounds"


def test_its_samples_are_seen_and_heard(run):
    shapes = {path.name: np.asarray(Image.open(path)).shape for path in run.glob("samples/*.png")}
    # six rows of ten, 32 bands of 16 frames enlarged so that their names fit below: three times
    assert len(shapes) == 2 and "real.png" in shapes
    assert set(shapes.values()) == {(6 * (96 + 2 + LINE) + 2, 10 * (48 + 2) + 2, 3)}
    for path in run.glob("samples/*.png"):
        rate, heard = wavfile.read(path.with_suffix(".wav"))
        assert rate == 8000 and len(heard) == len(INSTRUMENTS) * (16 * 160 + round(PAUSE * rate))
        assert np.abs(heard).max() > 20000  # the loudest of each is one


def test_a_page_has_players(run, tmp_path):
    study = read_study(run.parent)
    page = render_html(build_page(study, "all"))
    found = re.findall(r'<audio controls[^>]*src="data:audio/wav;base64,([^"]+)"', page)
    kept = {path.read_bytes() for path in run.glob("samples/*.wav")}
    assert {base64.b64decode(one) for one in found} == kept and len(kept) == 2
    (figure,) = sample_grids(study)
    assert "the lowest frequencies at the bottom" in figure.caption
    written = export_page(build_page(study, "all"), tmp_path / "export")
    assert sum(path.suffix == ".wav" for path in written) == 2
    # one that was cut off is named and left out
    grid = next(run.glob("samples/grid-*.wav"))
    whole = grid.read_bytes()
    grid.write_bytes(whole[:5000])
    study = read_study(run.parent)
    (figure,) = sample_grids(study)
    grid.write_bytes(whole)
    assert any("the sound is left out" in problem for problem in study.problems)
    assert sum(bool(panel.wav) for panel in figure.panels) == 1


def test_what_reads_pictures_is_refused_before_training(tmp_path):
    words = tiny_run(tmp_path, "data=notes", *FEW, "size=nano", "images=64")
    with pytest.raises(
        ValueError,
        match=r"reads pictures.*choose one of sounds.*or one that is trained on the data",
    ):
        train_and_measure(None, [*words, "method=repa", "encoder=efficientnet_lite0"])
    asked = ["measure=full", "evaluation.metrics=[fid]"]
    with pytest.raises(ValueError, match="metrics=fid reads pictures, and notes are sounds"):
        train_and_measure(None, [*words, *asked])
