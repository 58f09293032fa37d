"""Step times: what a method costs in seconds beside what its counted FLOPs say,
against vanilla flow matching.

python -m bench.speed                                   selfflow and dual_timestep against vanilla, size nano on digits
python -m bench.speed methods=selfflow,repa size=S steps=20
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

from bench.cli import guarded

HELP = """usage: python -m bench.speed [methods=A,B] [steps=30] [repeats=5] [KEY=VALUE ...]

Time training steps of methods against vanilla flow matching, in turn, and print the median of the ratios beside the
ratio of counted FLOPs. Seconds are processor time on a CPU (a machine's other users do not count) and wall time on a
GPU.

Examples:
  python -m bench.speed
  python -m bench.speed methods=selfflow,dual_timestep,sra size=mini
  python -m bench.speed methods=repa encoder=local_l steps=100"""


def _learner(words: list[str]) -> Any:
    from bench.config.compose import compose
    from bench.core.train import distributed
    from bench.training.experiment import Experiment

    experiment = Experiment(compose(words))
    experiment.assemble(distributed.start(experiment.cfg.compute.device))
    return experiment.learner(), experiment.cost.flops_per_image["total"]


def _seconds(learner: Any, source: Any, steps: int) -> float:
    import torch

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


def main(argv: list[str]) -> int:
    """The command; returns the exit code."""
    if {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    own = {"methods": "selfflow,dual_timestep", "steps": "30", "repeats": "5"}
    words = []
    for word in argv:
        key, _, value = word.partition("=")
        if key in own:
            own[key] = value
        else:
            words.append(word)
    if (
        not own["steps"].isdigit()
        or not own["repeats"].isdigit()
        or 0 in (int(own["steps"]), int(own["repeats"]))
    ):
        raise ValueError(
            f"steps={own['steps']} and repeats={own['repeats']} must be whole numbers of at least 1"
        )
    steps, repeats = int(own["steps"]), int(own["repeats"])

    import statistics

    from bench.config.compose import uses_encoder

    with tempfile.TemporaryDirectory() as folder:
        arms = {}
        for name in ("vanilla", *own["methods"].split(",")):
            words_of = [
                word for word in words if uses_encoder(name) or not word.startswith("encoder=")
            ]
            learner, flops = _learner([f"method={name}", *words_of, f"runs={folder}"])
            source = learner.batches(until=learner.batch * (steps * repeats + 3))
            _seconds(learner, source, 3)  # warm-up
            arms[name] = (learner, source, flops)
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(repeats):  # in turn, so that a machine's drift meets every arm
            for name, (learner, source, _) in arms.items():
                seconds[name].append(_seconds(learner, source, steps))
    base, base_flops = seconds["vanilla"], arms["vanilla"][2]
    print(f"{'method':20} {'ms a step':>10} {'x vanilla':>10} {'min':>7} {'max':>7} {'x FLOPs':>8}")
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(times, base, strict=True)]
        print(
            f"{name:20} {statistics.median(times) * 1e3:10.2f} {statistics.median(ratios):10.3f} "
            f"{min(ratios):7.3f} {max(ratios):7.3f} "
            f"{arms[name][2] / base_flops:8.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
