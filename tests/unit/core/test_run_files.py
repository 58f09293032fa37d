"""The small files of a run: half a line, a result of another program, a full disk."""

import errno
import json
from types import SimpleNamespace

import pytest

from bench.core.store import folder as run_folder
from bench.core.store.files import write_json
from bench.core.store.folder import MetricsLog
from bench.core.store.rows import result_path
from bench.core.store.runs import read_metrics
from bench.evaluation import tasks as measure_plan
from bench.evaluation.tasks import Task, pending


def test_half_a_line_is_cut_off_where_the_checkpoint_knew_more(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"images": 1}\n{"images": 2}\n{"ima')
    with pytest.warns(UserWarning, match="lines of the past are lost"):
        log = MetricsLog(path, 42)
    log.append({"images": 4})
    assert [line["images"] for line in read_metrics(path)] == [1, 2, 4]


WHOLE = {"schema_version": 1, "run": "run", "kind": "heldout", "images": 640, "rows": []}


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"images": None}, {"rows": "none"}])
def test_a_result_that_a_report_leaves_out_is_measured_again(tmp_path, monkeypatch, change):
    task = Task("heldout", 640, 0.0, ("heldout_loss",))
    monkeypatch.setattr(measure_plan, "planned", lambda experiment: ([task], []))
    path = result_path(tmp_path, "heldout", 640)
    write_json(path, WHOLE)
    experiment = SimpleNamespace(path=tmp_path)
    assert pending(experiment) == []
    write_json(path, WHOLE | change)
    assert pending(experiment) == [task]


def test_a_full_disk_is_told_in_words(tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    log = MetricsLog(tmp_path / "metrics.jsonl", 0)
    monkeypatch.setattr(json, "dump", full)
    monkeypatch.setattr(run_folder, "open", full, raising=False)
    for write in (
        lambda: write_json(tmp_path / "status.json", {}),
        lambda: log.append({"images": 1}),
    ):
        with pytest.raises(
            OSError, match=r"the disk is full: .* cannot be written; free some space"
        ):
            write()
    assert not list(tmp_path.glob(".*"))
