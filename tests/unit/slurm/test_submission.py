"""A study is submitted to a scheduler of four scripts that keeps its queue in a file: what a broken
off submission lacks, what the cluster does not take, what jobs inherit.
"""

import os
import re
import signal
import stat
from pathlib import Path

import pytest
from support.submitted import JOBS, ONE

from bench.config.compose import compose
from bench.study import plan
from bench.study import studies as study
from bench.study.request import Sweep
from bench.sweep import SWEEP
from slurm import queue
from slurm.executor import submit_array
from slurm.launch import Slurm

# One line a job: id|state|reason|name|dependency. $TAKES jobs at most are taken.
SBATCH = r"""#!/bin/bash
cd "$CLUSTER"
env | sort >> environment
script=$(cat "${!#}")
field() { sed -nE "s/^#SBATCH --$1=//p" <<< "$script" | tr -d "'\""; }
last=$(field array | sed -E 's/.*-([0-9]+).*/\1/')
there=$(wc -l < queue)
echo "$(field job-name) array=$(field array)" >> calls
if [ $((there + ${last:-0} + 1)) -gt "${TAKES:-1000}" ]; then
    echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy \
(job submit limit, user's size and/or time limits)" >&2
    exit 1
fi
[ -z "$REFUSES" ] || { echo "sbatch: error: invalid partition specified: $REFUSES" >&2; exit 1; }
job=$(($(cat next) + 1)); echo $job > next
line() { echo "$1|PENDING|Priority|$(field job-name)|$(field dependency)" >> queue; }
if [ -n "$last" ]; then for i in $(seq 0 "$last"); do line "${job}_$i"; done; else line $job; fi
[ -z "$INTERRUPTS" ] || [ $job -ne "$INTERRUPTS" ] || kill -INT $PPID
echo "Submitted batch job $job"
"""
SQUEUE = '#!/bin/bash\ncut -d"|" -f1-3 "$CLUSTER/queue"\n'
SCONTROL = '#!/bin/bash\necho "MaxArraySize            = ${ARRAY:-1001}"\n'
SCANCEL = (
    '#!/bin/bash\nfor job; do sed -i "/^$job|/d" "$CLUSTER/queue"; echo $job >> '
    '"$CLUSTER/cancelled"; done\n'
)


class Cluster:
    def __init__(self, folder: Path):
        self.folder = folder
        scripts = {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL, "scancel": SCANCEL}
        scripts["srun"] = "#!/bin/bash\nexit 1\n"  # submitit asks whether there is one
        for name, text in scripts.items():
            (folder / name).write_text(text, encoding="utf-8")
            (folder / name).chmod(stat.S_IRWXU)
        (folder / "queue").touch()
        (folder / "next").write_text("10", encoding="utf-8")

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    @property
    def jobs(self) -> list[tuple[str, str, str]]:
        """(phase, id, what it waits for) of every job in the queue."""
        split = [line.split("|") for line in self.lines("queue")]
        return [(name.rpartition("-")[2], job, after) for job, _, _, name, after in split]

    def of(self, phase: str) -> list[str]:
        return [job for name, job, _ in self.jobs if name == phase]

    def leave(self, keep) -> None:
        """Jobs end: only those that `keep(phase)` stay."""
        kept = [line for line in self.lines("queue") if keep(line.split("|")[3].rpartition("-")[2])]
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    (folder := tmp_path / "cluster").mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(folder))
    (studies := tmp_path / "study").mkdir()
    (studies / "one.yaml").write_text(ONE.replace("seeds: 1", "seeds: 3"), encoding="utf-8")
    monkeypatch.setattr(study, "FOLDER", studies)
    return Cluster(folder)


def submit(tmp_path, *words):
    sweep = Sweep(**SWEEP.parse(["study=one", f"runs={tmp_path / 'runs'}", *JOBS, *words]))
    launcher = Slurm(sweep)
    launcher.start([p for p in plan.make(sweep.specs) if not p.done], retry=False)
    return launcher


def test_each_evaluation_waits_for_its_training_and_the_report_for_all(cluster, tmp_path):
    submit(tmp_path)
    assert cluster.of("train") == [f"11_{i}" for i in range(3)]
    after = {job: waits for _, job, waits in cluster.jobs}
    evaluations = cluster.of("evaluate")
    assert [after[job] for job in evaluations] == [f"afterok:{job}" for job in cluster.of("train")]
    assert [after[job] for job in cluster.of("report")] == ["afterok:" + ":".join(evaluations)]


def test_an_array_that_shares_work_out_is_submitted_once(cluster, tmp_path, monkeypatch):
    words = ["compute=slurm", "compute.parallel=3", "compute.gpus=2", "compute.processes=2"]
    compute = compose(words).compute
    jobs = submit_array(compute, tmp_path / "jobs", "latents", ("-m", "bench.latents"))
    assert jobs == cluster.of("latents") == ["11_0", "11_1", "11_2"]
    assert cluster.lines("calls") == ["latents array=0-2%3"]
    (script,) = (tmp_path / "jobs").glob("*submission.sh")
    text = script.read_text(encoding="utf-8")
    assert "--gpus-per-node=2" in text and "--ntasks-per-node=2" in text and "code-" in text
    monkeypatch.setenv("REFUSES", "none")
    with pytest.raises(OSError, match="invalid partition specified"):
        submit_array(compute, tmp_path / "jobs", "latents", ("-m", "bench.latents"))


@pytest.mark.parametrize("stopped_after", [11, 12, 14])
def test_a_submission_that_ctrl_c_broke_off_completes(
    cluster, tmp_path, monkeypatch, stopped_after
):
    # in a shell's background tests are born deaf to it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setenv("INTERRUPTS", str(stopped_after))
    with pytest.raises(KeyboardInterrupt):
        submit(tmp_path)
    broken_off = cluster.jobs
    assert broken_off[-1][1].partition("_")[0] == str(stopped_after)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.delenv("INTERRUPTS")
    submit(tmp_path)
    assert cluster.jobs[: len(broken_off)] == broken_off
    after = {job: waits for _, job, waits in cluster.jobs}
    assert len(cluster.of("train")) == len(cluster.of("evaluate")) == 3
    assert [after[job] for job in cluster.of("evaluate")] == [
        f"afterok:{job}" for job in cluster.of("train")
    ]
    assert [after[job] for job in cluster.of("report")] == [
        "afterok:" + ":".join(cluster.of("evaluate"))
    ]
    calls = len(cluster.lines("calls"))
    submit(tmp_path)
    assert len(cluster.lines("calls")) == calls, "a complete submission is left alone"


@pytest.mark.parametrize("there", ["train", "evaluate", "train evaluate", "report", "none"])
def test_phases_that_are_missing_are_submitted_after_those_that_are_queued(
    cluster, tmp_path, capsys, there
):
    launcher = submit(tmp_path)
    old_report = cluster.of("report")
    queued = {name: cluster.of(name) for name in ("train", "evaluate")}
    cluster.leave(lambda phase: phase in there.split())
    capsys.readouterr()
    submit(tmp_path)
    after = {job: waits for _, job, waits in cluster.jobs}
    assert len(cluster.of("evaluate")) == 3
    if "evaluate" in there:  # an evaluation trains what is not trained yet
        assert cluster.of("evaluate") == queued["evaluate"]
    else:
        trained = queued["train"] if "train" in there else cluster.of("train")
        assert [after[job] for job in cluster.of("evaluate")] == [f"afterok:{j}" for j in trained]
    assert after[cluster.of("report")[-1]] == "afterok:" + ":".join(cluster.of("evaluate"))
    assert len(cluster.of("report")) == 1
    assert cluster.lines("cancelled") == (old_report if there == "report" else [])
    assert launcher.queued(fresh=True)


def test_a_job_whose_dependency_can_never_be_met_is_not_counted_on(cluster, tmp_path):
    submit(tmp_path)
    cluster.leave(lambda phase: phase == "evaluate")
    path = cluster.folder / "queue"
    stuck = path.read_text(encoding="utf-8").replace("Priority", "DependencyNeverSatisfied")
    path.write_text(stuck, encoding="utf-8")
    submit(tmp_path)
    assert len(cluster.of("train")) == 3 and len(cluster.of("evaluate")) == 6


def test_what_was_refused_is_said_and_submitted_later(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TAKES", "2")
    submit(tmp_path)
    said = capsys.readouterr().out
    assert len(cluster.of("train")) == 2, "as many as there is room for"
    assert "QOSMaxSubmitJobPerUserLimit" in said
    assert "5 job(s) are not submitted yet" in said and "python -m bench.sweep study=one" in said
    launcher = submit(tmp_path)
    assert len(cluster.jobs) == 2, "there is still no room"
    assert sum("not submitted yet" in note for note in launcher.notes().values()) == 1
    monkeypatch.setenv("TAKES", "100")
    submit(tmp_path)
    assert [len(cluster.of(phase)) for phase in ("train", "evaluate", "report")] == [3, 3, 1]
    after = {job: waits for _, job, waits in cluster.jobs}
    assert {after[job] for job in cluster.of("evaluate")} == {
        f"afterok:{job}" for job in cluster.of("train")
    }


def test_a_request_that_is_wrong_ends_with_the_words_of_sbatch(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("REFUSES", "gpux")
    with pytest.raises(OSError, match="invalid partition specified: gpux"):
        submit(tmp_path)
    assert not cluster.jobs


@pytest.mark.parametrize(("largest", "sizes"), [(1001, [3]), (2, [2, 1]), (1, [1] * 3)])
def test_arrays_are_as_large_as_the_cluster_takes(cluster, tmp_path, monkeypatch, largest, sizes):
    monkeypatch.setenv("ARRAY", str(largest))
    submit(tmp_path, "compute.parallel=8")
    asked = [line.split("array=")[1] for line in cluster.lines("calls") if "-train " in line]
    share = 8 // len(sizes)
    assert asked == [f"0-{size - 1}%{min(share, size)}" if size > 1 else "" for size in sizes]
    assert len(cluster.of("train")) == 3


INHERITED = {
    "SLURM_MEM_PER_CPU": "100", "SLURM_MEM_PER_NODE": "1000", "SLURM_CPU_BIND": "mask_cpu:0x1",
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURMD_NODENAME": "n1", "SBATCH_PARTITION": "gone",
    "SBATCH_MEM_PER_GPU": "5", "SRUN_CPUS_PER_TASK": "3", "SQUEUE_STATES": "RUNNING",
    "RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "n1", "MASTER_PORT": "1",
    "TORCHELASTIC_RUN_ID": "x", "PMI_RANK": "1", "PMIX_RANK": "1", "OMPI_COMM_WORLD_RANK": "2",
}  # fmt: skip


def test_jobs_inherit_nothing_of_the_job_they_are_submitted_from(
    cluster, tmp_path, monkeypatch, capsys
):
    for name, value in INHERITED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    monkeypatch.setenv("RANKING", "mine")
    submit(tmp_path)
    seen = {line.partition("=")[0] for line in cluster.lines("environment")}
    assert not seen & INHERITED.keys()
    assert {"SLURM_CONF", "RANKING", "PATH", "CLUSTER"} <= seen
    assert not [name for name in seen if re.match("SLURM|SBATCH|SRUN", name)][1:]
    assert all(os.environ[name] == value for name, value in INHERITED.items())
    assert "SBATCH_MEM_PER_GPU, SBATCH_PARTITION of this shell are not" in capsys.readouterr().out


def test_the_environment_comes_back_when_sbatch_fails(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(OSError), queue.submitting():
        assert "SLURM_JOB_ID" not in os.environ
        raise OSError
    assert os.environ["SLURM_JOB_ID"] == "7"
