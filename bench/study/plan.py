"""What a study will do: runs, parameters, FLOPs and hours each and in all, what is done,
what cannot be run.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.config.groups import build
from bench.config.identity import arm_name
from bench.config.schema import Config, Option
from bench.core.model.method import Method
from bench.core.model.tokens import TokenGrid
from bench.core.store.runs import COST, read_part
from bench.core.store.states import RunState, run_state
from bench.core.train.cost import count, flops_until
from bench.evaluation.tasks import pending
from bench.study.request import Planned
from bench.study.runs import RunSpec
from bench.training.session import Session


def make(specs: list[RunSpec]) -> list[Planned]:
    """The plan, in the study's order."""
    costs: dict[str, tuple[dict[str, Any], bool] | None] = {}
    plan = []
    for spec in specs:
        if spec.cfg is None or spec.id is None:
            plan.append(
                Planned(
                    spec, spec.arm, "", RunState("not possible", message=spec.reason), done=False
                )
            )
            continue
        session = Session(spec.cfg)
        state = run_state(session.path)
        done = state.name == "complete" and session.trained() and not pending(session)
        if not done and state.name == "complete":
            state = RunState("trained", state.images, state.total, state.loss)
        planned = Planned(spec, arm_name(spec.cfg), spec.cfg.size.name, state, done)
        key = json.dumps(
            [spec.cfg.to_dict()[group] for group in ("method", "size", "encoder", "data")],
            default=str,
        )
        if key not in costs:
            costs[key] = _cost(spec.cfg, session.path)
        if (cost := costs[key]) is not None:
            counted, planned.at_least = cost
            planned.parameters, planned.flops = (
                counted["parameters"]["backbone"] + counted["parameters"]["heads"],
                flops_until(counted, spec.cfg.images),
            )
        plan.append(planned)
    _copy_costs(plan)
    _hours(plan)
    return plan


def _cost(cfg: Config, path: Path) -> tuple[dict[str, Any], bool] | None:
    """A run's cost, as stored, and whether it is of the backbone alone.

    From the run's cost.json, else counted. Counting an encoder would build it, so perhaps train or
    download it: until its first run has begun, its arm is planned as vanilla.
    """
    stored = read_part(path, COST)
    if stored:
        return stored, False
    known = _grid_and_classes(cfg.data)
    if known is None:
        return None
    method = Method() if cfg.encoder else build(cfg.method)
    counted = count(method, known[0], cfg.size, known[1]).to_json()
    return counted, bool(cfg.encoder)


def _grid_and_classes(option: Option) -> tuple[TokenGrid, int] | None:
    """Of the data set, or, where it is not at hand (a login node),
    of what its recipe says of it; None if neither.
    """
    try:
        data = build(option)
        return data.grid, data.classes
    except (ValueError, OSError):
        says = option.recipe
        if "shape" not in says:
            return None
        *cells, channels = says["shape"]
        return TokenGrid(tuple(cells), option.values["patch"], channels), says["classes"]


def _copy_costs(plan: list[Planned]) -> None:
    """Other seeds of an arm cost the same as one that has been started."""
    known = {(p.arm, p.size): p for p in plan if p.flops is not None and not p.at_least}
    for planned in plan:
        like = known.get((planned.arm, planned.size))
        if (
            (planned.flops is None or planned.at_least)
            and like is not None
            and planned.spec.cfg is not None
        ):
            planned.parameters, planned.flops, planned.at_least = like.parameters, like.flops, False


def _hours(plan: list[Planned]) -> None:
    """Training hours: measured for finished runs; else from finished runs of the arm,
    or by FLOPs from any arm.
    """
    same: dict[tuple[str, str], list[float]] = defaultdict(list)
    per_flop: list[float] = []
    for planned in plan:
        cfg = planned.spec.cfg
        if cfg is None:
            continue
        seconds = read_part(Path(cfg.runs) / str(planned.spec.id), COST).get("seconds_per_step")
        if seconds:
            hours = float(seconds * cfg.images / cfg.batch / 3600)
            planned.hours = hours
            same[planned.arm, planned.size].append(hours)
            if planned.flops and not planned.at_least:
                per_flop.append(hours / planned.flops)
    for planned in plan:
        if planned.hours is None and planned.spec.cfg is not None:
            like = same.get((planned.arm, planned.size))
            if like:
                planned.hours = statistics.mean(like)
            elif per_flop and planned.flops:
                planned.hours = statistics.median(per_flop) * planned.flops


def table(plan: list[Planned]) -> str:
    """The plan as text: a line a run, then the sums."""
    header = ("run", "arm", "parameters", "FLOPs", "hours", "state")
    lines: list[tuple[str, ...]] = [header]
    for p in plan:
        if p.spec.id is None:
            seed = next((word for word in p.spec.overrides if word.startswith("seed=")), "")
            lines.append(
                (
                    f"({p.spec.arm}, {seed})",
                    p.arm,
                    "",
                    "",
                    "",
                    f"not possible here: {p.spec.reason}",
                )
            )
            continue
        state = "done" if p.done else describe(p.state)
        least = ">= " if p.at_least and p.flops is not None else ""
        cost = (_number(p.parameters), _number(p.flops), _hours_text(p.hours))
        lines.append(
            (p.spec.id, p.arm, *(least + cell if cell != "?" else cell for cell in cost), state)
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    text = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, "", summary(plan)])


def describe(state: RunState) -> str:
    """A state in a few words."""
    if state.name == "new":
        return "to do"
    share = (
        f" at {state.images / state.total:.0%}"
        if state.total and state.name not in ("complete", "trained")
        else ""
    )
    what = "trained, to be measured" if state.name == "trained" else state.name
    return what + share + (f" ({state.message})" if state.message and not state.alive else "")


def summary(plan: list[Planned]) -> str:
    """The sums in one or two sentences."""
    possible = [p for p in plan if p.spec.id]
    todo = [p for p in possible if not p.done]
    parts = [f"{len(possible)} runs, {len(possible) - len(todo)} done, {len(todo)} to do"]
    if len(plan) > len(possible):
        parts.append(f"{len(plan) - len(possible)} not possible here")
    flops, hours = (
        [p.flops for p in todo if p.flops],
        [p.hours for p in todo if p.hours is not None],
    )
    if flops:
        least = "at least " if any(p.at_least for p in todo) else ""
        parts.append(f"{least}{_number(sum(flops))} FLOPs to do" + _known(len(flops), len(todo)))
    if hours:
        parts.append(
            f"{_hours_text(sum(hours))} h of training on one worker" + _known(len(hours), len(todo))
        )
    elif todo:
        parts.append("hours are not known before a run has finished")
    return "; ".join(parts)


def _known(known: int, total: int) -> str:
    return f" (known of {known} of these runs)" if known < total else ""


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    if value >= 1e12:
        return f"{value:.2e}"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:g}"


def _hours_text(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:.3g}"
