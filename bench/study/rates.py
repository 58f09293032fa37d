"""The learning rate of each size of a study, found on vanilla flow matching alone and for all arms.

    python -m bench.sweep study=scaling data=digits rates=1e-3..16e-3

trains vanilla at every size with every rate, from seeds that no study uses, in folders below
runs/rates (so no page of the study reads them), and compares the held-out loss at the end: it is
unrelated to every encoder, and the number in which two seeds differ least. A parabola in the
logarithm of the rate through the best three gives the rate; at the edge of the grid there is none,
and which way to extend it is said. The block `sizes:` that it prints and writes goes into the
study's file. Again, the command runs only what is missing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.config.compose import compose
from bench.config.identity import run_id, run_name
from bench.config.words import last_of_each, values_of
from bench.core.store.files import write_text
from bench.core.store.runs import find_run
from bench.study.arms import keys_of
from bench.study.file import FIRST_RATE_SEED
from bench.study.runs import RunSpec, spec_of
from bench.study.studies import asked_seeds, load

SEEDS = (FIRST_RATE_SEED, FIRST_RATE_SEED + 1)
RATE = "optimizer.lr"
METRIC = "heldout_loss"
MEASURED = ("measure=full", f"evaluation.metrics=[{METRIC}]", "evaluation.snapshots=last")


def rate_runs(
    study: str, data: str, rates: Sequence[float], extra: Iterable[str] = ()
) -> list[RunSpec]:
    """Vanilla at every size of a study, with every rate, from every seed of `SEEDS`, seeds first.

    extra: KEY=VALUE words given to every run; size= and seed= among them narrow it. Raises
    ValueError where they say a learning rate too, or are wrong.
    """
    asked, extra = load(study, data), tuple(extra)
    given = values_of(extra)
    if RATE in given:
        raise ValueError(f"rates= says the learning rates: leave out {RATE}={given[RATE]}")
    folders = compose([f"data={data}", *(w for w in extra if w.startswith(("runs=", "cache=")))])
    below = (f"runs={Path(folders.runs) / 'rates'}", f"cache={folders.cache}")
    extra = tuple(word for word in extra if not word.startswith(("size=", "seed=")))
    specs = []
    for seed in asked_seeds(given["seed"]) if "seed" in given else SEEDS:
        for size in asked.chosen_sizes(given.get("size")):
            of_size = (f"size={size}", *asked.of_sizes.get(size, ())) if size else ()
            words = (f"data={data}", *asked.overrides, "method=vanilla", *of_size, *extra)
            for rate in rates:
                own = (*MEASURED, *below, f"seed={seed}", f"{RATE}={rate:g}")
                specs.append(_named(spec_of("vanilla", (*words, *own)), rate))
    return specs


def _named(spec: RunSpec, rate: float) -> RunSpec:
    """The run with its rate in its folder's name, by which plan and view tell it."""
    if spec.cfg is None:
        return spec
    cfg = dataclasses.replace(spec.cfg, name=f"{run_name(spec.cfg)}-lr{rate:g}")
    overrides = tuple(last_of_each((*spec.overrides, f"name={cfg.name}")))
    return dataclasses.replace(spec, cfg=cfg, id=run_id(cfg), overrides=overrides, earlier="")


# What they found ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Of one size: losses, the mean over seeds of each rate whose seeds all have one; rate: of the
    least loss, None before every run has ended; warning: why to look further, "" where none.
    """

    size: str
    losses: Mapping[float, float]
    rate: float | None
    warning: str = ""


def best_rate(losses: Mapping[float, float], failed: Iterable[float] = ()) -> tuple[float, str]:
    """(rate of the least loss, warning): the vertex of the parabola in the logarithm of the rate
    through the best rate and its neighbours, or the best itself at the edge of the grid.

    failed: rates whose training gave no number.
    """
    rates = sorted(losses)
    best = min(range(len(rates)), key=lambda i: losses[rates[i]])
    for edge, step, what in ((0, 0.5, "lowest"), (len(rates) - 1, 2.0, "highest")):
        if best != edge:
            continue
        at, beyond = rates[best], rates[best] * step
        lost = [rate for rate in failed if (rate > at) == (step > 1)]
        if lost:
            near = min(lost, key=lambda rate: abs(math.log(rate / at)))
            return at, (
                f"the best rate, {at:g}, is the {what} that trained, as {near:g} gave no number: "
                f"add rates between, such as {math.sqrt(at * near):.2g}"
            )
        return at, (
            f"the best rate, {at:g}, is the {what} of the grid: extend it "
            f"{'upwards' if step > 1 else 'downwards'}, with {beyond:g} and {beyond * step:g}"
        )
    three = rates[best - 1 : best + 2]
    square, slope, _ = np.polyfit(np.log(three), [losses[rate] for rate in three], 2)
    if square <= 0:  # all three are equal
        return rates[best], ""
    return float(np.exp(-slope / (2 * square))), ""


def found(specs: Sequence[RunSpec]) -> list[Found]:
    """What the runs say of each size, in their order."""
    values: dict[str, dict[float, list[float | None]]] = {}
    waiting: dict[str, int] = {}
    for spec in specs:
        if spec.cfg is None or spec.id is None:
            continue
        size, rate = spec.cfg.size.name, spec.cfg.optimizer.lr
        run = find_run(Path(spec.cfg.runs) / spec.id)
        rows = run.results.rows if run else []
        last = [row["value"] for row in rows if row["metric"] == METRIC and row["final"]]
        values.setdefault(size, {}).setdefault(rate, []).append(last[0] if last else None)
        ended = bool(last) or (run is not None and run.state == "failed")
        waiting[size] = waiting.get(size, 0) + (not ended)
    said = []
    for size, of_rates in values.items():
        losses = {
            rate: float(np.mean([one for one in of_seeds if one is not None]))
            for rate, of_seeds in of_rates.items()
            if None not in of_seeds
        }
        if waiting[size]:
            said.append(Found(size, losses, None, f"{waiting[size]} runs have not ended"))
        elif not losses:
            said.append(Found(size, losses, None, "no rate trained from every seed: lower them"))
        else:
            said.append(Found(size, losses, *best_rate(losses, set(of_rates) - set(losses))))
    return said


def loss_table(sizes: Sequence[Found], rates: Sequence[float]) -> str:
    """Size by rate, the held-out losses, and the rate that was found."""
    lines = [["size", *(f"{rate:g}" for rate in rates), "found", ""]]
    for one in sizes:
        losses = (f"{one.losses[rate]:.4f}" if rate in one.losses else "-" for rate in rates)
        rate = "-" if one.rate is None else f"{one.rate:.2g}"
        lines.append([one.size, *losses, rate, one.warning])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join(
            [*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]]
        ).rstrip()
        for line in lines
    )


def block(sizes: Sequence[Found], of_sizes: Mapping[str, Sequence[str]]) -> str:
    """`sizes:` of a study file, other words of a size kept; "" while a rate is missing."""
    if any(one.rate is None for one in sizes):
        return ""
    lines = ["sizes:"]
    for one in sizes:
        others = of_sizes.get(one.size, ())
        kept = [word for word, key in zip(others, keys_of(others), strict=True) if key != RATE]
        lines.append(f"  {one.size}: [{', '.join([f'{RATE}={one.rate:.2g}', *kept])}]")
    return "\n".join(lines) + "\n"


def conclude(
    study: str, data: str, rates: Sequence[float], specs: Sequence[RunSpec], path: Path
) -> None:
    """Print what was found, and write the block with its table into `path` once it is whole."""
    sizes = found(specs)
    seeds = sorted({spec.cfg.seed for spec in specs if spec.cfg})
    shown = loss_table(sizes, rates)
    print(f"\nheld-out loss of vanilla, mean of the seeds {', '.join(map(str, seeds))}\n{shown}")
    if not (text := block(sizes, load(study, data).of_sizes)):
        return
    head = [f"Rates of study={study} data={data}, for data.{data} of its file.", *shown.split("\n")]
    write_text(path, "".join(f"# {line}".rstrip() + "\n" for line in head) + text)
    print(f"\n{text}\nwritten to {path}; it goes below data.{data} of the study's file")
