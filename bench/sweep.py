"""Run a study, here or on SLURM, watch it, and come back to it: `python -m bench.sweep study=demo`.

The plan is printed first; only what is missing is run. The work goes on in the background when the
terminal is left.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from bench.cli import guarded
from bench.study.request import RETRIES, Sweep

if TYPE_CHECKING:
    from bench.study.plan import Planned

ACTIONS = {
    "run": "print the plan, run what is missing, show how it goes (the default)",
    "status": "show the plan and what every run is doing, and stop",
    "attach": "show how it goes until nobody works on it any more",
    "cancel": "let every run save and end",
    "retry": "run again what has failed, died or was stopped",
    "clean": (
        "of finished runs, delete all checkpoints but the last whole one "
        "(snapshots and results stay)"
    ),
}
OWN = ("study", "action", "dry_run", "workers", "retries", "compute", "data")
LOCAL_ONLY = {
    "workers": (
        "compute=slurm has jobs and no workers: "
        "leave it out, compute.parallel=N says how many may run at once"
    ),
    "retries": (
        "SLURM requeues a job as long as it saves something: leave it out with compute=slurm"
    ),
}
EXAMPLES = """\
Examples:
  python -m bench.sweep study=demo                               three arms, three seeds, a worker a CPU
  python -m bench.sweep study=encoder_bottleneck compute=slurm   on a cluster, see docs/cluster.md
  python -m bench.sweep study=family data=digits dry_run=true    only the plan: runs, cost, what is done"""


def help_text() -> str:
    """The help page; imports nothing slow."""
    from bench.study import runs as study

    descriptions = []
    for name in study.names():
        try:
            loaded = study.load(name, study.scales(name)[0])
            descriptions.append(f"  {name:20} {loaded.description} ({len(loaded.arms)} arms)")
        except ValueError as error:  # the help page is where one looks for what is wrong
            descriptions.append(f"  {name:20} cannot be read: {error}")
    lines = [
        "usage: python -m bench.sweep study=NAME [data=digits] [compute=local|slurm] "
        "[action=ACTION] [KEY=VALUE ...]",
        "",
        "Run a study: arms x sizes x seeds, each in its own run folder. Again, "
        "it runs only what is missing.",
        "",
        "Studies (bench/conf/study):",
        *descriptions,
        "",
        "Actions:",
        *(f"  {name:10} {what}" for name, what in ACTIONS.items()),
        "",
        "Keys:",
        "  dry_run=true   stop after the plan; with action=cancel and action=clean: "
        "say what they would do",
        "  workers=2      worker processes with compute=local (default: one a GPU, or one a CPU)",
        "  compute.threads=1  of a worker "
        "(default: its share of the cores; another number may change last digits)",
        "  retries=2      how often a worker that died is started again without having "
        "saved anything in between",
        "  KEY=VALUE      any other key goes to every run (see bench.run --help); "
        "seed= and size= narrow the study",
        "",
        EXAMPLES,
    ]
    return "\n".join(lines)


def parse(argv: list[str]) -> Sweep:
    """The words of the command line. Raises ValueError, one sentence."""
    from bench.config.schema import nearest
    from bench.study import plan
    from bench.study import runs as study

    own: dict[str, str] = {}
    words = []
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"'{word}' is not KEY=VALUE{nearest(word, OWN)} (see --help)")
        if key in own:
            raise ValueError(f"{key}= is given twice, {own[key]} and {value}: leave one of them")
        if key in OWN:
            own[key] = value
        else:
            words.append(word)
    if "study" not in own:
        raise ValueError(f"which study? give study=NAME (choices: {', '.join(study.names())})")
    compute, action = own.get("compute", "local"), own.get("action", "run")
    for key, value, choices in (
        ("compute", compute, ("local", "slurm")),
        ("action", action, (*ACTIONS, "work")),
    ):
        if value not in choices:
            raise ValueError(
                f"{key}={value} is unknown{nearest(value, choices)} (choices: {', '.join(choices)})"
            )
    if own.get("dry_run", "false") not in ("true", "false"):
        raise ValueError(f"dry_run={own['dry_run']} is neither true nor false")
    if action == "work" and own.get("dry_run") == "true":
        raise ValueError("action=work is the work itself: leave out action=work, or dry_run=true")
    for key in ("workers", "retries"):
        if key in own and compute == "slurm":
            raise ValueError(f"{key}={own[key]}: {LOCAL_ONLY[key]}")
    data = own.get("data", "digits")
    specs = study.runs(own["study"], data, [f"compute={compute}", *words])
    workers = _number("workers", own["workers"], 1) if "workers" in own else None
    retries = _number("retries", own.get("retries", str(RETRIES)), 0)
    return Sweep(
        own["study"],
        data,
        compute,
        action,
        own.get("dry_run") == "true",
        workers,
        retries,
        words,
        specs,
        plan.runs_folder(specs),
    )


def _number(key: str, text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key}={text} is not a whole number of at least {least}")
    return int(text)


def main(argv: list[str]) -> int:
    """The command.

    Raises ValueError for bad input; returns 0 if every run is complete, else 1, 130 after Ctrl-C.
    """
    if not argv or {"--help", "-h"} & set(argv):
        print(help_text())
        return 0
    sweep = parse(argv)
    if sweep.action == "work":
        from bench.study.local import Local

        return Local(sweep).work()
    launcher = launcher_of(sweep)
    if sweep.action == "cancel":
        return launcher.cancel()
    from bench.study import plan

    planned = plan.make(sweep.specs)
    if sweep.action == "clean":
        from bench.study.clean import clean

        return clean(sweep, planned)
    if sweep.action == "attach":
        return watch(sweep, launcher, planned)
    print(plan.table(planned), flush=True)
    if sweep.action == "status":
        unfinished = {p.spec.id for p in planned if not p.done}
        for run, note in launcher.notes().items():
            if run in unfinished:
                print(f"{run}: {note}")
        return 0
    missing = [p for p in planned if p.spec.id and not p.done]
    if sweep.action == "retry":
        missing = [
            p
            for p in missing
            if p.state.name in ("failed", "died", "stopped") or p.spec.id in launcher.notes()
        ]
        if not missing:
            print("\nnothing to retry: no run of this study has failed, died or was stopped")
    if sweep.dry_run or not missing:
        return 0
    print()
    launcher.start(missing, retry=sweep.action == "retry")
    return watch(sweep, launcher, planned)


class Launcher(Protocol):
    """What starts the runs of a study and knows of those that are not running:
    bench.study.local, slurm.launch.
    """

    def start(self, planned: list[Planned], retry: bool) -> None: ...
    def going(self) -> bool: ...
    def notes(self) -> dict[str, str]: ...
    def cancel(self) -> int: ...


def launcher_of(sweep: Sweep) -> Launcher:
    """The launcher that compute= names. Raises ValueError where there is no SLURM."""
    if sweep.compute == "slurm":
        from slurm.launch import Slurm

        return Slurm(sweep)
    from bench.study.local import Local

    return Local(sweep)


def watch(sweep: Sweep, launcher: Launcher, planned: list[Planned]) -> int:
    """Show progress to the end; Ctrl-C leaves the study running."""
    from bench.study import plan
    from bench.study.view import View

    done = {p.spec.id for p in planned if p.done and p.spec.id}
    try:
        View(sweep.runs, sweep.ids, done, launcher.notes, launcher.going).watch()
    except KeyboardInterrupt:
        print(
            f"\nthe study goes on in the background; to see it again: {sweep.command('attach')}\n"
            f"to stop it: {sweep.command('cancel')}"
        )
        return 130
    planned = plan.make(sweep.specs)
    print("\n" + plan.summary(planned))
    unfinished = [p for p in planned if p.spec.id and not p.done]
    notes = launcher.notes()
    for p in unfinished:
        print(f"  {p.spec.id}: {notes.get(p.spec.id or '', plan.describe(p.state))}")
    return 1 if unfinished else 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
