"""Studies on a real cluster: to the end, as an array, with two processes,
and with a job that fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import ROOT, each_once, numbers
from support.submitted import LONG, SMALL, command, wait_until

pytestmark = pytest.mark.slurm


def rows(run: Path) -> list[dict]:
    return [
        row
        for path in sorted(run.glob("results/*.json"))
        for row in json.loads(path.read_text())["rows"]
    ]


def test_the_demo_gives_the_rows_that_it_gives_without_slurm(submit, tmp_path):
    longer = ["images=6400", "measure=full", "evaluation.encoders=[]", "seed=0"]
    words = each_once([*SMALL, *longer, f"cache={tmp_path / 'cache'}"])
    study = submit("demo", *words, "compute.parallel=2")
    runs = [study.sweep.runs / run for run in study.sweep.ids]
    vanilla, repa, _ = runs
    job, index = study.train.split("_")
    assert index == "0" and study.launcher.jobs_of(repa.name)["train"] == f"{job}_1"
    assert "#SBATCH --array=0-2%2" in (repa / "slurm" / f"train-{job}_1.sh").read_text()
    evaluate = next(vanilla.glob("slurm/evaluate-*.sh")).read_text()
    assert f"--dependency=afterok:{job}_0" in evaluate and "--kill-on-invalid-dep=yes" in evaluate
    local = tmp_path / "local"  # the same study without SLURM, meanwhile
    command = [
        sys.executable,
        "-m",
        "bench.sweep",
        "study=demo",
        *words,
        f"runs={local}",
        "workers=1",
    ]
    command += ["compute.device=cpu", "compute.threads=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: study.launcher.queued(fresh=True) == {}, 180, "the study's end")
    for run in runs:
        assert json.loads((run / "status.json").read_text())["state"] == "complete"
        assert numbers(run) == numbers(local / run.name), "every line of metrics.jsonl"
        assert rows(run) and rows(run) == rows(local / run.name)
    assert list((study.sweep.runs / "reports").glob("*.html"))
    from bench.sweep import SWEEP

    assert SWEEP.main(study.argv) == 0  # nothing is missing: nothing is submitted
    assert study.launcher.queued(fresh=True) == {}


def test_two_tasks_train_together(submit):
    study = submit("one", *SMALL, "measure=none", "compute.processes=2")
    wait_until(lambda: study.status().get("state") == "complete", 180, "the run's end")
    log = (study.run / "slurm" / f"train-{study.train}.log").read_text()
    assert "2 process(es)" in log
    assert (study.run / "slurm" / f"train-{study.train}.1.log").exists()
    study.wait_for_end()


def test_a_failed_job_takes_those_that_wait_for_it_out_of_the_queue(submit):
    study = submit("one", *SMALL, "optimizer.lr=1e30")
    wait_until(lambda: study.state() == "FAILED", 120, "a failed training job")
    wait_until(lambda: study.launcher.queued(fresh=True) == {}, 60, "an empty queue")
    status = study.status()
    assert status["state"] == "failed" and "lower optimizer.lr" in status["message"]
    assert not list(study.run.glob("results/*"))


def test_a_run_that_is_queued_is_not_queued_again(submit, capsys):
    command("scontrol", "update", "partitionname=main", "state=down")
    try:
        first = submit("one", *LONG)
        again = submit("one", *LONG)
        assert again.train == first.train
        assert "already in the queue" in capsys.readouterr().out
        assert "train is job" in first.launcher.notes()[first.run.name]
        assert first.launcher.cancel() == 0
        wait_until(lambda: first.launcher.queued(fresh=True) == {}, 60, "an empty queue")
    finally:
        command("scontrol", "update", "partitionname=main", "state=up")
