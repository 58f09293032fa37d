"""What ends jobs early on a real cluster, and nothing is lost: preemption, time limits, SIGTERM,
SIGKILL, scancel.
"""

from __future__ import annotations

import pytest
from support.submitted import LONG, command, wait_until

pytestmark = pytest.mark.slurm


def test_a_preempted_job_saves_and_comes_back(submit):
    study = submit("one", *LONG, "compute.partition=main", "compute.cpus=8")
    study.wait_for_images()
    high = command(
        "sbatch",
        "--parsable",
        "--partition=high",
        "--cpus-per-task=8",
        "--output=/dev/null",
        "--wrap=sleep 1",
    ).strip()
    wait_until(lambda: study.saved() > 0, 60, "a checkpoint")
    saved = study.saved()
    wait_until(lambda: study.starts() == 2, 90, "the second start")
    assert (
        command("squeue", "--noheader", "--states=all", f"--jobs={high}", "--format=%T").strip()
        == "COMPLETED"
    )
    assert study.wait_for_images(saved) > saved


def test_a_time_out_saves_and_requeues_more_than_three_times(submit):
    """USR2 is what SLURM sends before the limit; submitit alone would give up after the third."""
    study = submit("one", *LONG)
    saved = 0
    for start in range(1, 6):
        wait_until(lambda start=start: study.starts() == start, 90, f"start {start}")
        study.wait_for_images(saved)
        if start < 5:
            command("scancel", "--signal=USR2", study.train)
            wait_until(lambda before=saved: study.saved() > before, 60, "a checkpoint")
            saved = study.saved()
    jobs = study.launcher.queued(fresh=True)
    assert study.launcher.jobs_of(study.run.name)["evaluate"] in jobs, (
        "what waits for the job still waits after a requeue"
    )


@pytest.mark.slow
def test_a_real_time_limit(submit):
    # SLURM sends the signal up to a minute early: with one minute in all, before the first image
    study = submit("one", *LONG, "compute.time=2", "compute.signal=45")
    wait_until(lambda: study.starts() == 2, 200, "the second start")
    saved = study.saved()
    assert saved > 0 and study.wait_for_images(saved) > saved


def test_sigterm_saves_and_ends(submit):
    study = submit("one", *LONG)
    study.wait_for_images()
    command("scancel", "--signal=TERM", study.train)
    wait_until(lambda: study.launcher.queued(fresh=True) == {}, 60, "an empty queue")
    assert study.status()["state"] == "stopped" and "SIGTERM" in study.status()["message"]
    assert study.saved() > 0 and study.starts() == 1


def test_a_job_killed_at_once_goes_on_when_submitted_again(submit):
    words = [word for word in LONG if not word.startswith("checkpoint_images")] + [
        "checkpoint_images=640"
    ]
    study = submit("one", *words)
    wait_until(lambda: study.saved() > 0, 60, "a checkpoint")
    command("scancel", "--signal=KILL", study.train)
    wait_until(lambda: study.launcher.queued(fresh=True) == {}, 60, "an empty queue")
    saved = study.saved()
    again = submit("one", *words)
    assert again.run == study.run and again.train != study.train
    assert again.wait_for_images(saved) > saved


def test_scancel_saves_and_the_job_does_not_come_back(submit):
    study = submit("one", *LONG)
    study.wait_for_images()
    study.launcher.cancel()
    wait_until(lambda: study.launcher.queued(fresh=True) == {}, 60, "an empty queue")
    assert study.state() == "CANCELLED" and study.starts() == 1
    assert study.status()["state"] == "stopped"
    assert study.saved() > 0
    assert study.launcher.notes() == {}
