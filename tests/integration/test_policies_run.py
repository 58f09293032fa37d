"""A run on demonstrations: trained, rolled out, and what it says at its end."""

import json

import numpy as np
from PIL import Image
from support.robots import episodes_of_a_dot, write_lerobot
from support.runs import only_run, run_in_process, tiny_run
from support.worlds import need_minigrid

from reports.page.figures.pictures import sample_grids
from reports.page.tables import results_tables
from reports.study.runs import read_study


def test_a_run_on_demonstrations_acts_beside_its_yardsticks(tmp_path, capsys):
    need_minigrid()
    words = ["data=minigrid", "data.tasks=[pick,put_next]", "data.episodes=40"]
    words += ["data.heldout_episodes=10", "method=selfflow", "size=nano", "images=256"]
    words += ["snapshots=0", "measure=full", "evaluation.settings={rollouts: 10}"]
    assert run_in_process(tiny_run(tmp_path, *words)) == 0
    run = only_run(tmp_path)
    (file,) = run.glob("results/rollouts-*.json")
    rows = {row["metric"]: row for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}
    assert rows.keys() == {"success", "success_pick", "success_put_next"}
    for name, row in rows.items():
        assert row["n"] == (20 if name == "success" else 10) and row["real"] == 1
        assert row["request"] == {"metrics": "success", "rollouts": 10}
        assert 0 <= row["details"]["interval_95"][0] <= row["value"] <= 1
        assert row["details"]["yardsticks"].keys() == {
            "instructions shuffled", "views shuffled", "at random", "the usual actions"
        }  # fmt: skip
    groups = [rows[name]["value"] for name in ("success_pick", "success_put_next")]
    assert np.isclose(rows["success"]["value"], np.mean(groups))
    said = capsys.readouterr().out
    assert "the expert: 1; instructions shuffled: " in said and "moments of" in said
    (loss,) = run.glob("results/heldout-*.json")
    assert json.loads(loss.read_text(encoding="utf-8"))["rows"][0]["value"] > 0
    there = {path.name for path in (run / "samples").iterdir()}
    assert there == {f"{name}.{kind}" for name in ("real", "grid-000000000256")
                     for kind in ("png", "apng")}  # fmt: skip
    with Image.open(run / "samples" / "real.apng") as film:
        assert film.n_frames > 3
    # the page
    study = read_study(tmp_path)
    (figure,) = sample_grids(study)
    assert "Beside them the expert's." in figure.caption
    assert [panel.title for panel in figure.panels] == ["The expert", "Self-Flow"]
    assert all(panel.apng for panel in figure.panels)
    notes = " ".join(table.note for table in results_tables(study))
    assert "Success, mean over the runs: the expert 1, instructions shuffled " in notes


def test_a_run_on_recorded_episodes_says_how_far_its_actions_are(tmp_path, capsys):
    root = write_lerobot(tmp_path / "robot", episodes_of_a_dot(length=9), "v3.0")
    words = ["data=lerobot", f"data.root={root}", "data.size=8", "data.heldout=0.2", "size=nano"]
    words += ["images=64", "snapshots=0", "measure=full", "evaluation.samples=16"]
    assert run_in_process(tiny_run(tmp_path, *words)) == 0
    run = only_run(tmp_path)
    (file,) = run.glob("results/actions-*.json")
    (row,) = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert row["metric"] == "action_error" and row["n"] == 16 and row["value"] > 0
    said = capsys.readouterr().out
    assert "(the usual actions: " in said and "of 2 classes: go left, go right" in said
    study = read_study(tmp_path)
    notes = [table.note for table in results_tables(study) if "Action error" in table.note]
    assert "Action error, mean over the runs: the usual actions " in " ".join(notes)
