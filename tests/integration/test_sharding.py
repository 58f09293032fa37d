"""FSDP2: sharded processes give the losses of one, and files that any number of processes reads,
sharded or not.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.runs import ROOT, each_once, numbers, only_run, run_in_process, tiny_run

from bench.core.store import weight_files

WORDS = (
    "method=selfflow", "batch=96", "log_images=96", "optimizer.schedule=constant", "measure=none",
    "diagnostics_images=480", "micro_batch=16",
)  # fmt: skip


RUN_AND_NAME_THREADS = """
import pathlib, sys
from bench.cli import guarded
from bench.run import RUN
code = guarded(RUN.main, sys.argv[1:])
print([(task / "comm").read_text().strip() for task in pathlib.Path("/proc/self/task").iterdir()])
sys.exit(code)
"""


def sharded(processes, words):
    started(processes, "-m", "bench.run", *each_once([*words, "compute.shard=true"]))


def started(processes, *what):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), *what]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result


# a process of a job ends as Python does, which a thread that holds a tensor turns to SIGABRT
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_no_thread_of_the_process_group_outlives_a_run_of_whole_parameters(tmp_path):
    script = tmp_path / "run_and_name_threads.py"
    script.write_text(RUN_AND_NAME_THREADS)
    words = [*tiny_run(tmp_path / "runs", *WORDS), "images=96"]
    result = started(2, script, *each_once(words))
    assert result.stdout.count("['") == 2, result.stdout
    assert "gloo" not in result.stdout
    assert "warning" not in result.stderr


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
        load_file(weight_files.snapshots(only_run(tmp_path / name))[2880])
        for name in ("alone", "moving")
    )
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-5)
