"""Sampling that is stopped between blocks goes on there,
with the same rows and the same files as undisturbed.
"""

import itertools

import numpy as np
import pytest
import torch
from support.runs import only_run, run_in_process, tiny_run

from bench.cli import REQUEUE, StopFlag
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.store.files import read_json
from bench.core.store.states import progress
from bench.core.train.distributed import Processes
from bench.evaluation import measure
from bench.evaluation import request as measure_plan
from bench.evaluation.samples import SampleSpool

MEASURED = (
    "measure=full",
    "evaluation.samples=300",
    "evaluation.snapshots=last",
    "evaluation.protocol=ode50",
)


def test_a_stop_between_blocks_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_plan, "KINDS", ("heldout", "samples"))
    shared = ("images=512", f"cache={tmp_path}/cache", *MEASURED)
    assert run_in_process(tiny_run(tmp_path / "straight", *shared)) == 0
    words = tiny_run(tmp_path / "stopped", *shared)
    whole, made, flags = measure.sample_block, [], []
    install = StopFlag.install
    monkeypatch.setattr(StopFlag, "install", lambda flag: flags.append(flag) or install(flag))

    def sample_block(*arguments):
        made.append(arguments[5])
        if len(made) in (2, 3):  # twice: the second start makes one block more
            flags[-1].reason = "SIGUSR2"
        return whole(*arguments)

    monkeypatch.setattr(measure, "sample_block", sample_block)
    saved = []
    for blocks in (2, 3):
        assert run_in_process(words) == REQUEUE
        run = only_run(tmp_path / "stopped")
        status = read_json(run / "status.json")
        assert status["state"] == "stopped" and "SIGUSR2 while measuring" in status["message"]
        assert len(list(run.glob("samples/blocks-*/*.npy"))) == blocks
        saved.append(progress(run))
    assert saved[0] < saved[1], "a requeued job sees that something was saved"
    damaged = next(run.glob("samples/blocks-*/000001.npy"))
    damaged.write_bytes(damaged.read_bytes()[:300])  # as a power cut leaves it
    assert run_in_process(words) == 0
    assert made == [0, 1, 2, 1, 3, 4, 0], "and at last the block of the picture"
    assert not list(run.glob("samples/blocks-*"))
    straight = only_run(tmp_path / "straight")
    for path in (straight / "results").glob("*.json"):
        assert read_json(path)["rows"] == read_json(run / "results" / path.name)["rows"], path.name
    for path in (straight / "samples").glob("*.png"):
        assert path.read_bytes() == (run / "samples" / path.name).read_bytes()


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_every_process_is_asked_equally_often_whatever_its_number_of_blocks(
    tmp_path, count, monkeypatch
):
    from bench.evaluation import samples as sample_spool

    monkeypatch.setattr(sample_spool, "gather_blocks", lambda mine, count, processes: mine)
    asked, found = [], {}
    for rank in range(3):
        processes, calls = Processes(rank, 3, torch.device("cpu")), itertools.count()
        spool = SampleSpool(tmp_path, 640, "sha", sampling_protocol("ode50"), 0)
        mine = spool.tokens(
            lambda b: torch.full((2, 1), float(b)),
            count,
            processes,
            lambda calls=calls: next(calls),
        )
        found |= {int(tokens[0, 0]): tokens for tokens in mine}
        asked.append(next(calls))
    assert len(set(asked)) == 1 and sorted(found) == list(range(count))
    assert len(list(spool.folder.glob("*.npy"))) == count


def test_blocks_of_another_snapshot_protocol_or_seed_are_not_taken(tmp_path):
    base = {"images": 640, "digest": "sha", "protocol": sampling_protocol("ode50"), "seed": 0}
    changes = (
        {"images": 1280},
        {"digest": "other"},
        {"protocol": sampling_protocol("ode50", guidance=2.0)},
        {"seed": 1},
    )
    folders = [SampleSpool(tmp_path, **(base | change)).folder for change in ({}, *changes)]
    assert len(set(folders)) == 5
    first = SampleSpool(tmp_path, **base)
    made = first.block(0, lambda number: torch.arange(4.0))
    again = SampleSpool(tmp_path, **base).block(0, lambda number: pytest.fail("it is there"))
    assert np.array_equal(made.numpy(), again.numpy()) and again.dtype == torch.float32
