"""What a study will do: runs, parameters, FLOPs and hours each and in all, what is done,
what cannot be run.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.config.identity import arm_name
from bench.config.schema import Config
from bench.core.store.runs import COST, read_part
from bench.core.store.states import RunState, run_state
from bench.core.store.waiting import OFTEN, counted
from bench.core.train.cost import flops_until
from bench.evaluation.tasks import Known, flops_to_measure, pending, trained_first
from bench.machine.pace import pace
from bench.study.costs import Costs, grid_and_condition
from bench.study.request import Planned
from bench.study.runs import RunSpec
from bench.training.session import Session

MOST_PASSES = 20  # over the training pictures, where sizes are compared
MATCHED = {"images": "images", "flops": "FLOPs"}


Pace = Callable[[Config], float | None]
"""FLOPs a second that a worker may do of a run, None where its data's shape is not known."""


def make(
    specs: list[RunSpec], flops_per_second: float | None = None, pace: Pace | None = None
) -> list[Planned]:
    """The plan, in the study's order; flops_per_second: of a worker, for hours while no run has
    finished; pace: where that is not known either.
    """
    # what runs that have begun wrote down of their cost holds for other seeds too
    costs, sessions = Costs(), {}
    for spec in specs:
        if spec.cfg is not None and spec.id is not None:
            sessions[spec.id] = Session(spec.cfg)
            costs.read(spec.cfg, sessions[spec.id].path)
    arms = {(arm_name(cfg), cfg.size.name): cfg for cfg in (spec.cfg for spec in specs) if cfg}
    for cfg in counted("counting what each arm costs", arms.values(), len(arms), every=OFTEN):
        costs.of(cfg)
    plan = []
    for spec in specs:
        if spec.cfg is None or spec.id is None:
            impossible = RunState("not possible", message=spec.reason)
            plan.append(Planned(spec, spec.arm, "", impossible, done=False))
            continue
        session = sessions[spec.id]
        state = run_state(session.path)
        done = session.published() or (
            state.name == "complete" and session.trained() and not pending(session)
        )
        if not done and state.name == "complete":
            state = RunState("trained", state.images, state.total, state.loss)
        planned = Planned(spec, arm_name(spec.cfg), spec.cfg.size.name, state, done)
        planned.images = spec.cfg.images if spec.counted else None
        if (cost := costs.of(spec.cfg)) is not None:
            trained = cost.counted["parameters"]
            planned.parameters = trained["backbone"] + trained["heads"]
            planned.flops = flops_until(cost.counted, spec.cfg.images)
            planned.at_least = cost.at_least
            known = Known(cost.counted, costs.pictures(spec.cfg))
            planned.measuring = flops_to_measure(session, known)
        plan.append(planned)
    _hours(plan, flops_per_second, pace)
    return plan


def pace_here(threads: int) -> Pace:
    """Measured on this machine, half a second a size; threads: of a worker, where there is no GPU
    and the run does not say.
    """
    known: dict[str, float | None] = {}

    def of_run(cfg: Config) -> float | None:
        key = f"{cfg.data.name} {cfg.size}"
        shape = None if key in known else grid_and_condition(cfg.data, Path(cfg.cache))
        if key in known or shape is None:
            return known.setdefault(key, None)
        gpu, before = cfg.compute.device != "cpu", torch.get_num_threads()
        device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
        torch.set_num_threads(cfg.compute.threads or threads)
        try:
            known[key] = pace(shape[0], cfg.size, shape[1], device, cfg.micro_batch or cfg.batch)
        finally:
            torch.set_num_threads(before)
        return known[key]

    return of_run


def _hours(plan: list[Planned], flops_per_second: float | None, pace: Pace | None) -> None:
    """Hours of training: measured for finished runs; else from finished runs of the arm, or by
    FLOPs from any arm, or at the rate that the study assumes, or at this machine's. To them comes
    what measuring takes, as fast by its FLOPs as training.
    """
    an_image: dict[tuple[str, str], list[float]] = defaultdict(list)
    per_flop: list[float] = []
    for planned in plan:
        cfg = planned.spec.cfg
        if cfg is None:
            continue
        seconds = read_part(Path(cfg.runs) / str(planned.spec.id), COST).get("seconds_per_step")
        if seconds:
            hours = float(seconds * cfg.images / cfg.batch / 3600)
            planned.hours = hours
            an_image[planned.arm, planned.size].append(hours / cfg.images)
            if planned.flops and not planned.at_least:
                per_flop.append(hours / planned.flops)
    if not per_flop and flops_per_second:
        per_flop.append(1 / flops_per_second / 3600)
    for planned in counted("timing this machine", plan, len(plan), every=OFTEN):
        if planned.hours is None and planned.spec.cfg is not None:
            like = an_image.get((planned.arm, planned.size))
            if like and planned.images:
                planned.hours = statistics.mean(like) * planned.images
            elif per_flop and planned.flops:
                planned.hours = statistics.median(per_flop) * planned.flops
            elif pace and planned.flops and (speed := pace(planned.spec.cfg)):
                planned.hours, planned.guessed = planned.flops / speed / 3600, True
        if planned.hours is not None and planned.flops:
            planned.hours *= 1 + planned.measuring / planned.flops


# What the plan is for ----------------------------------------------------------------------------


@dataclass(frozen=True)
class PlannedCell:
    """An arm at a size whose seeds a claim reads. arm: as reports call it; data: the data set's
    name; matched: "images" or "flops", with which of the others' cells it is compared.
    """

    arm: str
    data: str
    size: str
    matched: str
    seeds: tuple[int, ...]


def planned_cells(plan: Iterable[Planned]) -> list[PlannedCell]:
    """The cells of the runs that are possible here, in the plan's order."""
    seeds: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
    for planned in plan:
        if (cfg := planned.spec.cfg) is not None and planned.spec.id is not None:
            for matched in planned.spec.matched:
                seeds[planned.arm, cfg.data.name, planned.size, matched].append(cfg.seed)
    return [PlannedCell(*place, tuple(sorted(of_cell))) for place, of_cell in seeds.items()]


def outlook(claims: Sequence[str], of_study: Sequence[PlannedCell]) -> str:
    """What the runs are for: the claims, and of each comparison arms and seeds by size; a study on
    several data sets has that many on each.
    """
    lines = [f"for {', '.join(claims)}" if claims else "for no claim in particular"]
    for matched in dict.fromkeys(cell.matched for cell in of_study):
        here = [cell for cell in of_study if cell.matched == matched]
        parts = []
        for size in dict.fromkeys(cell.size for cell in here):
            counts = sorted({len(cell.seeds) for cell in here if cell.size == size})
            arms = len({cell.arm for cell in here if cell.size == size})
            parts.append(f"{size} {arms} arms, seeds: {' or '.join(map(str, counts))}")
        names = dict.fromkeys(cell.data for cell in here)
        if len(names) > 1:
            parts.append(f"on each of {', '.join(names)}")
        lines.append(f"  at equal {MATCHED[matched]}: {'; '.join(parts)}")
    return "\n".join(lines)


def little_room(plan: Iterable[Planned]) -> str:
    """A warning where sizes are compared on data that is passed over too often: the larger ones
    learn the pictures by heart, and what they gain there is not what they would gain from more.

    "" where there is room, or where the data set's recipe does not say its number of pictures.
    """
    planned = [one.spec.cfg for one in plan if one.spec.cfg is not None]
    if len({cfg.size.name for cfg in planned}) < 2:
        return ""
    worst = max(planned, key=lambda cfg: cfg.images)
    pictures = worst.data.recipe.get("pictures")
    if pictures is None or worst.images <= MOST_PASSES * pictures:
        return ""
    return (
        f"warning: {worst.images:,} images are {worst.images / pictures:.0f} passes over the "
        f"{pictures:,} training pictures of {worst.data.name}; above {MOST_PASSES} a larger size "
        f"learns them by heart (images={MOST_PASSES * pictures} or less leaves room)"
    )


# The plan as text --------------------------------------------------------------------------------


def table(plan: list[Planned], workers: int | None = None) -> str:
    """The plan as text: a line a run, then the sums; workers: where they are known."""
    header = ("run", "arm", "parameters", "images", "FLOPs", "hours", "state")
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
                    "",
                    f"not possible here: {p.spec.reason}",
                )
            )
            continue
        state = "done" if p.done else describe(p.state)
        least = ">= " if p.at_least and p.flops is not None else ""
        hours = ("~" if p.guessed else "") + _hours_text(p.hours)
        cost = (_number(p.parameters), _number(p.flops), hours)
        parameters, *spent = (least + cell if cell != "?" else cell for cell in cost)
        images = "?" if p.images is None else str(p.images)
        lines.append((p.spec.id, p.arm, parameters, images, *spent, state))
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    text = [
        "  ".join(
            [*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, "", summary(plan, workers)])


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


def summary(plan: list[Planned], workers: int | None = None) -> str:
    """The sums in one or two sentences; workers: that share what is to do, where it is known."""
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
        shared = min(workers or 1, len(todo))
        on = f", about {_time_text(sum(hours) / shared)} on {shared}" if shared > 1 else ""
        parts.append(
            f"{_time_text(sum(hours))} of training and measuring on one worker{on}"
            + _known(len(hours), len(todo))
        )
        if any(p.guessed for p in todo):
            parts.append("hours with ~ are an estimate, by half a second of this machine")
        if first := trained_first(p.spec.cfg for p in todo if p.spec.cfg is not None):
            parts.append(f"to them comes, once, the training of {', '.join(first)}")
    elif todo:
        parts.append("hours are not known: the shape of the data is not, say data.root=DIR")
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


def _time_text(hours: float) -> str:
    return f"{hours:.3g} h" if hours >= 1 else f"{max(1.0, 60 * hours):.0f} min"


def _hours_text(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:.3g}"
