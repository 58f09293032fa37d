"""What bench.speed does: time steps of arms beside vanilla, and their passes without gradient."""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import torch

from bench.commands.timing.arms import TimedArm
from bench.commands.timing.clock import matrix_peak, step_seconds
from bench.commands.timing.counted import counted_hours
from bench.commands.timing.loader import loading
from bench.commands.timing.passes import passes
from bench.commands.timing.peers import Peer
from bench.commands.timing.rows import Timing, markdown, read_timings, write_timings
from bench.config.compose import compose, uses_encoder
from bench.config.words import split_word
from bench.core.compat import use_threads
from bench.core.store.environment import environment
from bench.core.store.files import Json
from bench.core.store.waiting import saying
from bench.core.train import distributed
from bench.core.train.distributed import Processes

BASE = "vanilla"
WARM_UP = 3  # steps, in which a compiled block is compiled

Stepping = TimedArm | Peer


def time_arms(
    arms: Sequence[str],
    sizes: Sequence[str] | None,
    levels: Sequence[str],
    sampling: Sequence[str],
    encoder_width: int,
    module: str | None,
    loader: Path | None,
    tflops: float | None,
    steps: int,
    repeats: int,
    out: Path | None,
    table: Path | None,
    overrides: Sequence[str],
) -> int:
    """Print the table of what was timed, or of a file; returns the exit code.

    Raises ValueError for words that no arm could use.
    """
    if table is not None:
        print(markdown(*read_timings(table)))
        return 0
    if loader is not None:
        return time_loader(loader, out, overrides)
    for key, value in map(split_word, overrides):
        if key in ("method", "size"):
            plural = {"method": "arms", "size": "sizes"}[key]
            raise ValueError(f"{key}={value}: several are timed here: write {plural}={value}")
    if tflops is not None:
        for size in sizes or ("",):
            of_size = [f"size={size}"] if size else []
            words = {a: [*of_size, *overrides_of(a, overrides)] for a in (BASE, *arms)}
            print(counted_hours(words, tflops, encoder_width))
        return 0
    first = compose(overrides_of(BASE, overrides))
    if first.compute.threads:
        use_threads(first.compute.threads)
    with tempfile.TemporaryDirectory() as folder:
        timer = Timer(
            distributed.start(first.compute.device),
            [f"runs={folder}", *overrides],
            (steps, repeats, encoder_width),
            out,
        )
        for size in sizes or (first.size.name,):
            timer.of_size(size, arms, levels, sampling, module)
    print(markdown(timer.facts, timer.rows))
    return 1 if timer.failed else 0


def time_loader(root: Path, out: Path | None, overrides: Sequence[str]) -> int:
    """Print the table of how fast a folder of latents is read."""
    for key, value in map(split_word, overrides):
        if key in ("data", "data.root"):
            raise ValueError(f"{key}={value}: loader=DIR says which latents are read; leave it out")
    cfg = compose(["data=imagenet256", f"data.root={root}", "measure=none", *overrides])
    here = environment(torch.device("cpu"), torch.get_num_threads())
    facts, rows = here | {"date": date.today().isoformat()}, list[Timing]()
    for row in loading(cfg):
        rows.append(row)
        if out is not None:
            write_timings(out, facts, rows)
    print(markdown(facts, rows))
    return 0


def overrides_of(method: str, overrides: Sequence[str]) -> list[str]:
    """The words of bench.run that are for a method: an encoder's only where it uses one."""
    said = {key for key, _ in map(split_word, overrides)}
    usual = {"measure": "none", "diagnostics_images": "null"}
    words = [f"{key}={value}" for key, value in usual.items() if key not in said]
    encoder = uses_encoder(method)
    return words + [w for w in overrides if encoder or not w.startswith(("encoder=", "encoder."))]


class Timer:
    """Times arms size by size and writes each row once it is known.

    rounds: steps of one timing, timings, and the width of an encoder that is not there.
    """

    def __init__(
        self,
        processes: Processes,
        words: Sequence[str],
        rounds: tuple[int, int, int],
        out: Path | None,
    ):
        self.processes, self.words, self.out = processes, words, out
        self.steps, self.repeats, self.width = rounds
        self.began, self.rows, self.failed = time.monotonic(), list[Timing](), False
        self.facts: Json = {}
        self.base: list[float] = []  # seconds of vanilla in each repeat
        self.base_flops = 0.0

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)

    def telling(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Says what takes longer than a few seconds, and that it still does, where nobody else
        would.
        """
        return saying(what, say=self.say)

    def of_size(
        self,
        size: str,
        arms: Sequence[str],
        levels: Sequence[str],
        sampling: Sequence[str],
        module: str | None,
    ) -> None:
        """Rows of a size. On a CPU all its arms take turns, so that a machine's drift meets every
        one; on a GPU one comes after the other, so that each has the memory for itself.
        """
        wanted = [(name, "own") for name in dict.fromkeys((BASE, *arms))]
        if "token" in levels:
            wanted += [(name, "token") for name, _ in wanted]
        wanted = [pair for pair in wanted if pair[1] in levels or pair == (BASE, "own")]
        cuda, self.base = self.processes.device.type == "cuda", []
        groups = [[pair] for pair in wanted] if cuda else [wanted]
        for number, group in enumerate(groups):
            peer = module if number == 0 else None
            try:
                self.of_group(size, group, sampling if number == 0 else (), peer)
            except RuntimeError as error:  # of a device: too little memory, what cannot be compiled
                self.failed = True
                self.say(f"{size} {group[0][0]} failed: {str(error).splitlines()[0]}")
            gc.collect()
            if cuda:
                torch.cuda.empty_cache()

    def of_group(
        self,
        size: str,
        group: Sequence[tuple[str, str]],
        sampling: Sequence[str],
        module: str | None,
    ) -> None:
        """Rows of arms that take turns; sampling, module: what comes with the first."""
        # ready to step
        torch.compiler.reset()  # of another size's blocks nothing is kept
        ready: list[Stepping] = []
        for arm in self.built(size, group):
            ready.append(arm)
            if module and arm.name == BASE:
                ready.append(Peer(module, arm))
        for arm in ready:
            what = f"{size} {arm.name}, levels {arm.levels}: warming up"
            self.say(what)
            with self.telling(what):
                for _ in range(WARM_UP):
                    arm.step()

        # in turn
        seconds: list[list[float]] = [[] for _ in ready]
        for repeat in range(self.repeats):
            what = f"{size}: timing {repeat + 1} of {self.repeats}"
            self.say(what)
            for arm, found in zip(ready, seconds, strict=True):
                with self.telling(f"{what}, {self.steps} steps of {arm.name}"):
                    times = step_seconds(arm.step, self.steps, self.processes.device)
                found.append(statistics.median(times))

        # rows
        for arm, found in zip(ready, seconds, strict=True):
            if arm.name == BASE and arm.levels == "1":
                self.base, self.base_flops = found, arm.flops
            with self.telling(f"{size} {arm.name}: memory and parts of a step"):
                row = self.row(arm, found)
            self.add(row)
            if sampling and isinstance(arm, TimedArm) and arm.name == BASE:
                with self.telling(f"{size}: passes without gradient"):
                    for row in passes(arm, sampling, self.facts["matrix_peak"]):
                        self.add(row)

    def built(self, size: str, group: Sequence[tuple[str, str]]) -> Iterator[TimedArm]:
        """The arms, and before the first of all the facts."""
        for name, levels in group:
            words = [f"size={size}", *overrides_of(name, self.words)]
            with self.telling(f"{size} {name}: building it"):
                arm = TimedArm.of(name, levels, words, self.processes, self.width)
            if arm is not None:
                self.facts = self.facts or self.known(arm)
                yield arm

    def known(self, arm: TimedArm) -> Json:
        """Where this is measured, and the device's own limit."""
        device, learner = self.processes.device, arm.learner
        self.say("measuring a matrix product")
        return environment(device, torch.get_num_threads()) | {
            "date": date.today().isoformat(),
            "precision": learner.precision,
            "compiled": learner.cfg.compute.compile,
            "graphs": learner.cfg.compute.graphs,
            "matrix_peak": matrix_peak(device, learner.precision),
        }

    def row(self, arm: Stepping, found: Sequence[float]) -> Timing:
        """What an arm's seconds a step, one median a repeat, say."""
        seconds, batch = statistics.median(found), arm.learner.batch
        ratios = [a / b for a, b in zip(found, self.base, strict=True)] if self.base else []
        most, own = arm.bytes()
        return Timing(
            what="step",
            arm=arm.name,
            size=arm.learner.ctx.size.name,
            levels=arm.levels,
            batch=batch,
            device=self.processes.device.type,
            ms_per_step=1e3 * seconds,
            images_per_s=batch / seconds,
            flops_per_step=arm.flops,
            share=arm.flops / seconds / self.facts["matrix_peak"],
            peak_bytes=most,
            activation_bytes=own,
            counted_ratio=arm.flops / self.base_flops if ratios else None,
            measured_ratio=statistics.median(ratios) if ratios else None,
            parts={part: 1e3 * seconds * share for part, share in arm.parts().items()},
        )

    def add(self, row: Timing) -> None:
        """A row that is known is said and written."""
        self.rows.append(row)
        self.say(
            f"{row.size} {row.what} {row.arm}: {row.ms_per_step:.2f} ms, "
            f"{row.images_per_s:.3g} images/s"
        )
        if self.out is not None:
            write_timings(self.out, self.facts, self.rows)
