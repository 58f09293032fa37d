"""A policy behind vla-eval's protocol: its real server, client and orchestrator over loopback, and
its results read into rows. Without the package (the extra serve) the first half is skipped.
"""

import json
import os

import numpy as np
import pytest
import torch
from support.arms import random_backbone
from support.robots import episodes_of_a_dot, write_lerobot
from support.worlds import Corridor, Knows, corridor, walks_where_it_is_told

from bench.core.data.folder import resized
from bench.core.data.played import ROLLED_OUT_FROM
from bench.core.data.recorded import recorded
from bench.core.model.sizes import SIZES
from bench.core.numbers import wilson
from bench.serve.policy import ServedPolicy, model_server
from probes.harness import HarnessSuccess
from probes.metric import Inputs
from probes.rollouts import Planner, roll_out

SHA = "0123456789abcdef" * 4


def need_vla_eval():
    """Skip a test where vla-eval is missing; BENCH_REQUIRE_SERVE=1 makes that a failure."""
    if os.environ.get("BENCH_REQUIRE_SERVE") == "1":
        import vla_eval  # noqa: F401
    else:
        pytest.importorskip("vla_eval", reason="the optional extra serve")


def policy_of(backbone=None, tasks=("walk", "hop"), camera=""):
    data = corridor(*tasks)
    backbone = backbone or random_backbone(SIZES["nano"], data.grid, condition=data.condition)
    planner = Planner(data, backbone, torch.device("cpu"), 4)
    return ServedPolicy(data, planner, camera)


def seen(episode):
    view = np.ascontiguousarray(episode.view().transpose(1, 2, 0))
    return {"images": {"view": view}, "task_description": episode.instruction}


def read(path, sha256=SHA):
    inputs = Inputs(
        backbone=None, weights="ema", sha256=sha256, data=None, data_name="", aligned=None,
        device=torch.device("cpu"), cache=path, settings={"harness": str(path)},
    )  # fmt: skip
    metric = HarnessSuccess("harness_success")
    metric.check(inputs)
    return {row.metric: row for row in metric.measure(inputs)}


# With vla-eval ------------------------------------------------------------------------------------


def test_the_harness_counts_the_successes_that_rollouts_count(tmp_path):
    need_vla_eval()
    from vla_eval import api

    policy, count = policy_of(), 12
    benchmark = {"benchmark": "support.corridor_benchmark:CorridorBenchmark"}
    config = {"benchmarks": [benchmark | {"episodes_per_task": count}]}
    api.evaluate(model_server(policy, SHA), config, output_dir=tmp_path, docker=False)
    (file,) = tmp_path.glob("*_aggregate.json")
    rows = read(file)
    assert rows.keys() == {"success", "success_walk", "success_hop"}
    shares = []
    for task in ("walk", "hop"):
        ended = roll_out(policy.data, task, count, policy.planner)
        stored = {one["task"]: one["episodes"] for one in json.loads(file.read_text())["tasks"]}
        by_number = {one["episode_id"]: one["metrics"]["success"] for one in stored[task]}
        assert [by_number[number] for number in range(count)] == ended.tolist(), task
        row = rows[f"success_{task}"]
        assert row.value == ended.mean() and row.n == count
        assert row.details["interval_95"] == list(wilson(int(ended.sum()), count))
        shares.append(ended.mean())
    assert 0 < sum(shares) < 2, "a policy of which neither all nor nothing succeeds says most"
    assert (
        rows["success"].value == pytest.approx(np.mean(shares)) and rows["success"].n == 2 * count
    )
    protocol = rows["success"].protocol
    assert protocol["harness"].startswith("vla-eval 0.") and protocol["mode"] == "sync"
    assert protocol["benchmark"] == "CorridorBenchmark"
    with pytest.raises(ValueError, match=r"is of the weights 01234567, and these are ffffffff"):
        read(file, sha256="f" * 64)


def test_an_observation_of_another_world_is_answered_with_an_error_and_the_next_is_served():
    need_vla_eval()
    import anyio
    from vla_eval.api import serve_background
    from vla_eval.connection import Connection

    policy = policy_of(Knows(corridor(), walks_where_it_is_told), ("walk",))
    episode = Corridor().reset("walk", ROLLED_OUT_FROM)

    async def talk(url):
        async with Connection(url) as connection:
            await connection.start_episode({"task": {"name": "walk", "episode_idx": 0}})
            large = seen(episode) | {"images": {"view": np.zeros((64, 64, 3), np.uint8)}}
            with pytest.raises(RuntimeError, match=r"a view is uint8 \[64, 64, 3\], and "):
                await connection.act(large)
            while not episode.done:
                action = await connection.act(seen(episode))
                assert action["actions"].dtype == np.float32 and action["actions"].shape == (1,)
                episode.step(int(action["actions"][0]))
            return connection.server_info

    with serve_background(model_server(policy, SHA)) as handle:
        assert handle.host == "127.0.0.1"
        told = anyio.run(talk, handle.url)
    assert episode.success
    assert told["action_spec"]["action"]["description"] == (
        f"weights {SHA}; 0 left, 1 right, 2 wait"
    )


# Without ------------------------------------------------------------------------------------------


def test_plans_are_those_of_rollouts():
    policy = policy_of(tasks=("walk",))
    episode = Corridor().reset("walk", ROLLED_OUT_FROM + 3)
    for step in (0, 2, 5):
        said = policy.plan(seen(episode), 3, step)
        own = policy.planner([3], [episode.view()], [episode.instruction], step // 2)
        assert said.shape == (2, 1) and said[:, 0].tolist() == own[0].tolist()


WRONG = {
    "no camera": ({"images": {}}, r"has the cameras \(none\), 0 of them: say camera=NAME"),
    "two cameras": ({"images": {"a": 0, "b": 0}}, "has the cameras a, b, 2 of them"),
    "floats": ({"images": {"a": np.zeros((2, 10, 3))}}, "a view is float64"),
    "no words": ({"task_description": None}, "task_description is None"),
    "another word": ({"task_description": "go north"}, "'north', which this world never says"),
    "more words": ({"task_description": "go east west"}, "has 3 words that say something, and the"),
}


@pytest.mark.parametrize("changed, says", WRONG.values(), ids=WRONG)
def test_what_is_no_observation_of_the_world_is_refused(changed, says):
    policy = policy_of(tasks=("walk",))
    with pytest.raises(ValueError, match=says):
        policy.plan(seen(Corridor().reset("walk", 0)) | changed, 0, 0)


def test_one_of_several_cameras_may_be_named():
    policy, episode = policy_of(tasks=("walk",), camera="view"), Corridor().reset("walk", 1)
    said = seen(episode)
    two = said | {"images": said["images"] | {"wrist": np.zeros((9, 9, 3), np.uint8)}}
    assert np.array_equal(policy.plan(two, 0, 0), policy.plan(said, 0, 0))


def results(**changes):
    """A results file in the form of vla-eval 0.8.0."""
    episodes = [{"episode_id": n, "metrics": {"success": n < 3}, "steps": 5} for n in range(4)]
    broken = {"episode_id": 4, "metrics": {}, "failure_reason": "env_step_error"}
    tasks = [
        {"task": "Pick up!", "episodes": [*episodes, broken], "num_episodes": 5, "avg_steps": 5.0},
        {"task": "hop", "episodes": episodes[:2], "num_episodes": 2, "avg_steps": 5.0},
    ]
    told = {"action_spec": {"action": {"name": "action", "description": f"weights {SHA}; 0 left"}}}
    return {
        "benchmark": "Rooms", "mode": "sync", "harness_version": "0.8.0", "created_at": "",
        "tasks": tasks, "config": {"params": {"seed": 7}}, "seed": 7, "server_info": told,
    } | changes  # fmt: skip


def test_results_of_a_harness_become_rows(tmp_path):
    file = tmp_path / "Rooms_aggregate.json"
    file.write_text(json.dumps(results()))
    rows = read(file)
    assert rows.keys() == {"success", "success_pick_up", "success_hop"}
    picked = rows["success_pick_up"]
    assert (picked.value, picked.n) == (3 / 5, 5)
    assert picked.details["interval_95"] == pytest.approx([0.2307, 0.8824], abs=1e-3)
    assert rows["success"].value == pytest.approx((3 / 5 + 1) / 2) and rows["success"].n == 7
    assert rows["success"].note == "1 episodes broke off and count as failures"
    protocol = rows["success"].protocol
    assert protocol["harness"] == "vla-eval 0.8.0" and protocol["seed"] == 7
    assert protocol["tasks"] == {"Pick up!": 5, "hop": 2}


def test_the_next_results_under_the_same_name_are_measured_as_well(tmp_path):
    file = tmp_path / "Rooms_aggregate.json"
    told = set()
    for seed in (7, 8):
        file.write_text(json.dumps(results(seed=seed)))
        told.add(HarnessSuccess.measured_of({"harness": str(file)}))
    assert len(told) == 2 and "" not in told


FAULTS = {
    "no file": (None, "cannot be read"),
    "no JSON": ("{", "cannot be read"),
    "another file": ({"rows": []}, "it names no benchmark and tasks"),
    "no episodes": (results(tasks=[{"task": "a", "episodes": []}]), "has no name or no episodes"),
    "no success": (
        results(tasks=[{"task": "a", "episodes": [{"metrics": {"reward": 1.0}}]}]),
        "says neither that it ended well nor that it did not",
    ),
    "another server": (results(server_info={}), "is of no run of this program, and these are 0123"),
}


@pytest.mark.parametrize("content, says", FAULTS.values(), ids=FAULTS)
def test_a_file_that_says_nothing_of_these_weights_is_refused(content, says, tmp_path):
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=says) as refused:
        read(file)
    assert "\n" not in str(refused.value)


def test_what_a_simulator_shows_is_brought_to_the_size_of_recorded_views(tmp_path):
    root = write_lerobot(tmp_path / "robot", episodes_of_a_dot())
    data = recorded("lerobot", str(root), None, 8, 4, 3, 0.2, None, loudness=2.0)
    backbone = random_backbone(SIZES["nano"], data.grid, condition=data.condition)
    policy = ServedPolicy(data, Planner(data, backbone, torch.device("cpu"), 4))
    large = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    small = resized(torch.from_numpy(large).permute(2, 0, 1)[None], 8)[0].permute(1, 2, 0).numpy()
    told = {"task_description": "Go RIGHT!"}
    plans = [policy.plan({"images": {"primary": one}, **told}, 0, 0) for one in (large, small)]
    assert np.array_equal(*plans) and plans[0].shape == (3, 3) and plans[0].dtype == np.float32
    low, high = np.array(data.actions.low), np.array(data.actions.high)
    assert ((plans[0] >= low - 1e-6) & (plans[0] <= high + 1e-6)).all()
    with pytest.raises(ValueError, match=r"'up', which this world never says \(go, left, right\)"):
        policy.plan({"images": {"primary": large}, "task_description": "go up"}, 0, 0)
    with pytest.raises(ValueError, match=r"a view is float32 \[64, 80, 3\], and this policy was"):
        policy.plan({"images": {"primary": large.astype(np.float32)}, **told}, 0, 0)
