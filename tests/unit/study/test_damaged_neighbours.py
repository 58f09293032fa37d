"""A study is planned, and its other runs start, whatever lies in the folder of one of its runs."""

import json

import pytest
from support.submitted import ONE

from bench.core.store.files import write_json
from bench.core.store.states import run_state
from bench.study import plan, studies
from bench.study.runs import runs
from bench.study.view import View

DEEP = "[" * 200_000
HUGE = 10**400
CONTENTS = {
    "status.json": [
        {"state": "complete", "images": HUGE},
        {"state": "running", "images_total": "x", "heartbeat": [], "pid": "x"},
        {"state": "running", "images": None, "images_total": None, "loss": {}},
        {"state": 7},
    ],
    "run.json": [
        {"schema_version": 1, "seed": HUGE},
        {"schema_version": HUGE},
        {"schema_version": [1]},
    ],
    "cost.json": [
        {"parameters": {}, "flops_per_image": {}},
        {"parameters": None, "flops_per_image": None, "seconds_per_step": HUGE},
        {"parameters": {"backbone": 1e308, "heads": 0}, "flops_per_image": {"total": "x"}},
        {"parameters": {"backbone": 1, "heads": 0}, "flops_per_image": {"total": 1}, "ends": 5},
        {"seconds_per_step": 1e308, "encoder_training_flops": "x"},
    ],
    "config.json": [{}, {"images": "x"}, {"images": HUGE}, {"method": 7}, {"a": {"b": [1]}}],
    "results/samples-000000131072.json": [
        {"schema_version": 1, "images": 64, "rows": [7, None, {"request": 3}]},
        {"schema_version": 1, "images": HUGE, "rows": []},
        {"rows": {"a": 1}},
    ],
    "metrics.jsonl": [{"time": 7}],
    "slurm/jobs.json": [{"train": HUGE}],
}


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "one.yaml").write_text(ONE.replace("seeds: 1", "seeds: 2"), encoding="utf-8")
    return folder


@pytest.mark.parametrize("file", CONTENTS)
def test_a_damaged_run_blocks_no_other(tmp_path, monkeypatch, study_folder, file):
    monkeypatch.setattr(studies, "FOLDER", study_folder)
    broken, other = runs("one", extra=[f"runs={tmp_path}", "measure=full"])
    folder = tmp_path / str(broken.id)
    # trained to its end, so that everything in the folder is looked at
    snapshot = folder / "snapshots" / f"{131072:012d}.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.touch()
    write_json(folder / "status.json", {"schema_version": 1, "state": "complete"})
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    texts = [json.dumps(content) for content in CONTENTS[file]]
    for text in [*texts, DEEP, "[1, 2]", '"\\ud800"', "NaN", ""]:
        path.write_text(text, encoding="utf-8")
        planned = plan.make([broken, other])
        assert [p.spec.id for p in planned] == [broken.id, other.id]
        assert not planned[0].done and planned[1].state.name == "new"
        assert plan.table(planned)
        ids = [str(broken.id), str(other.id)]
        assert len(View(tmp_path, ids, set(), dict, lambda: False).lines()) == 2
        assert run_state(folder).name
