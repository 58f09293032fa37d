"""What this machine has for the benchmark, and whether a configuration could run here:
`python -m bench.doctor size=L`.

Nothing is downloaded, trained or built, and no network is asked.
"""

from __future__ import annotations

from pathlib import Path

from bench.cli import Command
from bench.config.groups import choosing
from bench.config.keys import Folder

DOCTOR = Command(
    "doctor",
    does="Say what is here (versions, devices, memory, disk, SLURM, staged files) and, with keys "
    "of bench.run (see its --help), whether that run could start here. Nothing is downloaded or "
    "trained. Exit status: 0 everything that is needed is there, 1 something needed is missing, "
    "2 bad input.",
    body="bench.commands.doctor:examine",
    notes={
        "What is said of a thing": {
            "ok": "there",
            "warning": "the run starts, but read this",
            "missing": "needed, and not there (status 1)",
            "-": "optional, and not there",
        }
    },
    keys={
        "runs": Folder("folder of run folders, whose disk is looked at", default=Path("runs")),
        "cache": Folder("where staged files are looked for; default: RUNS/cache"),
    },
    examples={
        "": "",
        "method=repa encoder=dinov2_g data=imagenet256 data.root=latents size=XL": "",
        "method=selfflow size=L compute=slurm": "",
        "data=imagenet256": "the steps of docs/imagenet.md: which are done, what comes next",
    },
    passes=("",),
    meant=choosing,
    alone=True,
)

if __name__ == "__main__":
    DOCTOR.start()
