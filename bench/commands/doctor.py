"""What bench.doctor does: print, section by section, what is here and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.config.groups import locate
from bench.machine.host import Finding, machine, slurm
from bench.machine.software import software


def examine(runs: Path, cache: Path | None, overrides: Sequence[str]) -> int:
    """0 when nothing that is needed is missing, else 1. Raises ValueError for words that bench.run
    refuses.
    """
    if not show("Software", software()):
        print("\nnot ready: install what is missing first")
        return 1
    # these modules import packages that were only now found to be here
    fine = show("Imports", [locate("bench.machine.readiness:vision")()])
    fine &= show("Machine", machine(runs))
    show("Cluster", [slurm(needed=False)])
    if overrides:
        words = [*overrides, f"runs={runs}", *([f"cache={cache}"] if cache else [])]
        findings = locate("bench.machine.readiness:configuration")(words)
        fine &= show(f"This run: {' '.join(overrides)}", findings)
    else:
        findings = locate("bench.machine.resources:staged")(cache or runs / "cache")
        show("Staged files (bench.prepare fetches what is not there)", findings)
    print("\nready" if fine else "\nnot ready: see what is missing above")
    return 0 if fine else 1


def show(title: str, findings: Iterable[Finding]) -> bool:
    """Print a section as it is found; True when nothing needed is missing."""
    print(f"\n{title}", flush=True)
    fine = True
    for state, what, says in findings:
        print(f"  {state:8} {what:34} {says}", flush=True)
        fine = fine and state != "missing"
    return fine
