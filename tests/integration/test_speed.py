"""bench.speed: rows with every number that they promise, whatever the clock says."""

import json

import numpy as np
import pytest
import torch
from support.arms import arm_of, batch_of, method, step_of
from torch import nn

from bench.cli import guarded
from bench.commands.timing.arms import level_a_token
from bench.commands.timing.clock import Parts, kept_for_backward, matrix_peak, step_seconds
from bench.commands.timing.rows import STEP_PARTS, read_timings
from bench.core.data.shards import Index, SplitIndex, read_shard, write_index, write_shard
from bench.core.model.sizes import SIZES
from bench.core.model.tokens import TokenGrid
from bench.core.train.cost import count
from bench.speed import SPEED

PEER = """
import torch

class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, t, y):
        assert x.shape[1:] == (4, 32, 32) and t.shape == y.shape == x.shape[:1]
        return self.scale * torch.cat([x, x], dim=1), "features"

def factory(size):
    assert size == "nano"
    return Mean()
"""
CPU = torch.device("cpu")


def timed(*words):
    return guarded(SPEED.main, ["steps=1", "repeats=2", "compute.device=cpu", *words])


def test_loading_takes_no_more_memory_after_100000_samples(tmp_path, capsys):
    draw = np.random.default_rng(0)
    splits = {}
    for split, n in (("train", 3000), ("heldout", 4)):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "labels.npy", np.arange(n) % 3)
        shards = []
        for shard in range(-(-n // 500)):
            rows = draw.random((min(500, n), 8, 4, 4), np.float32)
            write_shard(tmp_path / split, shard, {"moments": rows})
            shards.append(read_shard(tmp_path / split, shard))
        splits[split] = SplitIndex(split, n, 500, {"moments": (8, 4, 4)}, "", tuple(shards))
    write_index(tmp_path, Index({}, {}, {}, splits))
    out, own = tmp_path / "speed.json", ["data.patch=1", "data.classes=3", "batch=250"]
    assert timed(f"loader={tmp_path}", f"out={out}", *own, "data.shards_at_once=2") == 0
    _, rows = read_timings(out)
    assert [row.arm for row in rows] == ["latents from the disk", "latents from memory"]
    for row in rows:
        assert row.images_per_s > 0 and row.parts["processor"] > 0
        assert row.peak_bytes and abs(row.activation_bytes or 0) < 12e6  # an epoch's order, twice
    table = capsys.readouterr().out
    assert "| latents from memory " in table and "| 2 threads | 250 " in table
    assert timed(f"table={out}") == 0 and capsys.readouterr().out.strip() == table.strip()
    assert timed("loader=x", "data=digits") == 2
    assert "data=digits: loader=DIR says which latents" in capsys.readouterr().err


def test_rows_of_random_latents(tmp_path, capsys, monkeypatch):
    (tmp_path / "peer_of_mine.py").write_text(PEER)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "speed.json"
    words = ["arms=repa,selfflow", "levels=own,token", "sizes=nano", "batch=4"]
    words += ["data=imagenet256", "module=peer_of_mine:factory", f"out={out}", "images=64"]
    assert timed(*words, "encoder_width=24") == 0
    facts, rows = read_timings(out)
    assert {"versions", "device_name", "date", "matrix_peak", "precision", "compiled"} <= set(facts)
    steps = {(row.arm, row.levels): row for row in rows if row.what == "step"}
    assert set(steps) == {
        ("vanilla", "1"),
        ("peer_of_mine:factory", "1"),
        ("repa/cached", "1"),
        ("selfflow", "2"),
        ("selfflow", "token"),
    }
    vanilla = steps["vanilla", "1"]
    assert vanilla.counted_ratio == vanilla.measured_ratio == 1
    counted = count(method("vanilla"), TokenGrid((32, 32), 2, 4), SIZES["nano"], 1000)
    assert vanilla.flops_per_step == 4 * counted.flops_per_image["total"]
    assert 0 < steps["selfflow", "2"].activation_bytes < steps["selfflow", "2"].peak_bytes
    for (name, _), row in steps.items():
        assert row.ms_per_step > 0 and row.images_per_s == pytest.approx(4e3 / row.ms_per_step)
        assert row.share == pytest.approx(
            row.flops_per_step / row.ms_per_step * 1e3 / facts["matrix_peak"]
        )
        if "peer" not in name:
            assert set(row.parts) <= set(STEP_PARTS)
            assert sum(row.parts.values()) == pytest.approx(row.ms_per_step)
    assert {"teacher", "heads"} <= set(steps["selfflow", "2"].parts)
    assert {(row.what, row.arm) for row in rows if row.what != "step"} == {
        ("sampling", "ode50"),
        ("features", ""),
    }
    # the file's table is the one that was printed
    printed = capsys.readouterr().out
    assert guarded(SPEED.main, [f"table={out}"]) == 0
    assert capsys.readouterr().out == printed


def test_steps_that_replay_graphs_are_timed_beside_the_plain_passes(tmp_path, capsys, monkeypatch):
    words = ["arms=dual_timestep", "sizes=nano", "batch=4", "images=64"]
    words += ["compute.compile=true", "compute.graphs=true"]
    assert timed(*words) and "compute.graphs=true: CUDA graphs" in capsys.readouterr().err
    # on a CPU with a compiler that does nothing and graphs that are none
    told, replayed = [], []
    for module, name, stand_in in (
        ("torch.nn.Module", "compile", lambda self, **words: told.append(words)),
        ("bench.commands.timing.arms", "check_device", lambda *_: None),
        ("bench.commands.timing.passes", "Replayed", lambda v: replayed.append(v) or v),
    ):
        monkeypatch.setattr(f"{module}.{name}", stand_in)
    out = tmp_path / "speed.json"
    assert timed(*words, f"out={out}") == 0
    facts, rows = read_timings(out)
    assert facts["graphs"] and "replayed as CUDA graphs" in capsys.readouterr().out
    assert told and all(one == {"mode": "reduce-overhead"} for one in told) and len(replayed) == 1
    assert [f"{row.what} {row.arm}".strip() for row in rows if row.what != "step"] == [
        "sampling ode50",
        "features",
        "sampling ode50 (plain)",
        "features (plain)",
        "sampling ode50 (plain, replayed)",
    ]


def test_a_file_without_timings_is_refused(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps({"rows": [{"size": "S"}]}))
    with pytest.raises(ValueError, match=r"table=.* is no file of timings .*: write one with out="):
        SPEED.main([f"table={tmp_path / 'other.json'}"])


def test_a_level_a_token_is_the_same_loss():
    two, token = method("selfflow"), level_a_token(method("selfflow"))
    for one in (two, token):
        one.arm, one.ctx = arm_of(one)
    losses = [one.arm(batch_of(), one.ctx, step_of()) for one in (two, token)]
    for name, term in losses[0].items():
        torch.testing.assert_close(term.value, losses[1][name].value)


def test_what_is_kept_for_the_backward_pass_is_counted_once():
    x, weight = torch.randn(8, 16), nn.Parameter(torch.randn(16, 4))
    with kept_for_backward({weight.untyped_storage().data_ptr()}) as kept:
        y = (x @ weight).sigmoid()  # keeps x, and its own result twice
        y.square().sum()
    assert sum(kept.values()) == 4 * (8 * 16 + 8 * 4)


def test_parts_count_calls_and_both_passes_of_a_module_and_let_go():
    class Work:
        def act(self):
            head(torch.ones(2, 3, requires_grad=True)).sum().backward()

    head, work = nn.Linear(3, 3), Work()
    parts = Parts(CPU)
    parts.module("head", head)
    parts.call("all", work, "act")
    assert len(step_seconds(work.act, 3, CPU)) == 3
    names = [name for name, *_ in parts.spans]
    assert names == ["head", "head", "all"] * 3
    seconds = parts.read()
    assert set(seconds) == {"head", "all"} and seconds["head"] <= seconds["all"]
    work.act()
    assert len(parts.spans) == 9 and "act" not in vars(work)


def test_a_matrix_product_has_a_rate():
    assert 0 < matrix_peak(CPU, "float32") < 1e15
