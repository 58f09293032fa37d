"""Demonstrations of an expert in a world, for a policy that predicts views and actions together.

    told      the view now, and the instruction
    tokens    the view `horizon` steps later, and the next `horizon` actions: -1/1 one-hots of
              choices, or numbers in -1..1 within their bounds (or standardised)

Both have one noise level and one velocity, as in the paper's joint video-action model
(arXiv 2603.06507, App. E), where actions count as they are and the view by 0.3. Episodes are played
once and kept, those in which the expert fails left out and counted; held-out episodes are others,
and rollouts begin where no demonstration does.

    python -m bench.run data=minigrid method=selfflow
    python -m bench.run data=metaworld method=selfflow
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.core.data.base import Examples, Indices, PictureData
from bench.core.data.worlds.actions import Act
from bench.core.data.worlds.world import Sight, World, said_of, word_numbers
from bench.core.model.conditions import Prompts
from bench.core.model.pieces import Piece, Pieces
from bench.core.model.situations import LOUDNESS, UNTOLD, Situations
from bench.core.model.tokens import TokenGrid
from bench.core.store.cache import cached_folder
from bench.core.store.waiting import counted

PLAYED = 1  # another one wherever an episode becomes another one: caches are named so
DEMONSTRATED_FROM, ROLLED_OUT_FROM = 100_000, 900_000  # seeds; no demonstration has the latter
VIEW_WEIGHT = 0.3  # in the loss, beside 1 of the actions
FEWEST_EPISODES = 2
MOST_MEASURED = 8_192  # views that give each number's mean and deviation
LEAST_DEVIATION = 2.5  # of a number that hardly changes, in bytes


@dataclass(frozen=True)
class Played:
    """Episodes, one after another. views uint8 [M, 3, H, W], one more than actions in each;
    actions int64 [T], or float32 [T, d] of numbers; lengths: actions of each episode [E]; asked:
    its instruction's number among `instructions` [E]; failed: episodes that the expert did not
    solve, which are not here.
    """

    views: NDArray[np.uint8]
    actions: NDArray
    lengths: NDArray[np.int64]
    asked: NDArray[np.int64]
    instructions: tuple[str, ...]
    failed: int


class Instants(NamedTuple):
    """Every step of the episodes: which view is seen now and which is seen `horizon` steps later
    [n], the next actions [n, horizon] or [n, horizon, d], the instruction's number [n].
    """

    now: Tensor
    later: Tensor
    actions: Tensor
    asked: Tensor


class Demonstrations(PictureData):
    """tasks: of the world, shown in turn; horizon: actions that are predicted at once; episodes,
    heldout_episodes: that the expert plays; loudness: of the view that is given; standardised:
    whether actions that are numbers have mean 0 and deviation 1 as tokens, in place of -1..1;
    cache: where episodes are kept, None for nowhere.

    Raises ValueError for tasks that the world has not, too few episodes, and an expert that fails
    in all of them.
    """

    noun = "moment"

    def __init__(
        self,
        name: str,
        world: World,
        tasks: Sequence[str],
        horizon: int,
        episodes: int,
        heldout_episodes: int,
        *,
        loudness: float = LOUDNESS,
        standardised: bool = False,
        cache: Path | None = None,
    ):
        _check(world, tasks, horizon, episodes, heldout_episodes)
        view = TokenGrid(world.shape[1:], world.patch, world.shape[0])  # before all is played
        self.world, self.tasks, self.horizon = world, tuple(tasks), horizon
        self.played = {
            split: kept_episodes(world, self.tasks, first, count, cache)
            for split, first, count in (
                ("train", DEMONSTRATED_FROM, episodes),
                ("heldout", DEMONSTRATED_FROM + episodes, heldout_episodes),
            )
        }
        self._instants = {
            split: instants(of, horizon, world.actions.idle) for split, of in self.played.items()
        }
        self._views = {split: torch.from_numpy(of.views) for split, of in self.played.items()}

        # every instruction is a class, and a row of numbers of words: by what it says, as "a" and
        # "the" of the same thing are told alike
        asked = {text for of in self.played.values() for text in of.instructions}
        says = {text: said_of(world, text) for text in asked}
        said = sorted(set(says.values()))
        self._longest = max(len(word_numbers(world, text)) for text in said)
        self._words = torch.stack([self._row_of(text) for text in said])
        labels = {}
        for split, of in self.played.items():
            of_instruction = torch.tensor([said.index(says[text]) for text in of.instructions])
            labels[split] = of_instruction[self._instants[split].asked]

        # how a view becomes tokens, and what is predicted
        actions = TokenGrid((horizon,), 1, world.actions.width)
        self.actions = world.actions
        if standardised:
            self.actions = world.actions.standardised(self.played["train"].actions)
        mean, deviation = _mean_and_deviation(view, self._views["train"])
        self._told = Situations(view, self._longest, len(world.words), mean, deviation, loudness)
        self._pieces = Pieces.of(Piece(view, VIEW_WEIGHT), Piece(actions))
        super().__init__(name, self._pieces, len(said), {}, labels, said)
        failed = sum(of.failed for of in self.played.values())
        solved = sum(len(of.lengths) for of in self.played.values())
        self.remarks = [f"{solved} episodes that the expert solves, {failed} that it does not"]

    def _row_of(self, text: str) -> Tensor:
        """The words of an instruction, int64 [words]."""
        numbers = torch.tensor(word_numbers(self.world, text))
        return F.pad(numbers, (0, self._longest - len(numbers)), value=UNTOLD)

    @property
    def condition(self) -> Situations:
        return self._told

    @property
    def prompts(self) -> Prompts:
        """The held-out situations, in order."""
        labels = self.labels("heldout")
        texts = tuple(self.class_names[int(label)] for label in labels)
        return Prompts(self.conditions("heldout"), labels, self.condition.null, texts)

    def told(self, views: Tensor, texts: Sequence[str]) -> Tensor:
        """Rows of the condition of views uint8 [n, 3, H, W] and of instructions [n]."""
        return self._told.rows(views, torch.stack([self._row_of(text) for text in texts]))

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        """What is seen `horizon` steps later, uint8 [n, 3, H, W]."""
        return self._views[split][self._instants[split].later[indices]]

    def conditions(self, split: str, indices: Indices = slice(None)) -> Tensor:
        now = self._views[split][self._instants[split].now[indices]]
        return self._told.rows(now, self._words[self.labels(split, indices)])

    def tokens(self, split: str, indices: Indices = slice(None)) -> Tensor:
        view = self._told.view.patchify(self.images(split, indices)).float()
        actions = self.actions.tokens(self._instants[split].actions[indices])
        return self._pieces.pack(self._told.standardised(view), actions)

    def examples(self, index: Tensor, with_clean: bool) -> Examples:
        clean = self.images("train", index) if with_clean else None
        return Examples(index, self.tokens("train", index), self.conditions("train", index), clean)

    def decode(self, tokens: Tensor, precision: str = "float32") -> Tensor:
        view, _ = self._pieces.unpack(tokens.float())
        return self._told.view.unpatchify(self._told.as_bytes(view)) / 127.5 - 1

    def actions_of(self, tokens: Tensor) -> Tensor:
        """The actions that tokens [n, N, C] say, [n, horizon] or [n, horizon, d]."""
        return self.actions.of_tokens(self._pieces.unpack(tokens)[1])

    def usual_actions(self, steps: int) -> list[Act]:
        """The expert's most frequent action at each step of an episode, of numbers their mean;
        behind the longest one that of all.
        """
        played = self.played["train"]
        step = np.concatenate([np.arange(length) for length in played.lengths])
        found = []
        for number in range(steps):
            now = played.actions[step == number]
            found.append(self.actions.usual(now if len(now) else played.actions))
        return found

    @cached_property
    def fingerprint(self) -> str:
        said = f"{self.grid!r} {self._told!r} {self.horizon}{self.actions.scale}"
        digest = hashlib.sha256(said.encode())
        for of in self.played.values():
            digest.update("\0".join(of.instructions).encode())
            for part in (of.views, of.actions, of.lengths, of.asked):
                digest.update(part.tobytes())
        return digest.hexdigest()[:16]


def _check(world: World, tasks: Sequence[str], horizon: int, *counts: int) -> None:
    known = ", ".join(world.tasks)
    if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(world.tasks):
        raise ValueError(f"data.tasks={list(tasks)}: give tasks of this world once each ({known})")
    if horizon < 1:
        raise ValueError(f"data.horizon={horizon} predicts no action: choose 1 or more")
    least, most = FEWEST_EPISODES * len(tasks), ROLLED_OUT_FROM - DEMONSTRATED_FROM
    if min(counts) < least or sum(counts) > most:
        raise ValueError(
            f"data.episodes={counts[0]} and data.heldout_episodes={counts[1]} must be {least} or "
            f"more each, {FEWEST_EPISODES} of a task, and at most {most} together"
        )


def play(world: World, task: str, seed: int) -> tuple[str, list[Sight], list[Act]] | None:
    """An episode as the expert plays it: instruction, views, and actions between them; None where
    it fails. Raises ValueError where it asks for an action that the world has not.
    """
    episode = world.reset(task, seed)
    views, actions = [episode.view()], list[Act]()
    while not episode.done:
        action = episode.expert()
        if action is None:
            return None
        world.actions.check(action)
        episode.step(action)
        views.append(episode.view())
        actions.append(action)
    return (episode.instruction, views, actions) if episode.success else None


def play_all(world: World, tasks: Sequence[str], first: int, count: int) -> Played:
    """Episodes of these seeds, the tasks in turn. Raises ValueError where the expert fails in all
    of a task's.
    """
    texts, views, actions = list[str](), list[Sight](), list[Act]()
    lengths, failed = list[int](), dict.fromkeys(tasks, 0)
    for number in counted(f"playing {count} demonstrations", range(count), count):
        task = tasks[number % len(tasks)]
        found = play(world, task, first + number)
        if found is None:
            failed[task] += 1
            continue
        texts.append(found[0])
        views += found[1]
        actions += found[2]
        lengths.append(len(found[2]))
    for place, task in enumerate(tasks):
        if failed[task] == len(range(place, count, len(tasks))):
            raise ValueError(
                f"the expert fails in each of {failed[task]} demonstrations of {task}: choose "
                "another task, or a world in which it finds a way"
            )
    said = tuple(sorted(set(texts)))
    asked = np.array([said.index(text) for text in texts])
    return Played(
        np.stack(views), np.array(actions), np.array(lengths), asked, said, sum(failed.values())
    )


def kept_episodes(
    world: World, tasks: Sequence[str], first: int, count: int, cache: Path | None
) -> Played:
    """Episodes out of the cache, played first where they are not there; None: out of no cache."""
    if cache is None:
        return play_all(world, tasks, first, count)

    def make(folder: Path) -> None:
        played = play_all(world, tasks, first, count)
        np.savez(folder / "episodes.npz", **{**vars(played), "instructions": played.instructions})

    said = f"{PLAYED} {world.name} {list(tasks)} {first} {count}"
    key = hashlib.sha256(said.encode()).hexdigest()[:16]
    folder = cached_folder(cache / "demonstrations" / key, make)
    try:
        with np.load(folder / "episodes.npz") as kept:
            parts = {name: kept[name] for name in kept.files}
        texts, failed = tuple(map(str, parts.pop("instructions"))), int(parts.pop("failed"))
        return Played(**parts, instructions=texts, failed=failed)
    except (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile) as error:
        raise ValueError(
            f"the cached demonstrations {folder} are damaged ({error}): delete that folder, they "
            "are played again"
        ) from error


def instants(played: Played, horizon: int, idle: Act) -> Instants:
    """Every step of the episodes; behind an episode's end nothing changes."""
    lengths = torch.from_numpy(played.lengths)
    of = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # the episode of each step
    step = torch.arange(len(of)) - (lengths.cumsum(0) - lengths)[of]
    first = (lengths + 1).cumsum(0) - (lengths + 1)  # where its views begin
    ahead = step[:, None] + torch.arange(horizon)
    place = torch.arange(len(of))[:, None] + torch.arange(horizon)
    actions = torch.from_numpy(played.actions)[place.clamp(max=len(of) - 1)]
    actions[ahead >= lengths[of][:, None]] = torch.as_tensor(idle, dtype=actions.dtype)
    return Instants(
        now=first[of] + step,
        later=first[of] + torch.minimum(step + horizon, lengths[of]),
        actions=actions,
        asked=torch.from_numpy(played.asked)[of],
    )


def _mean_and_deviation(
    view: TokenGrid, views: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each number of a view's tokens, in bytes, over views at equal steps."""
    chosen = views[:: -(-len(views) // MOST_MEASURED)]
    numbers = view.patchify(chosen).flatten(0, 1).double()
    mean, deviation = numbers.mean(dim=0), numbers.std(dim=0).clamp(min=LEAST_DEVIATION)
    return tuple(mean.round(decimals=2).tolist()), tuple(deviation.round(decimals=2).tolist())
