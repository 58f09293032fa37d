"""A run on videos: trained, measured, seen as film strips and films, and shown moving on a page."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from support.runs import only_run, run_in_process, tiny_run

from bench.commands.run import train_and_measure
from bench.evaluation.grids import LINE
from probes.extractors.local import Recipe
from reports.output.export import export_page
from reports.output.html import render_html
from reports.page.figures.pictures import sample_grids
from reports.page.pages import build_page
from reports.study.runs import read_study

FEW = ["data.count=40", "data.heldout_count=20", "data.frames=4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    words = ["data=moving_digits", *FEW, "method=selfflow", "size=nano", "images=256"]
    words += ["snapshots=0", "measure=full", "evaluation.samples=16"]
    words += ["evaluation.metrics=[heldout_loss,fd_local,fd_frames]"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probes.extractors.local.Recipe", lambda: Recipe(steps=4, epochs=1, batch=16))
        assert run_in_process(tiny_run(runs, *words)) == 0
    return only_run(runs)


def test_a_run_on_videos_is_measured_beside_shuffled_frames(run):
    rows = {
        row["metric"]: row
        for file in run.glob("results/*.json")
        for row in json.loads(file.read_text(encoding="utf-8"))["rows"]
    }
    assert rows.keys() >= {"heldout_loss", "fd_local", "fd_pixels", "label_agreement", "copy_rate"}
    assert rows.keys() >= {"fd_frames", "fd_motion", "frame_agreement", "kept_identity"}
    assert all(np.isfinite(row["value"]) for row in rows.values())
    for metric in ("fd_local", "fd_pixels", "fd_motion", "fd_frames"):
        assert rows[metric]["protocol"]["reference"].startswith("moving_digits train, 40 of 40")
        control, real = rows[metric]["details"]["shuffled_frames"], rows[metric]["real"]
        assert (control == pytest.approx(real)) == (metric == "fd_frames")


def test_its_samples_are_strips_and_films(run):
    there = {path.name for path in (run / "samples").iterdir() if path.is_file()}
    assert there == {f"{name}.{kind}" for name in ("real", "grid-000000000256")
                     for kind in ("png", "apng")}  # fmt: skip
    for path in run.glob("samples/*.png"):
        # a digit a line, four frames of 12 pixels enlarged to 48, and a line of text
        assert np.asarray(Image.open(path)).shape == (10 * (48 + 2 + LINE) + 2, 4 * 50 + 2, 3)
        with Image.open(path.with_suffix(".apng")) as film:
            assert film.size == (10 * 50 + 2, 6 * (50 + LINE) + 2) and film.n_frames == 4


def test_a_page_moves_and_its_print_has_strips(run, tmp_path):
    study = read_study(run.parent)
    page = render_html(build_page(study, "all"))
    assert "Held-out videos with their frames shuffled: " in page
    moving = re.findall(r'<img alt="[^"]*" src="data:image/apng;base64,([^"]+)"', page)
    still = re.findall(r'<source media="print[^"]*" srcset="data:image/png;base64,([^"]+)"', page)
    kept = {kind: {path.read_bytes() for path in run.glob(f"samples/*.{kind}")}
            for kind in ("png", "apng")}  # fmt: skip
    assert {base64.b64decode(one) for one in moving} == kept["apng"] and len(moving) == 2
    assert {base64.b64decode(one) for one in still} == kept["png"]
    assert all(Image.open(io.BytesIO(base64.b64decode(one))).n_frames == 4 for one in moving)
    (figure,) = sample_grids(study)
    assert "held-out videos of the same classes" in figure.caption
    # the PDF is made of the pictures
    assert {base64.b64decode(panel.png) for panel in figure.panels} == kept["png"]
    written = export_page(build_page(study, "all"), tmp_path / "export")
    assert sum(path.suffix == ".apng" for path in written) == 2
    # one that was cut off is named, and its strip stays
    grid = next(run.glob("samples/grid-*.apng"))
    whole = grid.read_bytes()
    grid.write_bytes(whole[: len(whole) // 2])
    study = read_study(run.parent)
    (figure,) = sample_grids(study)
    grid.write_bytes(whole)
    assert any("the film is left out" in problem for problem in study.problems)
    assert [bool(panel.apng) for panel in figure.panels].count(False) == 1


def test_what_reads_pictures_or_sounds_is_refused_before_training(tmp_path):
    words = tiny_run(tmp_path, "data=moving_digits", *FEW, "size=nano", "images=64")
    with pytest.raises(ValueError, match=r"reads pictures.*encoder=frames encoder.of=effic"):
        train_and_measure(None, [*words, "method=repa", "encoder=efficientnet_lite0"])
    with pytest.raises(ValueError, match="metrics=fid reads pictures, and moving_digits are video"):
        train_and_measure(None, [*words, "measure=full", "evaluation.metrics=[fid]"])
    still = tiny_run(tmp_path, "images=64", "measure=full", "evaluation.metrics=[fd_frames]")
    with pytest.raises(ValueError, match="reads the frames of videos, and digits are pictures"):
        train_and_measure(None, still)
