"""Run a study, here or on SLURM, watch it, and come back to it: `python -m bench.sweep study=demo`.

The plan is printed first; only what is missing is run. The work goes on in the background when the
terminal is left.
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.groups import choosing
from bench.config.keys import Choice, Flag, Grid, Text, Whole
from bench.study import studies

ACTIONS = {
    "run": "print the plan, run what is missing, show how it goes (the default)",
    "status": "show the plan and what every run is doing, and stop",
    "attach": "show how it goes until nobody works on it any more",
    "cancel": "let every run save and end",
    "retry": "run again what has failed, died or was stopped",
    "clean": "of finished runs, delete all checkpoints but the last whole one",
}
WORK = "work"  # the work itself, without a plan: what `run` starts in the background


def choices() -> dict[str, dict[str, str]]:
    """The studies and the actions, for the help page."""
    described = {}
    for name in studies.names():
        try:
            loaded = studies.load(name, studies.scales(name)[0])
            described[name] = f"{loaded.description} ({len(loaded.arms)} arms)"
        except ValueError as error:  # the help page is where one looks for what is wrong
            described[name] = f"cannot be read: {error}"
    return {"Studies (bench/conf/study)": described, "Actions": ACTIONS}


SWEEP = Command(
    "sweep",
    does="Run a study: arms x sizes x seeds, each in its own run folder. Again, it runs only what "
    "is missing.\n\n"
    "Keys of bench.run (see its --help) go to every run; seed= and size= narrow the study; "
    "compute.threads=N is a worker's (default: its share of the cores; another number may change "
    "last digits).",
    body="bench.commands.sweep:run_or_plan",
    request="bench.study.request:Sweep",
    keys={
        "study": Choice("which one", among=studies.names, required=True, shape="STUDY"),
        "data": Text("the data set, one of the study's", default="digits"),
        "compute": Choice("where", among=("local", "slurm"), default="local"),
        "action": Choice(
            "what to do", among=tuple(ACTIONS), unlisted=WORK, default="run", shape="ACTION"
        ),
        "dry_run": Flag("stop after the plan; with cancel and clean: say what they would do"),
        "workers": Whole(
            "worker processes with compute=local; default: one a GPU, or one a CPU", least=1
        ),
        "retries": Whole(
            "how often a worker that died is started again without having saved anything in "
            "between; default: 2"
        ),
        "rates": Grid(
            "instead of the study, find the learning rate of each of its sizes among these, a "
            "factor of 2 apart in LOW..HIGH: on vanilla alone, by held-out loss, from seeds that "
            "no study uses, in folders below runs/rates"
        ),
    },
    examples={
        "study=demo": "three arms, four seeds, a worker a CPU",
        "study=encoder_bottleneck compute=slurm": "on a cluster, see docs/cluster.md",
        "study=family data=digits dry_run=true": "only the plan",
        "study=scaling rates=1e-3..16e-3": "a rate for every size, as text for the study's file",
        "study=demo seed=0 size=micro": "only this seed, in this size",
        "study=demo seed=4,5": "two seeds more, beside those that are there",
    },
    passes=("",),
    meant=choosing,
    notes=choices,
)

if __name__ == "__main__":
    SWEEP.start()
