"""Post-hoc EMA on scalar trajectories, against the recursion run step by step."""

import json
import math
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.arms import GRID, NANO
from support.runs import run_cli

from bench.core.model.backbone import SiT
from bench.core.store import checkpoints, weight_files
from bench.core.train.ema import ema_decay
from bench.core.train.posthoc import fit_profile, posthoc_path, profile, rebuild
from bench.posthoc_ema import POSTHOC_EMA


def trajectory(steps, seed=0):
    """theta_0 .. theta_steps of a random walk."""
    draw = random.Random(seed)
    values = [1.0]
    for _ in range(steps):
        values.append(values[-1] + draw.gauss(0, 1))
    return values


def average(theta, decay, warmup, steps):
    """The EMA by its recursion."""
    ema = theta[0]
    for n in range(steps):
        d = ema_decay(decay, warmup, n)
        ema = d * ema + (1 - d) * theta[n + 1]
    return ema


def write_run(run, theta, at, decay, warmup, batch=4):
    """A run folder whose backbone is one number, with snapshots after the steps `at`."""
    (run / "snapshots").mkdir(parents=True)
    (run / "config.json").write_text(
        json.dumps({"batch": batch, "ema": {"decay": decay, "warmup": warmup}})
    )
    for steps in at:
        state = {
            "w": torch.tensor([average(theta, decay, warmup, steps)], dtype=torch.float64),
            "fixed": torch.tensor([0.1]),
        }
        save_file(state, weight_files.snapshot_path(run, steps * batch))


@pytest.mark.parametrize("warmup", [True, False])
def test_the_profile_is_the_recursions_own(warmup):
    theta = trajectory(50)
    for steps in (0, 1, 7, 50):
        weights = profile(0.9, warmup, steps, length=50)
        assert weights.sum() == pytest.approx(1) and not weights[steps + 1 :].any()
        assert weights @ np.array(theta) == pytest.approx(
            average(theta, 0.9, warmup, steps), rel=1e-12
        )


@pytest.mark.parametrize("decay", [0.5, 0.95, 0.99])
def test_with_a_snapshot_after_every_step_any_average_is_exact(tmp_path, decay):
    theta = trajectory(40)
    write_run(tmp_path, theta, range(41), 0.9, True)
    path, fitted = rebuild(tmp_path, decay)
    assert path == posthoc_path(tmp_path, 160, decay, True) and fitted.error < 1e-10
    assert load_file(path)["w"].item() == pytest.approx(average(theta, decay, True, 40), rel=1e-9)


def test_with_few_snapshots_the_value_and_the_error_are_those_of_the_combined_profile(tmp_path):
    theta, at = trajectory(200), [5, 20, 60, 120, 200]
    write_run(tmp_path, theta, at, 0.97, False)
    path, fitted = rebuild(tmp_path, 0.99)
    profiles = np.zeros((5, 201))  # built here by running the recursion on unit impulses
    for i, steps in enumerate(at):
        for n in range(201):
            profiles[i, n] = average([float(n == m) for m in range(201)], 0.97, False, steps)
    combined = fitted.coefficients @ profiles
    target = np.array(
        [average([float(n == m) for m in range(201)], 0.99, False, 200) for n in range(201)]
    )
    assert fitted.coefficients.sum() == pytest.approx(1)
    assert fitted.error == pytest.approx(
        np.linalg.norm(combined - target) / np.linalg.norm(target), rel=1e-9
    )
    assert load_file(path)["w"].item() == pytest.approx(float(combined @ np.array(theta)), rel=1e-9)
    # no other combination that sums to one is nearer
    draw = np.random.default_rng(0)
    for _ in range(50):
        move = draw.normal(size=5) * 0.01
        moved = (fitted.coefficients + move - move.mean()) @ profiles
        assert np.linalg.norm(moved - target) >= np.linalg.norm(combined - target)


def test_the_runs_own_average_is_its_snapshot_and_the_rest_stays_bit_for_bit(tmp_path):
    write_run(tmp_path, trajectory(60), [10, 30, 60], 0.9, True)
    path, fitted = rebuild(tmp_path, 0.9, images=30 * 4)
    assert fitted.error < 1e-12 and np.allclose(fitted.coefficients, [0, 1], atol=1e-12)
    own = load_file(weight_files.snapshot_path(tmp_path, 120))
    assert load_file(path)["w"].item() == pytest.approx(own["w"].item(), rel=1e-12)
    assert torch.equal(load_file(path)["fixed"], own["fixed"])


def test_one_snapshot_is_all_there_is():
    only = fit_profile([profile(0.9, False, 10)], profile(0.5, False, 10))
    assert only.coefficients.tolist() == [1.0] and 0 < only.error < math.inf


def test_the_mean_age_of_a_long_average_is_d_over_one_minus_d():
    long = profile(0.9, False, 500)
    assert fit_profile([long], long).age == pytest.approx(0.9 / 0.1)


def test_a_backbone_loads_what_the_command_wrote(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(
        json.dumps({"batch": 64, "ema": {"decay": 0.995, "warmup": True}})
    )
    backbone = SiT(GRID, NANO, 10)
    for images in (640, 1280, 6400):
        for p in backbone.parameters():
            torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(images))
        checkpoints.save_snapshot(run, images, backbone.state_dict())
    assert POSTHOC_EMA.main([f"run={run}", "decay=0.99,0.5"]) == 0
    text = capsys.readouterr().out
    assert text.count("profile error") == 2 and "more snapshots" in text
    loaded = checkpoints.load_snapshot(posthoc_path(run, 6400, 0.99, True), SiT(GRID, NANO, 10))
    assert torch.equal(loaded.state_dict()["pos_embed"], backbone.state_dict()["pos_embed"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["decay=0.9"], "run=DIR missing"),
        (["run=nowhere", "decay=0.9"], "run=nowhere is no run folder"),
        (["run=RUN", "decay=1.5"], "decay=1.5 is outside [0, 1)"),
        (["run=RUN", "decay=high"], "decay=high is not a number"),
        (["run=RUN", "decay=0.9", "images=3"], "images=3: choose a whole number of steps"),
        (["run=RUN", "length=3"], "length=3: there is no key"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, words, message):
    write_run(tmp_path / "run", trajectory(8), [4, 8], 0.9, False)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        POSTHOC_EMA.main([word.replace("RUN", str(tmp_path / "run")) for word in words])
    assert message in str(raised.value)


def test_help():
    result = run_cli("bench.posthoc_ema", "--help")
    assert result.returncode == 0 and "python -m bench.posthoc_ema run=" in result.stdout
