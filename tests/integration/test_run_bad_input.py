"""bench.run and bad input: one sentence, the right exit status,
nothing left in the way and nothing lost.
"""

import json
import subprocess
import sys
import time

import pytest
from support.runs import (
    ROOT,
    last_weights,
    numbers,
    only_run,
    run_cli,
    run_in_process,
    start,
    tiny_run,
)

from bench.cli import BAD_INPUT, FAILED
from bench.core.store import checkpoints, staging, weight_files
from bench.core.store.files import read_json

BAD = [
    (["metod=repa"], "there is no key 'metod'; did you mean method?"),
    (["method=selflow"], "method=selflow is unknown; did you mean selfflow?"),
    (["weight=0.3", "method=repa"], "did you mean method.weight"),
    (["batch=many"], "batch=many"),
    (["images=64Kb"], "images=64Kb is not a count"),
    (["images=1000", "batch=64"], "images=1000 is no multiple of batch=64"),
    (["batch=64", "micro_batch=24"], "micro_batch=24 does not divide"),
    (["method=selfflow", "method.teacher_block=9"], "block 9 is above the depth 4"),
    (["method=vanilla", "encoder=local_s"], "uses no encoder"),
    (["data=folder", "data.root=/nonexistent"], "cannot be read"),
    (["data=folder"], "needs a folder"),
    (["runs=/proc/nowhere"], "cannot be written"),
    (["compute.device=tpu"], "compute.device=tpu is unknown"),
    (["evaluation.protocol=ode"], "evaluation.protocol=ode is unknown"),
    (["nonsense"], "is not KEY=VALUE: write nonsense=VALUE"),
    (["selfflow"], "is not KEY=VALUE; did you mean method=selfflow?"),
    (["local_m"], "is not KEY=VALUE; did you mean encoder=local_m?"),
    (["method=dispersive", "micro_batch=16"], "compares 32 samples with each other"),
    (["compute=slurm"], "submit with python -m bench.sweep"),
    (["--cfg", "all"], "cfg=all is unknown (choices: job)"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, words, message, capsys):
    runs = [] if words[0].startswith("runs=") else [f"runs={tmp_path}/runs"]
    assert run_in_process([*words, *runs]) == BAD_INPUT
    error = capsys.readouterr().err
    assert (
        message in error
        and error.startswith("error: ")
        and "Traceback" not in error
        and len(error.splitlines()) == 1
    )
    assert not list(tmp_path.glob("runs/*/run.json"))


def test_too_little_disk_is_told_before_the_start_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    from bench.training import session

    monkeypatch.setattr(
        session.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10**6})()
    )
    assert run_in_process(tiny_run(tmp_path)) == BAD_INPUT
    assert "MB of disk, 1 MB are free" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("word", "lacks"),
    [
        ("evaluation.metrics=[fd_local,fid]", "Inception's weights"),
        ("evaluation.encoders=[dinov2_b]", "the weights of dinov2_vitb14"),
    ],
)
def test_what_measuring_lacks_is_told_before_training(tmp_path, monkeypatch, capsys, word, lacks):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(staging, "unreachable", lambda url, seconds=0: "no network in tests")
    assert run_in_process([*tiny_run(tmp_path / "runs"), word, "measure=full"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert f"missing: {lacks}" in error and "or train with measure=none" in error
    assert not list(tmp_path.glob("runs/*/run.json"))


def test_changed_settings_and_changed_data_on_resume_are_refused(tmp_path, capsys):
    words = tiny_run(tmp_path, "name=mine", "images=128")
    assert run_in_process(words) == 0
    run = only_run(tmp_path)
    assert run_in_process([*words, "snapshots=3", "compute.data_workers=1"]) == 0
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(
        json.dumps(config | {"label_drop": 0.3})
    )  # as if the default had been another
    assert run_in_process(words) == BAD_INPUT
    error = capsys.readouterr().err
    assert "label_drop: 0.3 then, 0.1 now" in error and "name=..." in error
    (run / "config.json").write_text(json.dumps(config))
    description = json.loads((run / "run.json").read_text())
    description["fingerprints"]["data"] = "0" * 16
    (run / "run.json").write_text(json.dumps(description))
    list(weight_files.snapshots(run).values())[-1].unlink()
    assert run_in_process(words) == BAD_INPUT
    assert "the data changed since" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rate",
    [["optimizer.schedule=cosine"], ["optimizer.schedule=constant", "optimizer.warmup_share=0.1"]],
    ids=["cosine", "share of warm-up"],
)
def test_more_images_are_another_run_where_the_rate_knows_the_end(tmp_path, rate):
    words = tiny_run(tmp_path, *rate)
    assert run_in_process([*words, "images=128"]) == 0
    run = only_run(tmp_path)
    before = numbers(run), last_weights(run)
    assert run_in_process([*words, "images=256"]) == 0
    (longer,) = {path.parent for path in tmp_path.glob("*/run.json")} - {run}
    assert (numbers(run), last_weights(run)) == before
    assert list(weight_files.snapshots(longer))[-1] == 256


@pytest.mark.slow
def test_more_images_continue_a_constant_schedule(tmp_path):
    words = tiny_run(tmp_path, "optimizer.schedule=constant", "log_images=128", "snapshots=4")
    words = [word for word in words if not word.startswith("images=")]
    assert run_in_process([*words, "images=256"]) == 0
    full = ["measure=full", "evaluation.samples=64"]
    assert run_in_process([*words, "images=512", *full]) == 0
    measured = {
        int(path.stem.split("-")[-1])
        for path in (only_run(tmp_path) / "results").glob("heldout-*.json")
    }
    there = weight_files.snapshots(only_run(tmp_path)).keys()
    assert measured == there and {256, 512} < measured, "of both starts"
    straight = [word for word in words if not word.startswith("runs=")] + [
        f"runs={tmp_path}/straight",
        "images=512",
    ]
    assert run_in_process(straight) == 0
    assert numbers(only_run(tmp_path)) == numbers(only_run(tmp_path / "straight"))


def test_a_second_process_on_the_same_run_is_refused(tmp_path, capsys):
    words = tiny_run(tmp_path, "images=64Ki")
    first = start(words)
    try:
        while first.poll() is None and not list(tmp_path.glob("*/metrics.jsonl")):
            time.sleep(0.02)
        assert run_in_process(words) == BAD_INPUT
        assert "is being written by another process" in capsys.readouterr().err
    finally:
        first.kill()
        first.communicate()


def test_a_deleted_run_folder_ends_the_run_with_a_message(tmp_path):
    import shutil

    words = tiny_run(tmp_path, "images=256Ki")
    process = start(words)
    while process.poll() is None and not any(
        p.stat().st_size for p in tmp_path.glob("*/metrics.jsonl")
    ):
        time.sleep(0.02)
    shutil.rmtree(only_run(tmp_path))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "was deleted while" in errors, errors
    assert not list(tmp_path.glob("*/run.json"))


def test_a_loss_that_is_not_finite_names_the_step_and_the_term(tmp_path, capsys):
    wild = ("optimizer.lr=1e30", "optimizer.warmup_steps=0", "optimizer.clip=1e30")
    assert run_in_process(tiny_run(tmp_path, *wild)) == FAILED
    error = capsys.readouterr().err
    assert "became" in error and "in step" in error and "optimizer.lr=1e+30" in error
    run = only_run(tmp_path)
    assert read_json(run / "status.json")["state"] == "failed"
    state = checkpoints.load_checkpoint(run / "checkpoints")
    assert state is None or all(
        t.isfinite().all() for t in checkpoints.tensors_of(state["backbone"])
    )


def test_help_is_fast_to_import_and_shows_groups_and_examples():
    slow = ("torch", "pandas", "sklearn", "hydra")
    code = (
        "import sys, bench.run; bench.run.RUN.help_page(); "
        f"print([m for m in {slow} if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.strip() == "[]", "help imports nothing slow"
    text = run_cli("bench.run", "--help").stdout
    assert all(group in text for group in ("method=", "size=", "encoder=", "data=", "compute="))
    assert text.count("python -m bench.run ") >= 4
