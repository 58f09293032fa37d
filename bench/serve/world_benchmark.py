"""The world of a run as a benchmark of vla-eval: what serving and reading results are tried with on
a machine that has no simulator, and a check, as `success` of the same episodes must be the same.

    benchmarks:                       # rooms.yaml
      - benchmark: bench.serve.world_benchmark:WorldBenchmark
        episodes_per_task: 200
        params: {run: runs/minigrid-selfflow-micro-s0-1a2b3c4d}

    python -m bench.serve run=runs/minigrid-selfflow-micro-s0-1a2b3c4d
    vla-eval run --no-docker -c rooms.yaml --server-url ws://127.0.0.1:8000

vla-eval imports this file; nothing else does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW

from bench.config.groups import build, current
from bench.core.data.demonstrations import Demonstrations
from bench.core.data.played import ROLLED_OUT_FROM
from bench.core.data.worlds.world import Episode
from bench.core.store.files import Json
from bench.core.store.runs import CONFIGURATION, read_part


class WorldBenchmark(StepBenchmark):
    """Episodes of a run's tasks, of the seeds that `success` takes."""

    render_backends = frozenset({"gpu", "cpu"})  # drawn by NumPy

    def __init__(self, run: str):
        folder = Path(run)
        stored = read_part(folder, CONFIGURATION).get("data")
        if not stored:
            raise ValueError(f"run={folder} is no folder of a run: give one of runs/*")
        self._of(build(current("data", stored), cache=folder.parent / "cache"))

    def _of(self, data: Demonstrations) -> None:
        super().__init__()
        self.data = data

    def get_tasks(self) -> list[Json]:
        return [
            {"name": task, "suite": self.data.world.tasks[task].group} for task in self.data.tasks
        ]

    def reset(self, task: Json) -> Episode:
        self.episode = self.data.world.reset(task["name"], ROLLED_OUT_FROM + task["episode_idx"])
        return self.episode

    def step(self, action: Json) -> StepResult:
        numbers = np.asarray(action["actions"], np.float32).reshape(-1)
        self.episode.step(self.data.actions.received(numbers))
        well = float(self.episode.success)
        return StepResult(obs=self.episode, reward=well, done=self.episode.done, info={})

    def make_obs(self, raw_obs: Episode, task: Json) -> Json:
        view = np.ascontiguousarray(raw_obs.view().transpose(1, 2, 0))
        return {"images": {"view": view}, "task_description": raw_obs.instruction}

    def get_step_result(self, step_result: StepResult) -> Json:
        return {"success": bool(self.episode.success)}

    def get_action_spec(self):
        return {"action": RAW}

    def get_observation_spec(self):
        return {"image": IMAGE_RGB, "language": LANGUAGE}

    def get_metadata(self) -> Json:
        limits = [self.data.world.tasks[task].limit for task in self.data.tasks]
        return {"max_steps": max(limits)}
