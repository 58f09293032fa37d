"""A study from its plan to its end: the actions of `bench.sweep`.

run_sweep(Sweep(study="demo", action="status"))
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.config.groups import locate
from bench.core.store.checkpoints import is_whole
from bench.core.store.files import leftovers
from bench.core.store.weight_files import checkpoints
from bench.study import plan
from bench.study.local import Local
from bench.study.rates import conclude
from bench.study.request import Launcher, Planned, Sweep
from bench.study.studies import load
from bench.study.view import View

LEFT = 130  # exit code of a view that was left with Ctrl-C
LAUNCHERS: dict[str, Callable[[Sweep], Launcher]] = {
    "local": Local,
    "slurm": lambda sweep: locate("slurm.launch:Slurm")(sweep),
}


def run_sweep(sweep: Sweep) -> int:
    """Do what was asked; 0 if every run is complete, else 1, and 130 after Ctrl-C.

    Raises ValueError where there is no SLURM.
    """
    # what needs no plan
    if sweep.action == "work":
        return Local(sweep).work()
    launcher = LAUNCHERS[sweep.compute](sweep)
    if sweep.action == "cancel":
        return launcher.cancel()
    # what needs no printed plan
    planned = plan.make(sweep.specs, sweep.flops_per_second, plan.pace_here(sweep.threads))
    if sweep.action == "clean":
        return clean(sweep, planned)
    if sweep.action == "attach":
        return _to_the_end(sweep, launcher, planned)
    print(plan.table(planned, sweep.workers), flush=True)
    if warning := plan.little_room(planned):
        print(f"\n{warning}", flush=True)
    if sweep.action == "status":
        _show_notes(launcher, planned)
        _conclude(sweep)
        return 0
    # what is to be done
    missing = [p for p in planned if p.spec.id and not p.done]
    if sweep.action == "retry":
        notes = launcher.notes()
        ended = ("failed", "died", "stopped")
        missing = [p for p in missing if p.state.name in ended or p.spec.id in notes]
        if not missing:
            print("\nnothing to retry: no run of this study has failed, died or was stopped")
    if sweep.dry_run:
        if not sweep.rates:  # what these runs can show belongs below these lines
            claims = load(sweep.study, sweep.data).claims
            print("\n" + plan.outlook(claims, plan.planned_cells(planned)))
        return 0
    if not missing:
        _conclude(sweep)
        return 0
    print()
    launcher.start(missing, retry=sweep.action == "retry")
    return _to_the_end(sweep, launcher, planned)


def _to_the_end(sweep: Sweep, launcher: Launcher, planned: list[Planned]) -> int:
    code = watch(sweep, launcher, planned)
    if code != LEFT:
        _conclude(sweep)
    return code


def _conclude(sweep: Sweep) -> None:
    """What a search for learning rates has found so far; a study's answers are bench.report's."""
    if sweep.rates:
        path = sweep.runs / f"{sweep.name}.yaml"
        conclude(sweep.study, sweep.data, sweep.rates, sweep.specs, path)


def _show_notes(launcher: Launcher, planned: list[Planned]) -> None:
    unfinished = {p.spec.id for p in planned if not p.done}
    for run, note in launcher.notes().items():
        if run in unfinished:
            print(f"{run}: {note}")


def watch(sweep: Sweep, launcher: Launcher, planned: list[Planned]) -> int:
    """Show progress to the end; Ctrl-C leaves the study running."""
    done = {p.spec.id for p in planned if p.done and p.spec.id}
    try:
        View(sweep.runs, sweep.ids, done, launcher.notes, launcher.going).watch()
    except KeyboardInterrupt:
        print(
            f"\nthe study goes on in the background; to see it again: {sweep.command('attach')}\n"
            f"to stop it: {sweep.command('cancel')}"
        )
        return LEFT
    planned = plan.make(sweep.specs, sweep.flops_per_second)
    print("\n" + plan.summary(planned))
    unfinished = [p for p in planned if p.spec.id and not p.done]
    notes = launcher.notes()
    for p in unfinished:
        print(f"  {p.spec.id}: {notes.get(p.spec.id or '', plan.describe(p.state))}")
    return 1 if unfinished else 0


# action=clean: the disk that finished runs need no longer ----------------------------------------


def clean(sweep: Sweep, planned: list[Planned]) -> int:
    """Delete what finished runs need no longer; name what is kept because a run is not finished."""
    freed = 0
    for p in planned:
        if not p.spec.id:
            continue
        if not p.done:
            if p.state.name != "new":
                print(f"{p.spec.id}: not finished, nothing deleted")
            continue
        for path in superfluous(sweep.runs / p.spec.id / "checkpoints"):
            freed += path.stat().st_size
            if sweep.dry_run:
                print(f"would delete {path}")
            else:
                path.unlink()
    print(f"{'would free' if sweep.dry_run else 'freed'} {freed / 1e6:.1f} MB")
    return 0


def superfluous(folder: Path) -> list[Path]:
    """Leftovers of killed saves, what was set aside as damaged,
    and all checkpoints but the last whole one.

    Without a whole one all checkpoints stay.
    """
    halves = [*leftovers(folder), *sorted(folder.glob("damaged-ckpt-*"))]
    there = checkpoints(folder)
    for path in reversed(there):
        if is_whole(path):
            return [*halves, *(other for other in there if other != path)]
    return halves if not there else []
