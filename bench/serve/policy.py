"""What bench.serve does: answer the observations of vla-eval's benchmarks with a policy's actions.

vla-eval (AllenAI, Apache-2.0) keeps models and simulators apart: a benchmark sends an observation a
step as msgpack over a WebSocket, a model server answers with an action (protocol version 1, as in
vla-eval 0.8.0). Of an observation are read

    images[camera]       uint8 [H, W, 3], a view of the world that the run was trained in
    task_description     the instruction

and the answer is `actions`, float32 [d]: of a world of choices the number of one, else the numbers
of an action within its bounds. A plan is made when
the last one is acted out, as `success` acts; its noise follows from the episode's number and from
how often that looked, so that the same episodes have the same plans.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.config.words import ImageCount
from bench.core.compat import use_threads
from bench.core.data.demonstrations import Demonstrations
from bench.core.data.worlds.world import Sight, word_numbers
from bench.core.store.files import Json
from bench.core.store.waiting import saying
from bench.core.train import distributed
from bench.evaluation.subject import run_subject
from probes.harness import SERVED_WEIGHTS
from probes.rollouts import STEPS, Planner

Observation = Mapping[str, object]
INSTALL = "pip install 'vla-eval>=0.8', or the extra serve"


class ServedPolicy:
    """Plans for observations; camera: whose picture is the view, "" where there is one camera."""

    def __init__(self, data: Demonstrations, planner: Planner, camera: str = ""):
        self.data, self.planner, self.camera = data, planner, camera

    def plan(self, observation: Observation, episode: int, step: int) -> NDArray[np.float32]:
        """The next actions, [horizon, d]; step: observations of the episode before this one.

        Raises ValueError for an observation of another world.
        """
        view, text = self._view(observation), self._instruction(observation)
        looked = step // self.data.horizon
        return self.data.actions.sent(self.planner([episode], [view], [text], looked)[0])

    def _view(self, observation: Observation) -> Sight:
        images = observation.get("images")
        cameras = dict(images) if isinstance(images, Mapping) else {}
        if not (self.camera in cameras if self.camera else len(cameras) == 1):
            which = f"none called {self.camera}" if self.camera else f"{len(cameras)} of them"
            raise ValueError(
                f"an observation has the cameras {', '.join(map(str, cameras)) or '(none)'}, "
                f"{which}: say camera=NAME of the one whose picture is the view"
            )
        picture = cameras[self.camera] if self.camera else next(iter(cameras.values()))
        channels, height, width = self.data.setting.shape
        view = np.asarray(picture)
        in_colour = view.dtype == np.uint8 and view.ndim == 3 and view.shape[2] == channels
        if self.data.sees is not None and in_colour:
            return self.data.sees(view)
        if view.dtype != np.uint8 or view.shape != (height, width, channels):
            raise ValueError(
                f"a view is {view.dtype} {list(view.shape)}, and this policy was trained on uint8 "
                f"{[height, width, channels]}, views of {self.data.setting.name}: serve it to a "
                "benchmark that shows these"
            )
        return np.ascontiguousarray(view.transpose(2, 0, 1))

    def _instruction(self, observation: Observation) -> str:
        text = observation.get("task_description")
        if not isinstance(text, str):
            raise ValueError(
                f"an observation's task_description is {text!r}: send the instruction as a text"
            )
        said, most = len(word_numbers(self.data.setting, text)), self.data.condition.words
        if said > most:
            raise ValueError(
                f"the instruction {text!r} has {said} words that say something, and the longest "
                f"demonstrated one {most}: give a task of the demonstrations"
            )
        return text


def model_server(policy: ServedPolicy, weights: str) -> object:
    """A `PredictModelServer` of vla-eval; weights: their hash, which a results file then names.

    Raises ValueError where vla-eval is missing.
    """
    try:
        from vla_eval.model_servers.predict import PredictModelServer
        from vla_eval.specs import IMAGE_RGB, LANGUAGE, DimSpec
    except ImportError as error:
        raise ValueError(f"bench.serve needs vla-eval ({error}): {INSTALL}") from error
    actions = policy.data.actions
    said = f"{SERVED_WEIGHTS}{weights}; {actions.described}"
    numbers = DimSpec("action", *actions.sent_as, description=said)

    class PolicyServer(PredictModelServer):
        """One plan at a time, of which the base class sends an action a step."""

        def __init__(self) -> None:
            super().__init__(chunk_size=policy.data.horizon)
            self._count, self._episodes = itertools.count(), dict[str, int]()

        async def on_episode_start(self, config: Json, ctx) -> None:
            await super().on_episode_start(config, ctx)
            counted = next(self._count)
            number = (config.get("task") or {}).get("episode_idx", counted)
            self._episodes[ctx.episode_id] = int(number)

        async def on_episode_end(self, result: Json, ctx) -> None:
            await super().on_episode_end(result, ctx)
            self._episodes.pop(ctx.episode_id, None)

        def predict(self, obs: Json, ctx) -> Json:
            if ctx.episode_id not in self._episodes:
                raise ValueError("an observation came before its episode: send EPISODE_START first")
            return {"actions": policy.plan(obs, self._episodes[ctx.episode_id], ctx.step)}

        def get_action_spec(self):
            return {"action": numbers}

        def get_observation_spec(self):
            return {"image": IMAGE_RGB, "language": LANGUAGE}

    return PolicyServer()


def serve(
    run: Path,
    images: ImageCount | None,
    host: str,
    port: int,
    camera: str | None,
    plan_steps: int | None,
    device: str,
    threads: int,
    cache: Path | None,
) -> int:
    """Serve until Ctrl-C. Raises ValueError for a run that has no policy, and a port in use."""
    use_threads(threads)
    processes = distributed.start(device)
    with saying(f"loading {run}"):
        where = cache or run.parent / "cache"
        subject = run_subject(run, processes.device, images, cache=where)
    data = subject.data
    if not isinstance(data, Demonstrations):
        raise ValueError(
            f"run={run} was trained on {subject.data_name}, which has no actions: give a run on "
            "demonstrations, as of data=minigrid"
        )
    planner = Planner(data, subject.backbone, processes.device, plan_steps or STEPS)
    server = model_server(ServedPolicy(data, planner, camera or ""), subject.sha256)
    from vla_eval.model_servers.serve import serve as serve_forever

    check_free(host, port)
    print(
        f"{run}, {subject.weights} after {subject.images} images: plans of {data.horizon} actions "
        f"in {data.setting.name}\n"
        f"  listening on ws://{host}:{port}; vla-eval run -c BENCHMARK.yaml --server-url "
        f"ws://{host}:{port}; Ctrl-C ends it",
        flush=True,
    )
    try:
        serve_forever(server, host, port)
    except KeyboardInterrupt:
        print("ended by Ctrl-C")
    return 0


def check_free(host: str, port: int) -> None:
    """Raise ValueError where nobody could listen there."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cannot listen on host={host} port={port} ({error}): choose others"
        ) from error
