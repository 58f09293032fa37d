"""A run on several kinds of data at once: each part is measured, shown and evaluated as if it were
alone, and a run that is stopped goes on exactly.
"""

import json

import pytest
import torch
from support.runs import last_weights, numbers, only_run, run_in_process, tiny_run

from bench.config.compose import compose
from bench.core.store.row_table import row_table
from bench.core.store.runs import read_run
from bench.core.train import distributed
from bench.core.train.parts import Turns
from bench.core.train.trainer import Stopped
from bench.evaluation.subject import run_subject
from bench.training.session import Session
from probes.extractors.local import Recipe
from probes.heldout import heldout_loss
from reports.page.figures.pictures import sample_grids
from reports.page.published_table import reported_tables
from reports.study.runs import read_study

SMALL = [
    *("data=mixed", "size=nano", "batch=8", "images=256", "log_images=64", "checkpoint_images=64"),
    *("data.parts=[digits,notes]", "data.share={digits:1,notes:3}", "snapshots=0"),
    *("data.parts.notes.count=64", "data.parts.notes.heldout_count=20", "method=selfflow"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    measured = ["measure=full", "evaluation.metrics=[heldout_loss,fd_local]"]
    words = tiny_run(folder, *SMALL, *measured, "evaluation.samples=16")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probes.extractors.local.Recipe", lambda: Recipe(steps=4, epochs=1, batch=16))
        assert run_in_process(words) == 0
    return folder


def test_rows_are_of_a_part(runs):
    run = read_run(only_run(runs))
    frame = row_table([run], [])
    losses = frame[frame["metric"] == "heldout_loss"].set_index("data")
    assert set(frame["data"]) == {"mixed/digits", "mixed/notes"}
    assert losses["n"].to_dict() == {"mixed/digits": 600, "mixed/notes": 20}
    assert losses.loc["mixed/notes", "request"]["part"] == "notes"
    kinds = {"mixed": "", "mixed/digits": "picture", "mixed/notes": "sound"}
    assert run.modalities == kinds
    assert run.data_sizes["notes/train"] == 64 and run.cost["parameters"]["ports"] > 0


def test_lines_say_what_was_seen_of_each_part(runs):
    *_, last = read_run(only_run(runs)).metrics
    turns = Turns({"digits": 1, "notes": 3}, seed=0, batch=8)
    assert last["seen"] == turns.seen(256) and sum(last["seen"].values()) == 256
    assert set(last["loss_of"]["notes"]) == {"velocity", "representation"}
    for file in only_run(runs).glob("results/*.json"):
        assert json.loads(file.read_text(encoding="utf-8"))["seen"] == last["seen"]


def test_a_part_is_evaluated_by_itself(runs):
    folder, cpu = only_run(runs), torch.device("cpu")
    subject = run_subject(folder, cpu, part="notes", data_words={}, cache=None)
    found = heldout_loss(subject.backbone, subject.data, cpu)
    frame = row_table([read_run(folder)], [])
    of_run = frame[(frame["metric"] == "heldout_loss") & (frame["data"] == "mixed/notes")]
    assert found.value == pytest.approx(float(of_run["value"].iloc[0]), rel=1e-6)
    with pytest.raises(ValueError, match="say of which it is to be, part=digits or notes"):
        run_subject(folder, cpu)
    with pytest.raises(ValueError, match="part=words is none of its parts, part=digits or notes"):
        run_subject(folder, cpu, part="words")


def test_samples_of_a_part_are_shown_by_themselves(runs):
    folder = only_run(runs)
    shown = {path.parts[-3] for path in folder.glob("parts/*/samples/grid-*.png")}
    assert shown == {"digits", "notes"}
    assert (folder / "parts/notes/samples/real.wav").is_file()
    study = read_study(runs)
    assert sample_grids(study), "and a page draws them"
    (reported,) = reported_tables(study)
    # table 6 of the paper at its first weighting, FID 4.04 to 3.69
    first, ours = reported.rows[:2]
    assert [one[2].sort for one in (first, ours)] == [4.04, 3.69]
    assert ours[4].sort == pytest.approx(100 * (3.69 / 4.04 - 1))


def test_a_run_that_is_stopped_goes_on_exactly(runs, tmp_path):
    words = tiny_run(tmp_path, *SMALL, "measure=none")
    session = Session(compose(words))
    session.assemble(distributed.start("cpu"))
    session.open_folder()
    seen = []
    with pytest.raises(Stopped):
        session.train(lambda: "SIGTERM" if len(seen) == 13 else None, seen.append)
    session.close()
    again = Session(compose(words))
    again.assemble(distributed.start("cpu"))
    again.open_folder()
    again.train()
    again.close()
    assert last_weights(only_run(tmp_path)) == last_weights(only_run(runs))
    kept, found = numbers(only_run(runs)), numbers(only_run(tmp_path))
    assert kept[-1] == found[-1]
