"""What bench.speed does: time steps of several arms in turn, and compare them with vanilla."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence

import torch

from bench.config.compose import compose, uses_encoder
from bench.core.train import distributed
from bench.core.train.learner import Learner
from bench.core.train.loading import Examples
from bench.training.session import Session

BASE = "vanilla"
WARM_UP = 3  # steps


def time_methods(
    methods: Sequence[str], steps: int, repeats: int, overrides: Sequence[str]
) -> None:
    """Print milliseconds a step and, against vanilla, the ratios of times and of FLOPs."""
    # an arm each, warmed up
    with tempfile.TemporaryDirectory() as folder:
        arms = {}
        for name in dict.fromkeys((BASE, *methods)):
            words = [word for word in overrides if uses_encoder(name) or not _of_encoder(word)]
            learner, flops = _learner([f"method={name}", *words, f"runs={folder}"])
            source = learner.batches(until=learner.batch * (steps * repeats + WARM_UP))
            _seconds(learner, source, WARM_UP)
            arms[name] = (learner, source, flops)
        # in turn, so that a machine's drift meets every arm
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(repeats):
            for name, (learner, source, _) in arms.items():
                seconds[name].append(_seconds(learner, source, steps))
    # the table
    print(f"{'method':20} {'ms a step':>10} {'x vanilla':>10} {'min':>7} {'max':>7} {'x FLOPs':>8}")
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(times, seconds[BASE], strict=True)]
        print(
            f"{name:20} {statistics.median(times) * 1e3:10.2f} {statistics.median(ratios):10.3f} "
            f"{min(ratios):7.3f} {max(ratios):7.3f} {arms[name][2] / arms[BASE][2]:8.3f}"
        )


def _of_encoder(word: str) -> bool:
    return word.startswith(("encoder=", "encoder."))


def _learner(words: list[str]) -> tuple[Learner, float]:
    """An arm that can step, and its FLOPs an image."""
    session = Session(compose(words))
    session.assemble(distributed.start(session.cfg.compute.device))
    return session.arm.learner(), session.arm.cost.flops_per_image["total"]


def _seconds(learner: Learner, source: Iterator[Examples], steps: int) -> float:
    """Seconds a step: the process's own on a CPU, the clock's on a GPU."""
    cuda = learner.processes.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    start = clock()
    for _ in range(steps):
        learner.step(source)
        learner.images += learner.batch
    if cuda:
        torch.cuda.synchronize()
    return (clock() - start) / steps
