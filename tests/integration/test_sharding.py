"""FSDP2: sharded processes give the losses of one, and files that any number of processes reads,
sharded or not.
"""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from support.runs import ROOT, each_once, numbers, only_run, run_in_process, tiny_run

from bench.core.store import checkpoints

WORDS = (
    "method=selfflow", "batch=96", "log_images=96", "optimizer.schedule=constant", "measure=none",
    "diagnostics_images=480", "micro_batch=16",
)  # fmt: skip


def sharded(processes, words):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    command += ["-m", "bench.run", *each_once([*words, "compute.shard=true"])]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_slices_give_the_losses_of_whole_parameters_and_move_between_numbers_of_processes(tmp_path):
    alone = tiny_run(tmp_path / "alone", *WORDS, "images=2880")
    moving = tiny_run(tmp_path / "moving", *WORDS)
    assert run_in_process(alone) == 0
    sharded(2, [*moving, "images=960"])
    assert run_in_process([*moving, "images=1920"]) == 0
    sharded(3, [*moving, "images=2880"])
    expected, found = (numbers(only_run(tmp_path / name)) for name in ("alone", "moving"))
    assert len(expected) == len(found) == 30
    for a, b in zip(expected, found, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    a, b = (
        load_file(checkpoints.snapshots(only_run(tmp_path / name))[2880])
        for name in ("alone", "moving")
    )
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-5)
