"""Streams, data order, schedules, EMA and snapshot counts, by hand or by definition."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from support.arms import random_backbone

from bench.core.data.shards import epoch_by_shards
from bench.core.model.sizes import SIZES
from bench.core.model.streams import Draw, data_order, generator
from bench.core.train.ema import ema_copy, ema_decay, ema_update
from bench.core.train.learner import learning_rate
from bench.core.train.loading import micro_rows
from bench.core.train.settings import Optimizer, Settings
from bench.core.train.trainer import snapshot_counts, snapshots_of


def test_a_stream_depends_on_seed_purpose_and_count_alone():
    def draw(*key):
        return torch.rand(4, generator=generator(*key)).tolist()

    assert draw(0, "noise", 64) == draw(0, "noise", 64)
    others = [draw(1, "noise", 64), draw(0, "time", 64), draw(0, "noise", 128)]
    assert all(draw(0, "noise", 64) != other for other in others)


def test_processes_take_rows_of_one_global_draw():
    whole = Draw.of(0, "noise", 0, 8, slice(0, 8), "cpu").normal(3)
    parts = [Draw.of(0, "noise", 0, 8, slice(i, i + 2), "cpu").normal(3) for i in range(0, 8, 2)]
    assert torch.equal(torch.cat(parts), whole)


def test_an_order_by_shards_is_a_permutation_that_stays_within_few_of_them():
    whole = epoch_by_shards(0, 0, 22, per_shard=4, at_once=2, copies=2)  # the last shard has 2
    assert sorted(whole.tolist()) == list(range(44))
    first_seen: dict[int, int] = {}
    last_seen: dict[int, int] = {}
    for place, shard in enumerate((whole % 22 // 4).tolist()):
        first_seen.setdefault(shard, place)
        last_seen[shard] = place
    in_turn = sorted(first_seen, key=first_seen.__getitem__)
    for pair in (in_turn[:2], in_turn[2:4], in_turn[4:]):  # both begin before either ends
        assert max(first_seen[one] for one in pair) < min(last_seen[one] for one in pair)
    assert max(last_seen[one] for one in in_turn[:2]) < first_seen[in_turn[2]]
    assert max(last_seen[one] for one in in_turn[2:4]) < first_seen[in_turn[4]]
    others = [epoch_by_shards(*of, 22, per_shard=4, at_once=2, copies=2) for of in ((0, 1), (1, 0))]
    assert not any(torch.equal(whole, other) for other in others)
    assert torch.equal(epoch_by_shards.__wrapped__(0, 0, 22, 4, 2, 2), whole)


def test_data_order_is_a_permutation_an_epoch_wherever_it_starts():
    whole = data_order(0, 0, 30, 10)
    assert all(sorted(whole[i : i + 10].tolist()) == list(range(10)) for i in (0, 10, 20))
    assert not torch.equal(whole[:10], whole[10:20])
    assert torch.equal(torch.cat([data_order(0, i, 7, 10) for i in range(0, 28, 7)]), whole[:28])


def test_a_share_of_warm_up_follows_the_length_of_the_run():
    assert Optimizer(warmup_steps=7).warmup(1000) == 7
    assert [Optimizer(warmup_share=0.05).warmup(steps) for steps in (1000, 100, 4)] == [50, 5, 0]
    assert Optimizer(warmup_steps=7, warmup_share=0.0).warmup(1000) == 0


def test_learning_rate_by_hand():
    assert (
        learning_rate(1.0, "constant", 4, 0, 100) == 0.25
        and learning_rate(1.0, "constant", 4, 50, 100) == 1.0
    )
    assert learning_rate(2.0, "cosine", 0, 0, 100) == 2.0
    assert learning_rate(2.0, "cosine", 0, 50, 100) == pytest.approx(2.0 * 0.55)
    assert learning_rate(2.0, "cosine", 0, 100, 100) == pytest.approx(0.2)
    assert learning_rate(1.0, "cosine", 10, 35, 110) == pytest.approx(
        0.1 + 0.45 * (1 + math.cos(math.pi / 4))
    )


def test_snapshots_are_log_spaced_and_end_at_the_end():
    counts = snapshot_counts(131072, 64, 8)
    assert len(counts) == 9 and counts[-1] == 131072 and all(c % 64 == 0 for c in counts)
    ratios = [b / a for a, b in itertools.pairwise(counts)]
    assert max(ratios) / min(ratios) < 1.05
    assert snapshot_counts(32, 4, 8)[-1] == 32 and len(set(snapshot_counts(32, 4, 8))) == len(
        snapshot_counts(32, 4, 8)
    )


def test_a_few_steps_of_a_large_model_leave_its_last_weights_alone():
    few = Settings(images=8 * 64, batch=64, snapshots=8)
    assert snapshots_of(few, SIZES["L"]) == [512]
    assert len(snapshots_of(few, SIZES["nano"])) > 1
    assert len(snapshots_of(replace(few, images=64 * 64), SIZES["L"])) > 1


def test_ema_by_hand():
    assert (
        ema_decay(0.9999, False, 0) == 0.9999
        and ema_decay(0.995, True, 0) == 0.1
        and ema_decay(0.995, True, 10**6) == 0.995
    )
    net = random_backbone()
    ema = ema_copy(net)
    start = ema.x_embedder.proj.weight.clone()
    with torch.no_grad():
        net.x_embedder.proj.weight.add_(1.0)
    ema_update(ema, net, 0.9)
    torch.testing.assert_close(ema.x_embedder.proj.weight, start + 0.1)
    assert not any(p.requires_grad for p in ema.parameters())


def test_micro_batches():
    assert micro_rows(slice(8, 16), 4) == [slice(8, 12), slice(12, 16)] and micro_rows(
        slice(0, 8), None
    ) == [slice(0, 8)]
    with pytest.raises(ValueError, match="micro_batch=3 does not divide the 8"):
        micro_rows(slice(0, 8), 3)
