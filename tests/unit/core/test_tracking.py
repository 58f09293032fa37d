"""tracking=...: the same numbers as in the run's own files,
and one sentence where a package is missing.
"""

import os
import sys
import types

import pytest
from support.runs import tiny_run

from bench.config.compose import compose
from bench.core.store import tracking
from bench.core.store.rows import Row
from bench.core.store.runs import read_metrics
from bench.core.train import distributed
from bench.core.train.trainer import Stopped
from bench.training.session import Session


def train(words, stop_at=None):
    session = Session(compose(words))
    session.assemble(distributed.start("cpu"))
    session.open_folder()
    seen = []
    try:
        session.train(lambda: "a test" if seen[-1] == stop_at else None, seen.append)
    except Stopped:
        assert stop_at
    return session


def scalars(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        tag: {event.step: event.value for event in events.Scalars(tag)}
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_has_every_line_and_row_also_after_a_resume(tmp_path):
    words = tiny_run(
        tmp_path, "images=512", "log_images=128", "checkpoint_images=64Ki", "tracking=tensorboard"
    )
    session = train(words, stop_at=320)
    session.track(
        448, {"loss/velocity": -1.0}
    )  # as a killed start may have, after its last checkpoint
    session.close()
    session = train(words)
    row = Row("fd_pixels", 0.25, 10, False, {"a": 1})
    session.track(
        512, tracking.numbers_of_rows([row, Row("knn", 0.5, 10, True, {}, block=2, t=0.5)])
    )
    session.close()
    found = scalars(session.path)
    lines = read_metrics(session.path / "metrics.jsonl")
    assert [line["images"] for line in lines] == [128, 256, 384, 512]
    for line in lines:
        for name, value in tracking.numbers_of_line(line).items():
            assert found[name][line["images"]] == pytest.approx(value, rel=1e-6), name
    assert 448 not in found["loss/velocity"], "void numbers are hidden"
    assert found["results/fd_pixels"] == {512: 0.25} and found["results/knn/block2/t0.5"] == {
        512: 0.5
    }


def test_tracking_is_no_part_of_what_a_run_is(tmp_path):
    plain, tracked = (
        Session(compose(tiny_run(tmp_path, f"tracking={kind}"))) for kind in ("none", "wandb")
    )
    assert plain.path == tracked.path


def test_a_missing_package_and_an_unknown_tracker_are_one_sentence(monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError,
        match="tracking=wandb needs the package wandb, which is not installed: pip install",
    ):
        tracking.check_tracker("wandb")
    with pytest.raises(
        ValueError, match=r"tracking=tensorbord is unknown \(choices: none, tensorboard, wandb\)"
    ):
        tracking.check_tracker("tensorbord")
    tracking.check_tracker("none")


def test_wandb_is_offline_in_the_run_folder_unless_told_otherwise(tmp_path, monkeypatch):
    calls = {}

    class Run:
        def define_metric(self, *_, **__): ...
        def log(self, numbers):
            calls["log"] = numbers

        def finish(self):
            calls["finished"] = True

    stand_in = types.ModuleType("wandb")
    stand_in.init = lambda **keys: calls.update(keys) or Run()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.setattr(tracking, "check_tracker", lambda kind: None)
    for name in ("MODE", "CACHE_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", "")  # so that what the tracker sets is taken back
        monkeypatch.delenv(f"WANDB_{name}")
    monkeypatch.setenv("WANDB_DATA_DIR", "the user's")
    tracker = tracking.open_tracker("wandb", tmp_path / "digits-x-1", 0, {"seed": 1})
    tracker.log(64, {"loss/velocity": 1.0})
    tracker.close()
    assert (
        calls["mode"] == "offline"
        and calls["dir"] == str(tmp_path / "digits-x-1")
        and calls["id"] == "digits-x-1"
    )
    assert (
        calls["log"] == {"images": 64, "loss/velocity": 1.0}
        and calls["finished"]
        and calls["resume"] == "allow"
    )
    places = [os.environ[f"WANDB_{kind}_DIR"] for kind in ("CACHE", "CONFIG", "DATA")]
    below = tmp_path / "digits-x-1" / "wandb"
    assert places == [str(below / "cache"), str(below / "config"), "the user's"]
    monkeypatch.setenv("WANDB_MODE", "online")
    tracking.open_tracker("wandb", tmp_path, 0, {})
    assert calls["mode"] == "online"
