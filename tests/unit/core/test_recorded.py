"""Recorded episodes: LeRobot's files of both versions, and what a policy learns from them."""

import json

import numpy as np
import pytest
import torch
from support.robots import CAMERA, FPS, episodes_of_a_dot, write_lerobot

from bench.core.data.base import described
from bench.core.data.folder import resized
from bench.core.data.lerobot import LeRobot
from bench.core.data.recorded import recorded, recorded_bounds


def demonstrations(root, cache=None, **told):
    said = {
        "camera": None, "size": 8, "patch": 4, "horizon": 3, "heldout": 0.25, "episodes": None,
    } | told  # fmt: skip
    return recorded("lerobot", str(root), **said, loudness=2.0, cache=cache)


KINDS = [("v2.0", "image"), ("v2.1", "video"), ("v3.0", "image"), ("v3.0", "video")]


@pytest.mark.parametrize(("version", "dtype"), KINDS)
def test_both_versions_say_what_was_recorded(tmp_path, version, dtype):
    if dtype == "video":
        pytest.importorskip("av")
    episodes = episodes_of_a_dot()
    there = LeRobot(write_lerobot(tmp_path / "robot", episodes, version, dtype))
    assert (there.names, there.fps, there.cameras) == (("x", "y", "grip"), FPS, {CAMERA: dtype})
    listed = there.episodes()
    assert [one.instruction for one in listed] == [text for text, _, _ in episodes]
    for one, (_, views, actions) in zip(listed, episodes, strict=True):
        assert np.array_equal(there.actions(one), actions)
        seen = np.stack(list(there.views(one, CAMERA)))
        assert np.abs(seen.astype(int) - views).max() <= (0 if dtype == "image" else 8)


def test_tokens_are_the_view_to_come_and_the_actions_between_its_quantiles(tmp_path):
    episodes = episodes_of_a_dot(40)
    data = demonstrations(write_lerobot(tmp_path / "robot", episodes))
    done = {split: of.actions for split, of in data.played.items()}
    # the same arrays once more, by hand: an episode's last view twice, no plan beyond its end
    every = [(views, actions) for _, views, actions in episodes]
    assert sorted(len(a) for _, a in every) == sorted(
        n for of in data.played.values() for n in of.lengths.tolist()
    )
    assert data.n_heldout == sum(len(a) - 2 for a in _split_of(data, "heldout"))
    first = _split_of(data, "train")[0]
    views = next(views for views, actions in every if np.array_equal(actions, first))
    shown = resized(torch.from_numpy(views).permute(0, 3, 1, 2), 8)
    assert torch.equal(data.images("train", slice(0, 1))[0], shown[3])
    last = data.images("train", slice(len(first) - 3, len(first) - 2))[0]
    assert torch.equal(last, shown[-1]), "behind the last action nobody looked"

    rows = torch.tensor([0, 5, 11])
    tokens = data.tokens("train", rows)
    assert torch.equal(
        ((data.decode(tokens) + 1) * 127.5).round(), data.images("train", rows).float()
    )
    _, actions = data.grid.unpack(tokens)
    first, end = np.quantile(done["train"][:, 0], (0.01, 0.99))
    x = data.recorded_actions("train")[rows][..., 0].numpy()
    by_hand = 2 * (x - first) / (end - first) - 1
    assert np.allclose(actions[..., 0].numpy(), by_hand, atol=1e-5)
    assert not actions[..., 1].any(), "a number that never changes is nought"
    assert set(actions[..., 2].flatten().tolist()) <= {-1.0, 1.0}
    assert torch.allclose(data.actions_of(tokens), data.recorded_actions("train")[rows], atol=1e-6)
    assert data.class_names == ["go left", "go right"], "small, and without signs"


def _split_of(data, split):
    of = data.played[split]
    return np.split(of.actions, np.cumsum(of.lengths)[:-1])


def test_numbers_are_cut_at_what_was_recorded():
    actions = np.linspace(-1, 1, 1000, dtype=np.float32)[:, None].repeat(2, axis=1)
    actions[:, 1] = actions[:, 0] > 0.999  # shut in one of a thousand moments
    bounds = recorded_bounds(("x", "grip"), actions, actions[-10:])
    assert bounds.low == (-1, 0) and bounds.high == (1, 1)
    assert bounds.middle == pytest.approx((0, 0.5), abs=1e-6), "which has no quantiles: its ends"
    assert bounds.half == pytest.approx((0.98, 0.5), abs=1e-4)
    assert bounds.idle == pytest.approx((0.991, 0), abs=1e-3)
    assert bounds.of_tokens(torch.tensor([[9.0, -9.0]])).tolist() == [[1, 0]]


def test_what_was_read_is_kept_and_damage_is_named(tmp_path, monkeypatch):
    root, cache = write_lerobot(tmp_path / "robot", episodes_of_a_dot()), tmp_path / "cache"
    plain, first = demonstrations(root), demonstrations(root, cache)
    monkeypatch.setattr(LeRobot, "views", lambda *_: pytest.fail("read again"))
    again = demonstrations(root, cache)
    assert again.fingerprint == first.fingerprint == plain.fingerprint
    assert torch.equal(again.tokens("heldout"), plain.tokens("heldout"))
    assert demonstrations(root, cache, horizon=2).fingerprint != again.fingerprint
    monkeypatch.undo()
    demonstrations(root, cache, size=12)
    assert len(list((cache / "recorded").glob("*/train-views.npy"))) == 2, "other pixels are others"
    for file in cache.rglob("heldout.npz"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged .* delete that folder, they are read again"):
        demonstrations(root, cache)


def test_every_split_is_said_and_what_is_told_nothing_is_left_out(tmp_path):
    episodes = episodes_of_a_dot(20)
    episodes[3] = (" ... ", *episodes[3][1:])
    data = demonstrations(write_lerobot(tmp_path / "robot", episodes))
    assert "19 recorded episodes, 5 of them held out, at 5 actions a second" in described(data)
    assert "1 without an instruction or a moment are left out" in described(data)
    few = demonstrations(tmp_path / "robot", episodes=8)
    assert sum(len(of.lengths) for of in few.played.values()) == 7


def test_there_is_no_world_to_act_in(tmp_path):
    data = demonstrations(write_lerobot(tmp_path / "robot", episodes_of_a_dot()))
    with pytest.raises(ValueError, match=r"recorded episodes, with no world .* action_error, or"):
        _ = data.world


def damaged(change):
    """A folder in which a function of its root changed something."""

    def write(root):
        change(write_lerobot(root, episodes_of_a_dot()))

    return write


def _episodes(root, change):
    file = root / "meta/episodes.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    change(rows)
    file.write_text("\n".join(map(json.dumps, rows)))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
FILE = "data/chunk-000/episode_000000.parquet"


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda root: root.mkdir(), r"is no data set of LeRobot: expected meta/info.json"),
        (lambda root: write_lerobot(root, episodes_of_a_dot(), codebase_version="v1.6"),
         r"is of LeRobot's version v1.6, and 2.0, 2.1 and 3.0 are read"),
        (lambda root: write_lerobot(root, episodes_of_a_dot(), fps=0), r"at fps=0: a policy takes"),
        (lambda root: write_lerobot(root, episodes_of_a_dot(), features={"action": {"shape": [3]}}),
         r"has the features action .* and a camera"),
        (lambda root: write_lerobot(root, episodes_of_a_dot(), data_path="data/{where}.parquet"),
         r"calls files 'data/\{where\}.parquet', of which 'where' is not known"),
        (lambda root: write_lerobot(root, episodes_of_a_dot(3)), r"of 3 episodes with an instr"),
        (damaged(lambda root: (root / "meta/episodes.jsonl").write_text("")), r"lists no episodes"),
        (damaged(lambda root: (root / "meta/episodes.jsonl").write_text("{")), r"s.jsonl cannot"),
        (damaged(lambda root: _episodes(root, lambda rows: rows[2].pop("tasks"))),
         r"an episode of meta/ is listed as .*a number, a length, tasks"),
        (damaged(lambda root: _episodes(root, lambda rows: rows[2].update(length=4))),
         r"has 9 of the 4 moments of episode 2"),
        (damaged(lambda root: (root / FILE).unlink()), r"file cannot be read .*000000.parquet"),
        (damaged(lambda root: (root / FILE).write_text(POINTER)), r"000000.parquet cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(tmp_path, write, why):
    write(tmp_path / "robot")
    with pytest.raises(ValueError, match=why):
        demonstrations(tmp_path / "robot")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"camera": "wrist"}, rf"data.camera: wrist is none of them \(choices: {CAMERA}\)"),
        ({"horizon": 0}, r"data.horizon=0 predicts no action"),
        ({"horizon": 40}, r"data.horizon=40: no training episode has that many actions"),
        ({"heldout": 0}, r"data.heldout=0 of 12 episodes"),
        ({"size": 0}, r"data.size=0: a view has 1 pixel or more"),
        ({"patch": 3}, r"patch"),
    ],
)
def test_what_cannot_be_learned_is_refused(tmp_path, told, why):
    write_lerobot(tmp_path / "robot", episodes_of_a_dot())
    with pytest.raises(ValueError, match=why):
        demonstrations(tmp_path / "robot", **told)


def test_actions_that_are_not_finite_are_refused(tmp_path):
    episodes = episodes_of_a_dot()
    episodes[1][2][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"actions of episode 1 are \[8, 3\], finite or not"):
        demonstrations(write_lerobot(tmp_path / "robot", episodes))


def test_a_film_that_is_cut_off_is_named(tmp_path):
    pytest.importorskip("av")
    root = write_lerobot(tmp_path / "robot", episodes_of_a_dot(), "v2.1", "video")
    other = write_lerobot(tmp_path / "short", episodes_of_a_dot(length=4), "v2.1", "video")
    place = f"videos/chunk-000/{CAMERA}/episode_000001.mp4"
    (root / place).write_bytes((other / place).read_bytes())
    with pytest.raises(ValueError, match=r"episode_000001.mp4 has 5 of the 8 frames of episode 1"):
        demonstrations(root)
    (root / place).write_text(POINTER)
    with pytest.raises(ValueError, match=r"episode_000001.mp4 cannot be read"):
        demonstrations(root)
