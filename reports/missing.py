"""What a page cannot show, and the command that would fill it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reports.runs import Run, Study
from reports.summary import distances
from reports.theme import sorted_arms

ENOUGH_SEEDS = 3
MOST_LINES = 40


def command(run: Run, **changes: Any) -> str:
    """The command that made a run, with some keys changed; built from its identity where it was not recorded."""
    typed = [word for word in run.description.get("argv") or [] if isinstance(word, str) and "=" in word]
    words = [word for word in typed if not word.startswith("runs=")]
    if not words:
        description = run.description
        words = [
            f"method={description.get('method')}",
            f"size={description.get('size')}",
            f"data={description.get('data')}",
        ]
        if description.get("encoder") not in (None, "", "none"):
            words.append(f"encoder={description['encoder']}")
        words.append(f"seed={description.get('seed', 0)}")
    given = dict(word.split("=", 1) for word in words) | {key: str(value) for key, value in changes.items()}
    if run.folder.parent != Path("runs"):
        given["runs"] = str(run.folder.parent)
    return run_command(f"{key}={value}" for key, value in given.items())


def run_command(words: Iterable[str]) -> str:
    """The command that trains a run."""
    return "python -m bench.run " + " ".join(shlex.quote(word) for word in words)


def missing(study: Study) -> list[dict[str, str]]:
    """[{"what", "command"}]: unfinished runs, absent seeds and sizes of an arm, metrics that only some runs have."""
    absent = _planned(study) if study.name else _seeds(study)
    lines = [*_unfinished(study), *absent, *_metrics(study)]
    if len(lines) > MOST_LINES:
        more = {"what": f"and {len(lines) - MOST_LINES} more", "command": ""}
        return [*lines[:MOST_LINES], more]
    return lines


def _planned(study: Study) -> list[dict[str, str]]:
    """Runs of the study that have no folder, and arms that cannot be run here."""
    lines = []
    for run in study.planned:
        if run.reason:
            lines.append({"what": f"{run.arm} cannot be run here: {run.reason}", "command": ""})
        elif run.id not in study.runs:
            lines.append({"what": f"{run.id} ({run.arm}) has not been started", "command": run_command(run.words)})
    return [line for index, line in enumerate(lines) if line not in lines[:index]]


def _unfinished(study: Study) -> list[dict[str, str]]:
    lines = []
    for run in study.runs.values():
        if run.state != "complete":
            done, total = (
                f"{n:,}" if isinstance(n, int) else "?"
                for n in (run.status.get("images"), run.description.get("images"))
            )
            state = f"{run.state} ({run.status['phase']})" if run.status.get("phase") else run.state
            reason = f": {run.status['message']}" if run.status.get("message") else ""
            what = f"{run.id} is {state} at {done} of {total} images{reason}; only its snapshots are used"
            lines.append({"what": what, "command": command(run)})
    return lines


def _seeds(study: Study) -> list[dict[str, str]]:
    """Arms with fewer seeds than the others of their size, or than a verdict needs; arms that lack a whole size."""
    found: dict[tuple[str, str], dict[str, dict[int, Run]]] = {}
    for run in study.runs.values():
        place = (str(run.description.get("data")), str(run.description.get("size")))
        found.setdefault(place, {}).setdefault(run.arm, {})[int(run.description.get("seed") or 0)] = run
    arms = sorted_arms(run.arm for run in study.runs.values())
    lines = []
    for (data, size), by_arm in sorted(found.items()):
        wanted = max(ENOUGH_SEEDS, *(len(seeds) for seeds in by_arm.values()))
        known = set().union(*by_arm.values())
        for arm in arms:
            if arm not in by_arm:
                like = next(run for run in study.runs.values() if run.arm == arm)
                example = command(like, size=size, data=data, seed=0)
                lines.append({"what": f"{arm} has no run of size {size} on {data}", "command": example})
            elif len(by_arm[arm]) < wanted:
                lacking = sorted((known | set(range(wanted))) - set(by_arm[arm]))[: wanted - len(by_arm[arm])]
                run = next(iter(by_arm[arm].values()))
                what = f"{arm}, size {size}, {data}: {len(by_arm[arm])} of {wanted} seeds"
                lines.append({"what": what, "command": command(run, seed=lacking[0])})
    return lines


def _metrics(study: Study) -> list[dict[str, str]]:
    """Metrics that some finished runs of a data set have and others lack."""
    final = study.rows[study.rows["final"]]
    lines = []
    for data, part in final.groupby("data"):
        per_block = set(part.loc[part["block"].notna(), "metric"])
        names = sorted({group.metric for group in distances(part)} | per_block)
        complete = [
            run for run in study.runs.values() if run.state == "complete" and run.description.get("data") == data
        ]
        for name in names:
            measured = part[(part["metric"] == name) & part["value"].notna()]
            have, arms = set(measured["run"]), set(measured["arm"])
            # a probe may make sense for some arms only (alignment with an encoder)
            whole_model = name not in per_block
            lacking = [run for run in complete if run.id not in have and (whole_model or run.arm in arms)]
            if lacking and have:
                first = lacking[0]
                what = f"{name} is missing in {len(lacking)} of {len(complete)} finished runs, the first is {first.id}"
                lines.append({"what": what, "command": f"python -m bench.evaluate {shlex.quote(str(first.folder))}"})
    return lines
