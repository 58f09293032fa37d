"""Studies on a real cluster: to the end, as an array, with two processes,
and with a job that fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import ROOT, each_once, numbers
from support.submitted import JOBS, LONG, ONE, SMALL, command, wait_until

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


def test_a_submission_that_broke_off_is_completed(submit, capsys):
    command("scontrol", "update", "partitionname=main", "state=down")
    try:
        first = submit("one", *LONG)
        folder = first.run / "slurm"
        evaluation = json.loads((folder / "jobs.json").read_text())["evaluate"]
        report = json.loads((first.sweep.folder / "report.json").read_text())["job"]
        command("scancel", evaluation, report)
        wait_until(lambda: list(first.launcher.queued(fresh=True)) == [first.train], 60, "one job")
        again = submit("one", *LONG)
        jobs = again.launcher.jobs_of(again.run.name)
        assert jobs["train"] == first.train and jobs["evaluate"] != evaluation
        script = (folder / f"evaluate-{jobs['evaluate']}.sh").read_text()
        assert f"--dependency=afterok:{first.train}" in script
        assert len(again.launcher.queued(fresh=True)) == 3, "the report too"
        first.launcher.cancel()
        wait_until(lambda: first.launcher.queued(fresh=True) == {}, 60, "an empty queue")
    finally:
        command("scontrol", "update", "partitionname=main", "state=up")


SUBMIT = """
import os, sys
from pathlib import Path
assert "SLURM_MEM_PER_CPU" in os.environ
os.environ.update(word.split("=") for word in sys.argv.pop(1).split())
from bench.study import studies
studies.FOLDER = Path(sys.argv[1])
from bench.sweep import SWEEP
sys.exit(SWEEP.main(sys.argv[2:]))
"""


def test_a_study_that_is_submitted_from_inside_an_allocation(cluster, tmp_path):
    (tmp_path / "one.yaml").write_text(ONE)
    seen = tmp_path / "environment"
    words = ["study=one", *JOBS, *SMALL, "measure=none", f"runs={tmp_path / 'runs'}"]
    words += ["compute.memory=1", f'compute.setup=["env > {seen}"]']
    inside = ["salloc", "--ntasks=1", "--mem-per-cpu=64", "srun"]
    shell = dict.fromkeys(("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"), "7")
    shell |= {"SBATCH_PARTITION": "gone", "SRUN_CPUS_PER_TASK": "9", "SBATCH_MEM_PER_GPU": "1"}
    shell |= {"SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "SLURM_MEM_BIND": "local"}
    told = " ".join(f"{name}={value}" for name, value in shell.items())
    done = subprocess.run(
        [*inside, sys.executable, "-c", SUBMIT, told, str(tmp_path), *each_once(words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 runs, 1 done" in done.stdout
    job = dict(line.partition("=")[::2] for line in seen.read_text().splitlines() if "=" in line)
    assert not job.keys() & {*shell, "SLURM_MEM_PER_CPU", "SLURM_STEP_ID"}
    assert job["SLURM_CONF"] == os.environ["SLURM_CONF"] and job["SLURM_MEM_PER_NODE"] == "1024"
