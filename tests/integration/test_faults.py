"""A full disk, a killed measurement: what was finished stays, a message says what happened,
the next start goes on.
"""

import errno
import random
import time

import pytest
import torch
from support.runs import only_run, run_in_process, start, tiny_run

from bench.cli import BAD_INPUT, FAILED
from bench.core.store import checkpoints, rows, weight_files
from bench.core.store.files import read_json
from bench.core.store.row_table import row_table
from bench.core.store.runs import read_runs
from bench.evaluation import samples


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_while_a_checkpoint_is_written(tmp_path, monkeypatch, capsys):
    words = tiny_run(tmp_path)
    saved, calls = torch.save, []

    def second_save_fails(state, path):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half a checkpoint")
            full_disk()
        saved(state, path)

    monkeypatch.setattr(torch, "save", second_save_fails)
    assert run_in_process(words) == FAILED
    error = capsys.readouterr().err
    assert "the disk is full" in error and "free some space and run the same command again" in error
    run = only_run(tmp_path)
    assert (
        read_json(run / "status.json")["state"] == "failed"
        and "disk is full" in read_json(run / "status.json")["message"]
    )
    state = checkpoints.load_checkpoint(run / "checkpoints")
    assert state is not None and state["images"] == 512, "the last good state stays"
    assert not list((run / "checkpoints").glob(".*")), "nothing half-written stays in the way"
    monkeypatch.setattr(torch, "save", saved)
    assert run_in_process(words) == 0 and weight_files.snapshots(run)


def test_a_disk_that_fills_while_a_snapshot_is_written(tmp_path, monkeypatch, capsys):
    import safetensors.torch

    words = tiny_run(tmp_path)
    monkeypatch.setattr(safetensors.torch, "save_file", full_disk)
    assert run_in_process(words) == FAILED
    assert "the disk is full" in capsys.readouterr().err
    assert not weight_files.snapshots(only_run(tmp_path))


def test_a_snapshot_that_is_not_finite_is_told_before_sampling(tmp_path, monkeypatch, capsys):
    words = tiny_run(tmp_path, f"cache={tmp_path}/cache", "evaluation.samples=64")
    assert run_in_process(words) == 0
    ((_, path), *_) = reversed(weight_files.snapshots(only_run(tmp_path)).items())
    state = checkpoints.read_tensors(path)
    state["blocks.0.attn.qkv.weight"][1, 2] = float("nan")
    checkpoints.write_tensors(path, state, {})
    monkeypatch.setattr(samples, "sample_block", None)
    asked = ["measure=full", "evaluation.snapshots=last", "evaluation.metrics=[fd_local]"]
    assert run_in_process([*words, *asked]) == BAD_INPUT
    error = capsys.readouterr().err
    assert f"{path} has 1 weight(s) that are not finite" in error
    assert "blocks.0.attn.qkv.weight first" in error and "samples at 2048 images" in error


def test_a_disk_that_fills_while_results_are_written(tmp_path, monkeypatch):
    words = [
        *tiny_run(tmp_path),
        "measure=full",
        "evaluation.samples=64",
        "evaluation.snapshots=last",
    ]
    assert run_in_process([*tiny_run(tmp_path)]) == 0
    write = rows.write_json
    fails = {"samples": True}

    def write_json(path, content):
        if path.name.startswith("samples-") and fails["samples"]:
            full_disk()
        write(path, content)

    monkeypatch.setattr(rows, "write_json", write_json)
    assert run_in_process(words) == FAILED
    run = only_run(tmp_path)
    finished = {path.name for path in (run / "results").glob("*.json")}
    assert finished and not any(name.startswith("samples-") for name in finished)
    fails["samples"] = False
    assert run_in_process(words) == 0
    assert read_json(run / "status.json")["state"] == "complete"
    records, problems = read_runs(tmp_path)
    assert len(row_table(records, problems)) and not problems


def kill_while_measuring(words, runs, delay):
    """Start, wait until it measures, kill after `delay` more seconds;
    whether it was still measuring then.
    """
    process = start(words)
    while process.poll() is None:
        found = [read_json(path) for path in runs.glob("*/status.json")]
        if any(
            status.get("pid") == process.pid and status.get("phase") == "measuring"
            for status in found
        ):
            break
        time.sleep(0.01)
    time.sleep(delay)
    measuring = process.poll() is None
    process.kill()
    process.communicate()
    return measuring


def check_measured(words, runs):
    assert run_in_process(words) == 0
    records, problems = read_runs(runs)
    frame = row_table(records, problems)
    assert not problems
    whole = frame[frame["block"].isna()]
    assert not whole.duplicated(["images", "metric"]).any(), "nothing is counted twice"
    assert not list(runs.glob("*/samples/*/blocks"))
    return set(frame["kind"])


def test_killed_while_measuring_it_goes_on(tmp_path):
    words = tiny_run(tmp_path, "images=512", "snapshots=1")
    assert run_in_process(words) == 0
    words += ["measure=full", "evaluation.samples=128"]
    assert kill_while_measuring(words, tmp_path, 0.2)
    words += ["evaluation.metrics=[heldout_loss,fd_local]"]
    assert check_measured(words, tmp_path) >= {"heldout", "samples"}


@pytest.mark.slow
def test_killed_while_measuring_it_measures_what_is_missing(tmp_path):
    words = [*tiny_run(tmp_path), "measure=full", "evaluation.samples=1000"]
    draw, hits = random.Random(0), 0
    for _ in range(20):
        hits += kill_while_measuring(words, tmp_path, draw.uniform(0, 1.5))
        if hits == 6 or read_json(only_run(tmp_path) / "status.json").get("state") == "complete":
            break
    assert hits >= 5, f"{hits} kills came while it measured"
    assert check_measured(words, tmp_path) == {"heldout", "samples", "features"}
