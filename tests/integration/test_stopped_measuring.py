"""Sampling that is stopped between blocks goes on there,
with the same rows and the same files as undisturbed.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.runs import only_run, run_in_process, tiny_run

from bench.cli import REQUEUE, StopFlag
from bench.core.store.files import read_json
from bench.core.store.states import progress
from bench.core.train.distributed import Processes
from bench.evaluation import samples
from bench.evaluation.samples import SampleStore, sweep

MEASURED = (
    "measure=full",
    "evaluation.samples=300",
    "evaluation.snapshots=last",
    "evaluation.protocol=ode50",
    "evaluation.metrics=[heldout_loss,fd_local]",
)


def test_a_stop_between_blocks_keeps_them(tmp_path, monkeypatch):
    shared = ("images=512", *MEASURED)
    assert run_in_process(tiny_run(tmp_path / "straight", *shared)) == 0
    words = tiny_run(tmp_path / "stopped", *shared)
    whole, made, flags = samples.sample_block, [], []
    install = StopFlag.install
    monkeypatch.setattr(StopFlag, "install", lambda flag: flags.append(flag) or install(flag))

    def sample_block(*arguments):
        made.append(arguments[5])
        if len(made) in (2, 3):  # twice: the second start makes one block more
            flags[-1].reason = "SIGUSR2"
        return whole(*arguments)

    monkeypatch.setattr(samples, "sample_block", sample_block)
    saved = []
    for blocks in (2, 3):
        assert run_in_process(words) == REQUEUE
        run = only_run(tmp_path / "stopped")
        status = read_json(run / "status.json")
        assert status["state"] == "stopped" and "SIGUSR2 while measuring" in status["message"]
        assert len(list(run.glob("samples/*/blocks/*.npy"))) == blocks
        saved.append(progress(run))
    assert saved[0] < saved[1], "a requeued job sees that something was saved"
    damaged = next(run.glob("samples/*/blocks/000001-tokens.npy"))
    damaged.write_bytes(damaged.read_bytes()[:300])  # as a power cut leaves it
    assert run_in_process(words) == 0
    assert made == [0, 1, 2, 1, 3, 4, 0], "and at last the block of the picture"
    assert not list(run.glob("samples/*/"))
    straight = only_run(tmp_path / "straight")
    results, grids = (list(straight.glob(of)) for of in ("results/*.json", "samples/*.png"))
    assert results and grids
    for path in results:
        assert read_json(path)["rows"] == read_json(run / "results" / path.name)["rows"], path.name
    for path in grids:
        assert path.read_bytes() == (run / "samples" / path.name).read_bytes()


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_every_process_is_asked_equally_often_whatever_its_number_of_blocks(tmp_path, count):
    asked, made = [], []
    for rank in range(3):
        folder = tmp_path / str(rank)
        folder.mkdir()
        calls, store = itertools.count(), SampleStore(folder, 64 * count, 64)

        def sample(block):
            made.append(block)
            return torch.zeros(64, 1)

        sharing = Sharing(rank, 3, torch.device("cpu"), list(range(count)))
        store.make(
            {"tokens"}, sample, pytest.fail, pytest.fail, sharing, lambda calls=calls: next(calls)
        )
        asked.append(next(calls))
    assert len(set(asked)) == 1 and sorted(made) == list(range(count))


@dataclass(frozen=True)
class Sharing(Processes):
    """One of several processes, told what the main one found."""

    lacking: list

    def first(self, value):
        return self.lacking


def test_tokens_that_are_there_are_painted_and_not_sampled_again(tmp_path):
    alone = Processes(0, 1, torch.device("cpu"))
    store = SampleStore(tmp_path, 100, 64)
    tokens = torch.arange(128.0).reshape(2, 64, 1, 1)
    store.make({"tokens"}, lambda block: tokens[block], pytest.fail, pytest.fail, alone)
    assert torch.equal(store.tokens(), tokens.flatten(0, 1)[:100])

    def paint(tokens):
        pictures = tokens[:, :, :, None].expand(-1, 3, 2, 2).to(torch.uint8)
        return pictures, torch.ones(len(tokens), dtype=torch.bool)

    store.make({"tokens", "pictures"}, pytest.fail, torch.clone, paint, alone)
    store.finish()
    assert np.array_equal(np.load(store.path)["arr_0"][:, 0, 0, 0], np.arange(100))
    sweep(tmp_path)
    assert not (tmp_path / "blocks").exists() and store.done()


def test_a_block_that_cannot_be_written_is_said_and_the_others_stay(tmp_path, monkeypatch):
    alone, save = Processes(0, 1, torch.device("cpu")), SampleStore._save
    store, sampled = SampleStore(tmp_path, 64 * 4, 64), []

    def sample(block):
        sampled.append(block)
        return torch.full((64, 1, 1), float(block))

    def failing(self, number, *rest):
        if number == 1:
            raise OSError("the disk is full")
        save(self, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "_save", failing)
        with pytest.raises(OSError, match="full"):
            store.make({"tokens"}, sample, pytest.fail, pytest.fail, alone)
    assert sampled == [0, 1, 2] and store.lacking({"tokens"}) == [1, 2, 3]  # 2 was sampled beside
    store.make({"tokens"}, sample, pytest.fail, pytest.fail, alone)
    assert torch.equal(store.tokens()[::64, 0, 0], torch.arange(4.0))
