"""bench.run as a user meets it.

Resume after kills, fair streams, several processes, and one sentence for every mistake.
"""

import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
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

from bench.core.store import checkpoints, weight_files
from bench.core.store.files import read_json, write_json


def kill_until_complete(words: list[str], runs: Path, kills: int, seed: int) -> int:
    """SIGKILL at random moments of training, starting again each time;
    returns how many kills there were.
    """
    draw, done = random.Random(seed), 0
    for _ in range(3 * kills):
        if done == kills:
            break
        process = start(words)
        began = list(runs.glob("*/metrics.jsonl"))
        before = began[0].stat().st_size if began else 0
        while process.poll() is None:  # wait for training to move, then for a random while
            moved = list(runs.glob("*/metrics.jsonl"))
            if moved and moved[0].stat().st_size > before:
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.25))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.communicate()
        if process.returncode == 0:
            break
    return done


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """One run nobody interrupts: its words, folder and numbers."""
    runs = tmp_path_factory.mktemp("undisturbed")
    words = tiny_run(
        runs,
        "method=selfflow",
        "images=6Ki",
        "measure=full",
        "evaluation.samples=96",
        "evaluation.snapshots=last",
    )
    assert run_in_process(words) == 0
    return words, only_run(runs)


def test_the_same_command_again_says_complete_and_changes_nothing(tmp_path, capsys):
    words = tiny_run(tmp_path, "images=256", "measure=full", "evaluation.samples=64")
    assert run_in_process(words) == 0
    assert capsys.readouterr().out
    run = only_run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert run_in_process(words) == 0 and "is complete" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}


def test_earlier_snapshots_can_be_measured_without_samples(tmp_path):
    asked = ("evaluation.snapshots=unsampled", "evaluation.metrics=[heldout_loss,fd_local]")
    words = tiny_run(tmp_path, "images=512", "measure=full", *asked)
    assert run_in_process([*words, "evaluation.samples=64"]) == 0
    files = [path.name for path in sorted((only_run(tmp_path) / "results").glob("*.json"))]
    kinds = [name.rpartition("-")[0] for name in files]
    assert kinds == ["heldout", "heldout", "samples"] and files[-1].endswith("512.json")


def test_a_finished_run_whose_last_words_were_lost_is_put_in_order(tmp_path, capsys):
    words = tiny_run(tmp_path, "images=256")
    assert run_in_process(words) == 0
    run = only_run(tmp_path)
    status, cost = read_json(run / "status.json"), read_json(run / "cost.json")
    write_json(run / "status.json", status | {"state": "running"})
    write_json(run / "cost.json", cost | {"seconds_per_step": None, "peak_memory_bytes": None})
    assert run_in_process(words) == 0
    assert read_json(run / "status.json")["state"] == "complete"
    assert read_json(run / "cost.json") == cost | {"peak_memory_bytes": None}
    capsys.readouterr()
    assert run_in_process(words) == 0 and "is complete" in capsys.readouterr().out


def test_a_pipe_that_nobody_reads_ends_nothing(tmp_path):
    words = tiny_run(tmp_path, "images=512")
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.run", *words], cwd=ROOT, env=env, stdout=subprocess.PIPE
    )
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert read_json(only_run(tmp_path) / "status.json")["state"] == "complete"


def check_kills(undisturbed, tmp_path, kills, seed):
    """Kill runs until there were `kills` kills in all;
    each run must end as the undisturbed one did.
    """
    words, whole = undisturbed
    words = [word for word in words if not word.startswith("runs=")]
    done = 0
    while done < kills:
        runs = tmp_path / str(done)
        done += kill_until_complete([*words, f"runs={runs}"], runs, kills - done, seed + done)
        result = run_cli("bench.run", *words, f"runs={runs}")
        assert result.returncode == 0, result.stderr
        run = only_run(runs)
        assert numbers(run) == numbers(whole)
        assert last_weights(run) == last_weights(whole)
        results = list((whole / "results").glob("*.json"))
        assert results
        for path in results:
            mine, theirs = read_json(run / "results" / path.name), read_json(path)
            assert mine["rows"] == theirs["rows"], path.name
        assert read_json(run / "status.json")["state"] == "complete"
        assert read_json(run / "cost.json")["seconds_per_step"] is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_ten_times_it_ends_with_the_same_numbers(undisturbed, tmp_path, seed):
    check_kills(undisturbed, tmp_path, 10, seed)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, 75, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_ends_with_its_code(tmp_path, sent, code):
    words = tiny_run(tmp_path, "images=64Ki", "checkpoint_images=64Ki")
    process = start(words)
    while process.poll() is None and not any(
        p.stat().st_size for p in tmp_path.glob("*/metrics.jsonl")
    ):
        time.sleep(0.02)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    run = only_run(tmp_path)
    assert (
        read_json(run / "status.json")["state"] == "stopped"
        and sent.name in read_json(run / "status.json")["message"]
    )
    assert len(weight_files.checkpoints(run / "checkpoints")) == 1 and "saved" in errors


def test_a_cut_and_a_flipped_checkpoint_fall_back_to_the_one_before(tmp_path, capsys):
    words = tiny_run(tmp_path, "method=selfflow")
    assert run_in_process(words) == 0
    run = only_run(tmp_path)
    whole, weights = numbers(run), last_weights(run)
    for damage in (
        lambda data: data[: len(data) // 2],
        lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    ):
        newest = weight_files.checkpoints(run / "checkpoints")[-1]
        newest.write_bytes(damage(newest.read_bytes()))
        list(weight_files.snapshots(run).values())[-1].unlink()
        assert run_in_process(words) == 0
        assert "going back to the checkpoint before it" in capsys.readouterr().err
        assert numbers(run) == whole and last_weights(run) == weights


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("optimizer"),
        lambda state: state.update(window=None),
        lambda state: state["ema"].popitem(),
        lambda state: state["backbone"].update({"x_embedder.proj.weight": torch.zeros(3, 3)}),
        lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(7)),
    ],
    ids=["optimizer", "window", "a tensor", "a shape", "a moment"],
)
def test_a_checkpoint_of_wrong_content_falls_back_to_the_one_before(tmp_path, capsys, change):
    words = tiny_run(tmp_path)
    assert run_in_process(words) == 0
    run = only_run(tmp_path)
    whole, weights = numbers(run), last_weights(run)
    newest = weight_files.checkpoints(run / "checkpoints")[-1]
    state = torch.load(newest, weights_only=True)
    change(state)
    newest.unlink()
    checkpoints.save_checkpoint(run / "checkpoints", state["images"], state)
    list(weight_files.snapshots(run).values())[-1].unlink()
    assert run_in_process(words) == 0
    assert "going back to the checkpoint before it" in capsys.readouterr().err
    assert numbers(run) == whole and last_weights(run) == weights


def test_arms_see_the_same_images_noise_times_and_dropped_labels(tmp_path, monkeypatch):
    from bench.config.compose import compose
    from bench.core.train import distributed
    from bench.core.train.learner import Learner
    from bench.training.session import Session

    seen: dict[str, list] = {}
    for arm in ("vanilla", "selfflow", "dispersive"):
        session = Session(compose(tiny_run(tmp_path, f"method={arm}", "images=256")))
        session.assemble(distributed.start("cpu"))
        session.open_folder()
        make_batch = Learner.make_batch
        batches = seen.setdefault(arm, [])
        monkeypatch.setattr(
            Learner,
            "make_batch",
            lambda self, *a, make=make_batch, keep=batches: keep.append(make(self, *a)) or keep[-1],
        )
        session.train()
        monkeypatch.setattr(Learner, "make_batch", make_batch)
        session.folder.release()
    for other in ("selfflow", "dispersive"):
        for a, b in zip(seen["vanilla"], seen[other], strict=True):
            for part in ("x0", "x1", "t", "condition", "index"):
                assert torch.equal(getattr(a, part), getattr(b, part)), part
    labels = torch.cat([batch.condition for batch in seen["vanilla"]])
    assert 0.02 < (labels == 10).double().mean() < 0.25, (
        "labels are dropped once, with probability 0.1"
    )


@pytest.mark.slow
def test_accumulation_and_two_processes_give_the_losses_of_one(tmp_path):
    words = [
        "method=selfflow",
        "images=1280",
        "log_images=64",
        "batch=64",
        "evaluation.samples=160",
        "evaluation.snapshots=last",
        "diagnostics_images=256",
    ]
    assert run_in_process(tiny_run(tmp_path / "one", *words)) == 0
    assert run_in_process(tiny_run(tmp_path / "pieces", *words, "micro_batch=16")) == 0
    two = tiny_run(tmp_path / "two", *words, "measure=full")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "bench.run",
        *two,
    ]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    expected = [line["loss"] for line in numbers(only_run(tmp_path / "one"))]
    assert len(expected) == 20
    for other in ("pieces", "two"):
        for a, b in zip(
            expected, [line["loss"] for line in numbers(only_run(tmp_path / other))], strict=True
        ):
            for term in a:
                assert a[term] == pytest.approx(b[term], rel=1e-5), (other, term)
    diagnostics = [
        [line["diagnostics"] for line in numbers(only_run(tmp_path / n))] for n in ("one", "two")
    ]
    assert sum("gradient_agreement" in line for line in diagnostics[0]) >= 4
    for a, b in zip(*diagnostics, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-3), (
            "gradients and sums are of both processes' rows"
        )


def test_one_process_or_two_sample_the_same_pictures(tmp_path, monkeypatch):
    """The run's own sampling path, split between processes, on one set of weights."""
    from support.arms import random_backbone, samples

    from bench.core.model.sampling import sample_block, velocity_of
    from bench.core.model.sampling_protocol import sampling_protocol
    from bench.core.train.distributed import Processes
    from bench.evaluation.samples import SampleStore

    velocity, protocol = velocity_of(random_backbone()), sampling_protocol("ode50", steps=4)
    store = SampleStore(tmp_path, 192, 64)
    monkeypatch.setattr(Processes, "first", lambda processes, value: [0, 1, 2])
    make = functools.partial(sample_block, velocity, protocol, (16, 4), 10, 0, device="cpu")
    made = []
    for rank in range(2):
        processes = Processes(rank, 2, torch.device("cpu"))
        sample = lambda block: made.append(block) or make(block)[0]  # noqa: E731
        store.make({"tokens"}, sample, pytest.fail, pytest.fail, processes)
    whole, _ = samples(velocity, protocol, (16, 4), 10, 192)
    assert made == [0, 2, 1] and torch.equal(store.tokens(), whole)


def test_a_trial_leaves_no_checkpoint_unless_asked(tmp_path, capsys):
    """A run of less than a minute is soon made anew; its folder says what it took."""
    longer = "optimizer.schedule=constant"  # which goes on in the same folder
    # a slow machine also saves in between where what is saved is kept
    for asked, also, left in (("null", [], {0}), ("1024", [], {2}), ("null", [longer], {1, 2})):
        runs = tmp_path / f"{asked}{len(also)}"
        words = tiny_run(runs, f"checkpoint_images={asked}", "images=2Ki", *also)
        assert run_in_process(words) == 0
        run = only_run(runs)
        assert len(weight_files.checkpoints(run / "checkpoints")) in left
        assert 2048 in weight_files.snapshots(run)
    assert " GB free (" in (said := capsys.readouterr().out) and "an estimate, by half" in said
