"""Run folders made before files moved (the committed examples are such folders) resume,
are evaluated and reported.
"""

import json
import tarfile

import pytest
from support.arms import random_backbone
from support.runs import ROOT, run_in_process

from bench import evaluate
from bench.cli import guarded
from bench.config.compose import compose
from bench.core.data.base import Digits
from bench.core.model.sizes import SIZES
from bench.core.store import checkpoints
from bench.core.store.files import write_json
from bench.posthoc_ema import POSTHOC_EMA
from bench.report import REPORT
from bench.run import RUN
from bench.study.runs import runs
from bench.sweep import SWEEP
from bench.training.session import Session
from reports.study.runs import read_study

IMAGES = 131072


@pytest.fixture
def old_runs(tmp_path):
    """Run folders as they were published: no weights, import paths of their day."""
    with tarfile.open(
        ROOT / "reports" / "examples" / "encoder_bottleneck" / "runs.tar.xz"
    ) as archive:
        archive.extractall(tmp_path)
    return tmp_path / "runs"


def with_snapshot(runs, method):
    """The first run of a method, with weights in place of those that were not published."""
    run = sorted(runs.glob(f"digits-{method}-*-s0-*"))[0]
    target = json.loads((run / "config.json").read_text())["data"]["target"]
    assert target == "bench.core.data:Digits"  # where the class lay then
    backbone = random_backbone(SIZES["nano"], Digits("digits", 2).grid)
    checkpoints.save_snapshot(run, IMAGES, backbone.state_dict())
    return run


def test_an_old_run_is_known_as_complete_and_not_trained_again(old_runs, capsys):
    run = with_snapshot(old_runs, "vanilla")
    before = (run / "run.json").read_bytes()
    assert run_in_process(["method=vanilla", f"runs={old_runs}", "measure=none"]) == 0
    assert f"{run} is complete" in capsys.readouterr().out
    assert (run / "run.json").read_bytes() == before


def test_runs_made_before_heads_started_as_the_official_ones_are_kept_apart(old_runs, capsys):
    run = with_snapshot(old_runs, "repa-local_m")
    before = (run / "run.json").read_bytes()
    words = ["method=repa", f"runs={old_runs}", "measure=none"]
    assert run_in_process([*words, "method.head_init=torch"]) == 0
    assert f"{run} is complete" in capsys.readouterr().out
    assert Session(compose(words)).path.name not in {path.name for path in old_runs.iterdir()}
    assert (run / "run.json").read_bytes() == before


def test_a_run_without_an_option_goes_on_where_the_default_is_what_it_had(tmp_path):
    session = Session(compose(["method=irepa", f"runs={tmp_path}"]))
    stored = session.cfg.to_dict()
    del stored["method"]["kernel"]
    write_json(session.path / "config.json", stored)
    assert session.differences() == []
    write_json(session.path / "config.json", stored | {"batch": 32})
    assert session.differences() == ["batch: 32 then, 64 now"]


def test_seeds_of_before_and_after_an_option_are_two_arms(old_runs):
    arms = {run.arm for run in read_study(old_runs).runs.values()}
    assert "repa/local_m" in arms
    old = sorted(old_runs.glob("digits-repa-local_m-*-s0-*"))[0]
    new = old.rename(old_runs / Session(compose(["method=repa"])).path.name)
    content = json.loads((new / "run.json").read_text())
    content["identity"] |= {"method.head_init": "xavier"}
    (new / "run.json").write_text(json.dumps(content | {"id": new.name}))

    study = read_study(old_runs, "encoder_bottleneck", runs("encoder_bottleneck"))
    assert {run.arm for run in study.runs.values()} == arms | {
        "repa/local_m [method.head_init=xavier]"
    }
    assert {run.id for run in study.planned} >= set(study.runs) >= {new.name}


def test_an_old_run_is_evaluated(old_runs, capsys):
    run = with_snapshot(old_runs, "selfflow")
    words = [
        f"run={run}",
        "device=cpu",
        "samples=70",
        "protocol=sde250",
        "steps=2",
        "reference=train",
    ]
    assert guarded(evaluate.main, [*words, "metrics=fd_local_s"]) == 0
    assert "fd_local_s" in capsys.readouterr().out


def test_old_runs_are_reported(old_runs, tmp_path, capsys):
    words = [
        "all",
        "--runs",
        str(old_runs),
        "--study",
        "encoder_bottleneck",
        "--out",
        str(tmp_path / "page"),
    ]
    assert guarded(REPORT.main, words) == 0
    assert list((tmp_path / "page").glob("*.html"))
    assert "0.40" in capsys.readouterr().out  # held-out loss of every arm


@pytest.mark.parametrize("command", ["run", "evaluate", "sweep", "posthoc_ema"])
def test_a_run_of_an_unknown_newer_schema_is_named_and_left_alone(old_runs, capsys, command):
    folder = with_snapshot(old_runs, "vanilla")
    content = json.loads((folder / "run.json").read_text()) | {"schema_version": 99}
    (folder / "run.json").write_text(json.dumps(content))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    main, words = {
        "run": (RUN.main, ["method=vanilla", f"runs={old_runs}", "measure=full"]),
        "evaluate": (evaluate.main, [f"run={folder}", "samples=1", "device=cpu"]),
        "sweep": (SWEEP.main, ["study=encoder_bottleneck", f"runs={old_runs}"]),
        "posthoc_ema": (POSTHOC_EMA.main, [f"run={folder}", "decay=0.9"]),
    }[command]
    assert guarded(main, words) == 2
    said = capsys.readouterr().err
    assert folder.name in said and "schema version 99" in said and said.count("\n") == 1
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_a_run_of_an_unknown_newer_schema_is_named_on_the_page_of_the_others(old_runs, tmp_path):
    folder = sorted(old_runs.glob("*"))[0]
    content = json.loads((folder / "run.json").read_text()) | {"schema_version": 99}
    (folder / "run.json").write_text(json.dumps(content))
    words = ["all", "--runs", str(old_runs), "--out", str(tmp_path / "page")]
    assert guarded(REPORT.main, words) == 0
    (page,) = (tmp_path / "page").glob("*.html")
    said = f"{folder.name}/run.json: has schema version 99, this program reads 1"
    assert said in page.read_text(encoding="utf-8")
    assert json.loads((folder / "run.json").read_text()) == content
