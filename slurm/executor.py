"""submitit's executor with the settings of conf/compute/slurm.yaml, and arrays of jobs that share
work out among themselves.

    jobs = submit_array(compute, Path("latents/jobs"), "latents", ("-m", "bench.latents", ...))
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.config.schema import Cluster
from slurm import code_snapshot, queue
from slurm.job import SlurmJob


def executor(
    compute: Cluster,
    folder: Path,
    name: str,
    code: Path,
    after: Sequence[str] = (),
    small: bool = False,
    arrays: int = 1,
) -> Any:
    """submitit's executor. folder: of its files; name: of the jobs; code: the copy that they run;
    after: jobs that they wait for; small: one process and no GPU; arrays: that share
    `compute.parallel` out.

    Raises ValueError for what it refuses.
    """
    import submitit

    # submitit's own count of time-outs is not used: slurm.job requeues as long as something is
    # saved
    made = submitit.SlurmExecutor(folder=folder)
    parameters: dict[str, Any] = {
        "job_name": name,
        "time": compute.time,
        "nodes": 1 if small else compute.nodes,
        "ntasks_per_node": 1 if small else compute.processes,
        "cpus_per_task": compute.cpus,
        "signal_delay_s": compute.signal,
        "array_parallelism": max(1, compute.parallel // arrays),
        "setup": [*compute.setup, f"export PYTHONPATH={shlex.quote(str(code))} PYTHONSAFEPATH=1"],
        "srun_args": ["--kill-on-bad-exit=1"],
        "stderr_to_stdout": True,
        "additional_parameters": {
            "requeue": True,
            **({"kill-on-invalid-dep": "yes"} if after else {}),
            **compute.extra,
        },
    }
    places = ("partition", "account", "qos", "constraint")
    parameters |= {key: value for key in places if (value := getattr(compute, key))}
    if compute.gpus and not small:
        parameters["gpus_per_node"] = compute.gpus
    if compute.memory:
        parameters["mem"] = f"{compute.memory}G"
    if after:
        parameters["dependency"] = "afterok:" + ":".join(after)
    made.update_parameters(**parameters)
    return made


def submit_array(compute: Cluster, folder: Path, name: str, arguments: Sequence[str]) -> list[str]:
    """`compute.parallel` jobs that each run Python with these arguments; returns their numbers.

    Raises ValueError where there is no SLURM, and OSError with sbatch's words where it refuses.
    """
    from submitit.core.utils import FailedJobError

    queue.require_slurm()
    folder.mkdir(parents=True, exist_ok=True)
    made = executor(compute, folder, name, code_snapshot.take(folder))
    threads = compute.threads or compute.cpus
    job = SlurmJob(tuple(arguments), name, os.getcwd(), threads=threads)
    try:
        with queue.submitting():
            with made.batch():
                submitted = [made.submit(job) for _ in range(compute.parallel)]
            return [one.job_id for one in submitted]
    except FailedJobError as error:
        raise OSError(" ".join(str(error).split())) from error
