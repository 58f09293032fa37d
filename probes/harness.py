"""Success of a policy in another program's simulator: its results file becomes rows.

    success         share of episodes that end well; of several tasks the mean over them
    success_TASK    of one task, where there are several

The file is the JSON that vla-eval writes of a benchmark (`<benchmark>_aggregate.json`; PyPI,
vla-eval 0.8): episodes by task, each with `metrics.success`. An episode that failed for the
harness's reasons counts as none that ended well, as it does there, and is counted in the note. It
says which weights were served, so that another model's results are refused.

    python -m bench.serve run=DIR
    vla-eval run -c BENCHMARK.yaml --server-url ws://127.0.0.1:8000
    python -m bench.evaluate run=DIR metrics=harness_success harness=results/NAME_aggregate.json
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench.core.numbers import standard_error, wilson
from bench.core.store.files import Json, file_hash, short_hash
from bench.core.store.rows import Row
from bench.core.store.untrusted import parse_json
from probes.metric import STATED, Inputs, Metric, Record, Told

SERVED_WEIGHTS = "weights "  # before their hash, in what a served policy says of its actions
HARNESS_SUCCESS = Record(
    "harness_success",
    version=1,
    harness=STATED,
    benchmark=STATED,
    mode=STATED,
    tasks=STATED,
    seed=STATED,
    configuration=STATED,
    weights=STATED,
)


class HarnessSuccess(Metric):
    """success, and of several tasks success_TASK, of a results file."""

    records = (HARNESS_SUCCESS,)

    @classmethod
    def measured_of(cls, settings: Told) -> str:
        """The content of the file: the harness writes its next results under the same name."""
        path = _path(settings)
        return file_hash(path) if path and path.is_file() else ""

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        _read(inputs)
        return {}

    def measure(self, inputs: Inputs) -> list[Row]:
        content = _read(inputs)
        ended = {task["task"]: _successes(task) for task in content["tasks"]}
        config = content.get("config", {})
        stated = {
            "harness": f"vla-eval {content.get('harness_version', '?')}",
            "benchmark": content["benchmark"],
            "mode": content.get("mode", "?"),
            "tasks": {task: len(of) for task, of in ended.items()},
            "seed": content.get("seed"),
            "configuration": short_hash(config),
            "weights": inputs.weights,
        }
        broken = sum(
            bool(episode.get("failure_reason"))
            for task in content["tasks"]
            for episode in task["episodes"]
        )
        notes = [f"{broken} episodes broke off and count as failures"] if broken else []
        notes += ["the harness did not end: episodes are missing"] if content.get("partial") else []

        def row(metric: str, of: list[list[bool]]) -> Row:
            n = sum(map(len, of))
            value = sum(sum(task) / len(task) for task in of) / len(of)
            details = {"interval_95": list(wilson(round(value * n), n))}
            return HARNESS_SUCCESS.row(
                metric, value, n, stated, stderr=standard_error(value, n), note="; ".join(notes),
                details=details,
            )  # fmt: skip

        each = [row(f"success_{_word(task)}", [of]) for task, of in ended.items()]
        return [row("success", list(ended.values())), *(each if len(each) > 1 else [])]


def _word(task: str) -> str:
    """A task's name as a metric's name has it."""
    return re.sub(r"[^a-z0-9]+", "_", task.lower()).strip("_") or "task"


def _successes(task: Json) -> list[bool]:
    return [episode["metrics"].get("success") is True for episode in task["episodes"]]


def _path(settings: Told) -> Path | None:
    said = settings.get("harness")
    return Path(str(said)).expanduser() if said else None


def _read(inputs: Inputs) -> Json:
    """The results file of the settings.

    Raises ValueError where it is missing, of another form, or of another policy.
    """
    path = _path(inputs.settings)
    if path is None:
        raise ValueError(
            "metrics=harness_success reads what a harness has measured: say harness=FILE, "
            "vla-eval's <benchmark>_aggregate.json"
        )
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"harness={path} cannot be read ({error}): give vla-eval's <benchmark>_aggregate.json"
        ) from error
    if wrong := _fault(content):
        raise ValueError(
            f"harness={path} is no results file of vla-eval ({wrong}): give its "
            "<benchmark>_aggregate.json"
        )
    served = re.search(rf"{SERVED_WEIGHTS}([0-9a-f]+)", _said_of_actions(content))
    if served is None or served[1] != inputs.sha256:
        whose = f"the weights {served[1][:8]}" if served else "no run of this program"
        raise ValueError(
            f"harness={path} is of {whose}, and these are {inputs.sha256[:8]}: give the run and "
            "images= that bench.serve served"
        )
    return content


def _fault(content: object) -> str:
    """What a results file lacks, "" where it has all that is read."""
    whole: Json = content if isinstance(content, dict) else {}
    tasks = whole.get("tasks")
    if not isinstance(tasks, list) or not tasks or not isinstance(whole.get("benchmark"), str):
        return "it names no benchmark and tasks"
    for task in tasks:
        said: Json = task if isinstance(task, dict) else {}
        episodes = said.get("episodes")
        if not isinstance(episodes, list) or not episodes or not isinstance(said.get("task"), str):
            return "a task has no name or no episodes"
        for episode in episodes:
            metrics = episode.get("metrics") if isinstance(episode, dict) else None
            if not isinstance(metrics, dict):
                return "an episode has no metrics"
            if not (episode.get("failure_reason") or isinstance(metrics.get("success"), bool)):
                return "an episode says neither that it ended well nor that it did not"
    return ""


def _said_of_actions(content: Json) -> str:
    """What the server said of its actions when the harness greeted it."""
    found: object = content
    for key in ("server_info", "action_spec", "action", "description"):
        found = found.get(key) if isinstance(found, dict) else None
    return str(found)
