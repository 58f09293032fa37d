"""The one reader of run folders: what the files say, and what is made of damaged and newer ones."""

import json

import pytest

from bench.core.store.files import write_json
from bench.core.store.row_table import row_table
from bench.core.store.rows import SAME_WORDS, Row, result_path, write_rows
from bench.core.store.runs import (
    Description,
    find_run,
    is_readable,
    is_run,
    read_part,
    read_run,
    read_runs,
    write_description,
    write_status,
)

DESCRIPTION = Description(
    arm="repa/local_s",
    method="repa",
    encoder="local_s",
    size="nano",
    depth=4,
    width=64,
    data="digits",
    seed=0,
    images=640,
    batch=64,
    aligned={"family": "convnet", "trained_on": "digits-train", "labels": "digits"},
    identity={"method": "repa", "method.weight": 0.5, "optimizer.lr": 0.004},
    argv=["method=repa"],
)


@pytest.fixture
def folder(tmp_path):
    """A complete run with one result file."""
    folder = tmp_path / "digits-repa-local_s-nano-s0-1a2b3c4d"
    write_description(folder, DESCRIPTION)
    write_status(folder, {"state": "complete"})
    write_json(folder / "cost.json", {"parameters": {"backbone": 1000}, "seconds_per_step": 0.5})
    (folder / "metrics.jsonl").write_text('{"images": 320}\n{"images": 640}\n{"ima')
    rows = [
        Row("heldout_loss", 0.4, 64, False, {"repeats": 4}),
        Row("encoder_linear", 0.9, 64, True, {"probe": "fast"}, encoder="local_l"),
    ]
    write_rows(folder, "heldout", 640, rows, {"flops": 1e9, "hours": 0.1})
    return folder


def test_what_was_written_is_read_again(folder):
    run = read_run(folder)
    assert run.id == folder.name
    assert {name: getattr(run, name) for name in vars(DESCRIPTION)} == vars(DESCRIPTION)
    assert run.state == "complete"
    assert run.cost["seconds_per_step"] == 0.5
    assert run.configuration == {} and run.environment == {}, "files that are not there"
    assert run.problems == ()
    assert [line["images"] for line in run.metrics] == [320, 640]


def test_its_recipe_is_what_its_arm_does_not_say(folder):
    assert read_run(folder).recipe == {"optimizer.lr": 0.004}


def test_a_row_has_what_its_run_and_its_file_say(folder):
    runs, problems = read_runs(folder.parent)
    frame = row_table(runs, problems)
    assert not problems
    assert list(frame["metric"]) == ["heldout_loss", "encoder_linear"]
    assert list(frame["encoder"]) == ["local_s", "local_l"], "a row's own where it has one"
    assert frame["final"].all()
    assert set(frame["parameters"]) == {1000} and set(frame["flops"]) == {1e9}


def test_rows_of_an_unfinished_run_are_not_final(folder):
    write_status(folder, {"state": "stopped"})
    assert not row_table(*read_runs(folder.parent))["final"].any()


@pytest.mark.parametrize("file", ["status.json", "cost.json", "env.json", "config.json"])
def test_a_damaged_file_beside_is_named_and_the_rest_is_read(folder, file):
    (folder / file).write_text("{")
    run = read_run(folder)
    (problem,) = run.problems
    assert problem.startswith(f"{folder.name}/{file}: is damaged")
    assert read_part(folder, file) == {}
    assert run.seed == 0 and len(run.results.rows) == 2


def test_a_row_that_is_none_is_counted_and_the_others_stay(folder):
    path = result_path(folder, "heldout", 640)
    content = json.loads(path.read_text())
    content["rows"][0]["block"] = "first"
    path.write_text(json.dumps(content))
    rows, problems = read_run(folder).results
    assert [row["metric"] for row in rows] == ["encoder_linear"]
    assert problems == [
        f"{folder.name}/results/{path.name}: block is 'first', expected a whole number of at "
        "least 1 or null; 1 of 2 rows are left out"
    ]
    assert is_readable(path), "it is not measured again for one row"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 1}', "{}"])
def test_a_damaged_run_is_named_and_left_out_and_may_be_begun_anew(folder, content):
    (folder / "run.json").write_text(content)
    assert is_run(folder)
    assert find_run(folder) is None
    runs, problems = read_runs(folder.parent)
    assert not runs
    (problem,) = problems
    assert problem.startswith(f"{folder.name}/run.json: ") and "the run is left out" in problem


def test_a_folder_without_a_run_is_none(tmp_path):
    (tmp_path / "sweeps").mkdir()
    assert not is_run(tmp_path / "sweeps")
    assert find_run(tmp_path / "sweeps") is None and find_run(tmp_path / "absent") is None
    assert read_runs(tmp_path) == ([], [])


def test_a_newer_run_is_refused_with_its_name_and_version(folder):
    content = json.loads((folder / "run.json").read_text()) | {"schema_version": 99}
    (folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=f"{folder.name} is a run of a newer version .* version 99"
    ):
        find_run(folder)
    runs, problems = read_runs(folder.parent)
    assert not runs and "has schema version 99, this program reads 1" in problems[0]


def test_runs_may_be_chosen_by_name(folder):
    write_description(folder.parent / "other", DESCRIPTION)
    assert [run.id for run in read_runs(folder.parent)[0]] == [folder.name, "other"]
    assert [run.id for run in read_runs(folder.parent, {"other", "absent"})[0]] == ["other"]


def test_an_older_run_says_less(folder):
    content = json.loads((folder / "run.json").read_text())
    for key in ("fingerprints", "data_sizes", "argv", "blocks", "head"):
        del content[key]
    (folder / "run.json").write_text(json.dumps(content | {"identity": None}))
    run = read_run(folder)
    assert run.fingerprints == {} and run.argv == [] and run.identity == {}


def test_a_protocol_in_earlier_words_is_the_same_protocol(folder):
    """The same quantity, however a row's time called it; other settings keep it apart."""
    (before, now), *_ = SAME_WORDS.items()
    of = {"name": "fid", "version": 1, "n": [7]}
    rows = [
        Row("fid", 3.0, 7, False, of | {"distance": before}),
        Row("fid", 4.0, 7, False, of | {"distance": now}),
        Row("fid", 5.0, 7, False, of | {"distance": before, "n": [8]}),
        Row("fid", 6.0, 7, False, {}),
    ]
    write_rows(folder, "evaluate", 640, rows, {})
    read = [row for row in read_run(folder).results.rows if row["metric"] == "fid"]
    first, second, other, none = read
    assert first["protocol"] == second["protocol"] == of | {"distance": now}
    assert first["protocol_id"] == second["protocol_id"] == rows[1].to_json()["protocol_id"]
    assert other["protocol"]["distance"] == now
    assert len({row["protocol_id"] for row in read}) == 3
    assert none["protocol"] == {}
