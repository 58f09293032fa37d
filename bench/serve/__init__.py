"""The policy of a run, served to a harness whose benchmarks act with it.

    python -m bench.serve run=DIR

Simulators run in the harness's processes, or containers; here the model answers observations with
actions, over the protocol of vla-eval (PyPI, the extra `serve`). Its results become rows:

    python -m bench.evaluate run=DIR metrics=harness_success harness=FILE.json
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.keys import Choice, Folder, ImagesSeen, Text, Whole

SERVE = Command(
    "serve",
    does="Serve the policy of a run (data=minigrid, data=metaworld, data=lerobot, or "
    "demonstrations of your own) to vla-eval: an observation a step comes in over a WebSocket, "
    "an action goes out. Ctrl-C ends it.",
    body="bench.serve.policy:serve",
    keys={
        "run": Folder("of a run on demonstrations", required=True),
        "images": ImagesSeen("the run's snapshot there (default: the newest)"),
        "host": Text(
            "to listen on; 0.0.0.0 lets every machine in that reaches this one, unasked and "
            "unencrypted",
            default="127.0.0.1",
            shape="ADDRESS",
        ),
        "port": Whole("to listen on", default=8000, least=1),
        "camera": Text("whose picture is the view, where an observation has several", shape="NAME"),
        "plan_steps": Whole("of Euler's method for each plan (default: 4)", least=1),
        "device": Choice("to compute on", among=("auto", "cpu", "cuda"), default="auto"),
        "threads": Whole("of a CPU", default=1, least=1),
        "cache": Folder("of demonstrations (default: beside the run)"),
    },
    examples={
        "run=runs/minigrid-selfflow-micro-s0-1a2b3c4d": "",
        "run=runs/minigrid-selfflow-micro-s0-1a2b3c4d port=8001 device=cuda": "",
    },
)
