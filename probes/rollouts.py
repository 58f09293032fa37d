"""Closed-loop success of a policy: look, plan, act out the whole plan, look again.

    success         share of episodes that end well; of several groups of tasks the mean over them
    success_GROUP   of one group, where there are several

A plan is a sample of the model, told the view and the instruction; its actions are executed as they
are (receding horizon, as arXiv 2603.06507, App. E). Episodes have seeds that no demonstration has,
and the noise of a plan follows from its episode and from how often that looked: both are the same
for every arm. Beside the share stand, on the same episodes, the expert's (`real`), random actions'
and a replay of the expert's most frequent (of numbers: mean) action of each step; and the policy's
own when each episode's instruction, or its view, is that of another: what it does without them.

    python -m bench.run data=minigrid
    python -m bench.evaluate run=DIR metrics=success rollouts=1000
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.data.demonstrations import Demonstrations
from bench.core.data.played import ROLLED_OUT_FROM
from bench.core.data.worlds.actions import Act
from bench.core.data.worlds.world import Episode, Sight, said_of
from bench.core.model.backbone import SiT
from bench.core.model.sampling import Field, solved, velocity_of
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.streams import generator
from bench.core.numbers import standard_error, wilson
from bench.core.store.cache import cached_folder
from bench.core.store.rows import YARDSTICKS, Row
from probes.metric import DATA, OF_DATA, STATED, Inputs, Metric, MovingPictures, Record, Told

USUAL_EPISODES, STEPS = 200, 4  # of a task, in most worlds; of Euler's method
FILMED = 8  # episodes that a page shows
PLANS_AT_ONCE = 256  # plans that are made at once
NOISE_SEED = 0
SUCCESS = Record(
    "success",
    version=1,
    episodes=STATED,
    seeds=f"from {ROLLED_OUT_FROM}, of which no demonstration has one",
    plan="Euler's method, every action executed, then a new view",
    plan_steps=STATED,
    noise=f"by episode and plan, seed {NOISE_SEED}",
    world=STATED,
    tasks=STATED,
    weights=STATED,
    **OF_DATA,
)

Policy = Callable[[Sequence[int], Sequence[Sight], Sequence[str], int], np.ndarray]
"""Numbers of episodes [k], what each sees and is told, how often it looked before -> actions
[k, horizon] or [k, horizon, d].
"""


class Rollouts(Metric):
    """success, and of several groups of tasks success_GROUP."""

    needs = (DATA,)
    records = (SUCCESS,)
    samples_itself = True

    def check(self, inputs: Inputs) -> Mapping[str, str]:
        _world_of(self.name, inputs)
        return {}

    def measure(self, inputs: Inputs) -> list[Row]:
        data, settings = _world_of(self.name, inputs), inputs.settings
        count, steps = int(settings.get("rollouts", data.world.rollouts)), _steps(settings)
        planner = self._planner(inputs)
        found: dict[str, dict[str, np.ndarray]] = {"policy": {}}
        for task in data.tasks:
            found["policy"][task] = roll_out(data, task, count, planner)
        spoilt = planner.not_finite  # of the policy as it is
        for name, how in (("instructions shuffled", "told"), ("views shuffled", "seen")):
            found[name] = {
                task: roll_out(data, task, count, planner, shuffled=how) for task in data.tasks
            }
        found |= _kept_yardsticks(data, count, inputs.cache)

        groups: dict[str, list[str]] = {}
        for task in data.tasks:
            groups.setdefault(data.world.tasks[task].group, []).append(task)
        shares = {
            name: {
                group: float(np.concatenate([of_task[task] for task in tasks]).mean())
                for group, tasks in groups.items()
            }
            for name, of_task in found.items()
        }
        known = {
            "episodes": count,
            "plan_steps": steps,
            "world": data.world.name,
            "tasks": list(data.tasks),
            "weights": inputs.weights,
            "data": data.fingerprint,
        }

        def row(metric: str, of: Sequence[str]) -> Row:
            """The mean over some of the groups."""
            means = {name: sum(by[group] for group in of) / len(of) for name, by in shares.items()}
            value, n = means.pop("policy"), count * sum(len(groups[group]) for group in of)
            real = means.pop("expert")
            return SUCCESS.row(
                metric,
                value,
                n,
                known,
                stderr=standard_error(value, n),
                real=real,
                note=f"{spoilt} plans were not finite, in whose place the policy waited"
                if spoilt
                else "",
                details={"interval_95": list(wilson(round(value * n), n)), YARDSTICKS: means},
            )

        each = [row(f"success_{group}", [group]) for group in groups] if len(groups) > 1 else []
        return [row("success", list(groups)), *each]

    def clips(self, inputs: Inputs) -> MovingPictures:
        """The first episodes of each task, the policy's and the expert's, frame by frame; whichever
        ends first stands still.
        """
        data, planner = _world_of(self.name, inputs), self._planner(inputs)
        each = max(1, FILMED // len(data.tasks))
        films: tuple[list[list[Sight]], list[list[Sight]]] = ([], [])
        texts: tuple[list[str], list[str]] = ([], [])
        for task in data.tasks:
            ended_well = roll_out(data, task, each, planner, films=films[0])
            for number, well in enumerate(ended_well):
                episode = data.world.reset(task, ROLLED_OUT_FROM + number)
                films[1].append([episode.view()])
                ended_by = well, _solves(episode, films[1][-1])
                for of, ended in zip(texts, ended_by, strict=True):
                    of.append(f"{episode.instruction}: {'done' if ended else 'not done'}")
        return MovingPictures(_padded(films[0]), _padded(films[1]), *texts)

    def _planner(self, inputs: Inputs) -> Planner:
        data = _world_of(self.name, inputs)
        return Planner(data, inputs.backbone, inputs.device, _steps(inputs.settings))

    @classmethod
    def passes(cls, n_train: int, n_heldout: int, settings: Told) -> int:
        # three or four plans an episode, of the policy as it is and of its two controls
        return 12 * int(settings.get("rollouts", USUAL_EPISODES)) * _steps(settings)


def _steps(settings: Told) -> int:
    return int(settings.get("plan_steps", STEPS))


def _world_of(metric: str, inputs: Inputs) -> Demonstrations:
    data = inputs.data_here
    if not isinstance(data, Demonstrations):
        raise ValueError(
            f"metrics={metric} acts in a world, and {data.name} are {data.noun}s: choose "
            "data=minigrid or data=metaworld"
        )
    return data


class Planner:
    """The backbone as a policy; not_finite: plans in whose place it waited."""

    def __init__(self, data: Demonstrations, backbone: SiT, device: torch.device, steps: int):
        self.data, self.device, self.not_finite = data, device, 0
        self.shape = (backbone.grid.tokens, backbone.grid.token_dim)
        protocol = sampling_protocol("ode50", steps=steps)
        self.field = Field(velocity_of(backbone), protocol, data.condition.null)

    def __call__(
        self, which: Sequence[int], views: Sequence[Sight], texts: Sequence[str], looked: int
    ) -> np.ndarray:
        told = self.data.told(torch.from_numpy(np.stack(views)), texts).split(PLANS_AT_ONCE)
        noise = torch.stack([self._noise(number, looked) for number in which]).split(PLANS_AT_ONCE)
        return np.concatenate([self._plans(*block) for block in zip(noise, told, strict=True)])

    def _noise(self, number: int, looked: int) -> Tensor:
        draw = generator(NOISE_SEED, f"rollout {number}", looked)
        return torch.randn(self.shape, generator=draw)

    def _plans(self, noise: Tensor, told: Tensor) -> np.ndarray:
        increments = generator(NOISE_SEED, "rollout increments", 0)  # which Euler's method has not
        x = noise.to(self.device, getattr(torch, self.field.protocol.state))
        tokens = solved(self.field, x, told.to(self.device), increments).float().cpu()
        finite = torch.isfinite(tokens).flatten(1).all(dim=1)
        self.not_finite += int((~finite).sum())
        actions = self.data.actions_of(tokens)
        actions[~finite] = torch.as_tensor(self.data.actions.idle, dtype=actions.dtype)
        return actions.numpy()


def roll_out(
    data: Demonstrations,
    task: str,
    count: int,
    policy: Policy,
    shuffled: str = "",
    films: list[list[Sight]] | None = None,
    blind: bool = False,
) -> np.ndarray:
    """Which of `count` episodes of a task end well, bool [count]; shuffled: "told" or "seen", what
    each is given of another one; films: a list that is given all views of each; blind: whether the
    policy is shown none, which a world may take long to draw.
    """
    episodes = [data.world.reset(task, ROLLED_OUT_FROM + number) for number in range(count)]
    texts = [episode.instruction for episode in episodes]
    told = texts
    if shuffled == "told":
        told = [_other(data, texts, number) for number in range(count)]
    kept = None if films is None else [[episode.view()] for episode in episodes]
    looked = 0
    while alive := [number for number in range(count) if not episodes[number].done]:
        of = [(number + 1) % count if shuffled == "seen" else number for number in alive]
        views = [] if blind else [episodes[number].view() for number in of]
        plans = policy(alive, views, [told[number] for number in alive], looked)
        for number, plan in zip(alive, plans, strict=True):
            _act_out(episodes[number], plan, kept[number] if kept else None)
        looked += 1
    if films is not None and kept:
        films += kept
    return np.array([episode.success for episode in episodes])


def _act_out(episode: Episode, plan: Iterable[Act], views: list[Sight] | None) -> None:
    for action in plan:
        if episode.done:
            return
        episode.step(action)
        if views is not None:
            views.append(episode.view())


def _padded(films: Sequence[Sequence[Sight]]) -> Tensor:
    """Films of unlike lengths as uint8 [n, 3, T, H, W], the last view held."""
    longest = max(map(len, films))
    held = [[*film, *[film[-1]] * (longest - len(film))] for film in films]
    return torch.from_numpy(np.array(held)).transpose(1, 2).contiguous()


def _other(data: Demonstrations, texts: Sequence[str], number: int) -> str:
    """The next instruction that is another one; where all of a task's are the same, those of the
    other tasks in turn; its own where the data have no other.
    """
    later = [*texts[number + 1 :], *texts[:number]]
    others = (text for text in later if text != texts[number])
    own = said_of(data.world, texts[number])
    elsewhere = [said for said in data.class_names if said != own] or [texts[number]]
    return next(others, elsewhere[number % len(elsewhere)])


# What a policy is compared with -------------------------------------------------------------------


def _kept_yardsticks(
    data: Demonstrations, count: int, cache: Path
) -> dict[str, dict[str, np.ndarray]]:
    """Which episodes of each task end well under the expert, random actions, and a replay, from the
    cache or rolled out first.
    """

    def make(folder: Path) -> None:
        found = {
            name: {task: of.astype(int).tolist() for task, of in by_task.items()}
            for name, by_task in yardsticks(data, count).items()
        }
        (folder / "episodes.json").write_text(json.dumps(found), encoding="utf-8")

    key = f"{data.name}-{data.fingerprint}-{count}-v{SUCCESS.version}"
    folder = cached_folder(Path(cache) / "rollouts" / key, make)
    try:
        found = json.loads((folder / "episodes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the cached rollouts {folder} are damaged ({error}): delete that folder, they are "
            "made again"
        ) from error
    return {
        name: {task: np.array(of, bool) for task, of in by_task.items()}
        for name, by_task in found.items()
    }


def yardsticks(data: Demonstrations, count: int) -> dict[str, dict[str, np.ndarray]]:
    """{"expert", "at random", "the usual actions": {task: which episodes end well}}, bool [count]
    each.
    """
    world = data.world
    usual = np.array(data.usual_actions(max(world.tasks[task].limit for task in data.tasks)))

    def at_random(which: Sequence[int], views: object, texts: object, looked: int) -> np.ndarray:
        draws = (np.random.default_rng((NOISE_SEED, number, looked)) for number in which)
        return np.array([[world.actions.at_random(draw)] for draw in draws])

    def replayed(which: Sequence[int], views: object, texts: object, looked: int) -> np.ndarray:
        return np.repeat(usual[None, looked : looked + 1], len(which), axis=0)

    names = ("expert", "at random", "the usual actions")
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    for task in data.tasks:
        found["expert"][task] = np.array(
            [_solves(world.reset(task, ROLLED_OUT_FROM + number)) for number in range(count)]
        )
        found["at random"][task] = roll_out(data, task, count, at_random, blind=True)
        found["the usual actions"][task] = roll_out(data, task, count, replayed, blind=True)
    return found


def _solves(episode: Episode, views: list[Sight] | None = None) -> bool:
    """Whether the expert ends an episode well; views: a list that is given what it sees."""
    while not episode.done:
        action = episode.expert()
        if action is None:
            return False
        _act_out(episode, [action], views)
    return episode.success
