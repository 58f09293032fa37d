"""Step times: what a method costs in seconds beside what its counted FLOPs say,
against vanilla flow matching.

    python -m bench.speed                                   # two methods, size nano on digits
    python -m bench.speed methods=selfflow,repa size=S steps=20
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.groups import options
from bench.keys import Choice, Several, Whole

SPEED = Command(
    "speed",
    does="Time training steps of methods against vanilla flow matching, in turn, and print the "
    "median of the ratios beside the ratio of counted FLOPs. Seconds are processor time on a CPU "
    "(a machine's other users do not count) and wall time on a GPU.\n\n"
    "Keys of bench.run (see its --help) go to every method; encoder= to those that use one.",
    body="bench.commands.speed:time_methods",
    keys={
        "methods": Several(
            "methods to time",
            of=Choice("method", among=lambda: options("method"), shape="METHOD"),
            default=("selfflow", "dual_timestep"),
        ),
        "steps": Whole("steps of one timing", default=30, least=1),
        "repeats": Whole("timings of each method", default=5, least=1),
    },
    examples={
        "": "",
        "methods=selfflow,dual_timestep,sra size=mini": "",
        "methods=repa encoder=local_l steps=100": "",
    },
    passes=("",),
    alone=True,
)

if __name__ == "__main__":
    SPEED.start()
