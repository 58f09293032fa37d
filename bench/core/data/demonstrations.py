"""Demonstrations of an expert in a world, for a policy that predicts views and actions together.

    told      the view now, and the instruction
    tokens    the view `horizon` steps later, and the next `horizon` actions: -1/1 one-hots of
              choices, or numbers in -1..1 within their bounds (or standardised)

Both have one noise level and one velocity, as in the paper's joint video-action model
(arXiv 2603.06507, App. E), where actions count as they are and the view by 0.3. Episodes are played
once and kept, those in which the expert fails left out and counted; held-out episodes are others,
and rollouts begin where no demonstration does. Those that were recorded elsewhere are
`bench.core.data.recorded`.

    python -m bench.run data=minigrid method=selfflow
    python -m bench.run data=metaworld method=selfflow
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bench.core.data.base import Examples, Indices, PictureData
from bench.core.data.played import (
    DEMONSTRATED_FROM,
    Played,
    check_played,
    instants,
    kept_episodes,
)
from bench.core.data.worlds.actions import Act
from bench.core.data.worlds.world import Setting, Sight, World, said_of, word_numbers
from bench.core.model.conditions import Prompts
from bench.core.model.pieces import Piece, Pieces
from bench.core.model.situations import LOUDNESS, UNTOLD, Situations
from bench.core.model.tokens import TokenGrid

VIEW_WEIGHT = 0.3  # in the loss, beside 1 of the actions
MOST_MEASURED = 8_192  # views that give each number's mean and deviation
LEAST_DEVIATION = 2.5  # of a number that hardly changes, in bytes
SPLIT_WORDS = {"train": "training", "heldout": "held-out"}


class Demonstrations(PictureData):
    """setting: what is seen, done and said; played: the episodes of both splits; horizon: actions
    that are predicted at once; world, tasks: where these can be done, None and none of recorded
    ones; loudness: of the view that is given; standardised: whether actions that are numbers have
    mean 0 and deviation 1 as tokens, in place of -1..1; sees: makes a view of a picture
    [H, W, 3] of any size, where views were made so; None where they are as they are.

    Of recorded episodes no moment counts from which one does not go on for `horizon` actions, where
    a world's has "nothing changes" for its end.

    Raises ValueError for a horizon that predicts nothing, or leaves no moment.
    """

    noun = "moment"

    def __init__(
        self,
        name: str,
        setting: Setting,
        played: Mapping[str, Played],
        horizon: int,
        *,
        world: World | None = None,
        tasks: Sequence[str] = (),
        loudness: float = LOUDNESS,
        standardised: bool = False,
        sees: Callable[[NDArray[np.uint8]], Sight] | None = None,
    ):
        check_horizon(horizon)
        view = view_grid(setting)
        self.setting, self._world, self.tasks = setting, world, tuple(tasks)
        self.played, self.horizon, self.sees = dict(played), horizon, sees
        idle = None if world is None else world.actions.idle
        self._instants = {split: instants(of, horizon, idle) for split, of in played.items()}
        for split, of_split in self._instants.items():
            if not len(of_split.now):
                raise ValueError(
                    f"data.horizon={horizon}: no {SPLIT_WORDS[split]} episode has that many "
                    "actions (choose fewer)"
                )
        self._views = {split: torch.from_numpy(of.views) for split, of in played.items()}

        # every instruction is a class, and a row of numbers of words: by what it says, as "a" and
        # "the" of the same thing are told alike
        asked = {text for of in self.played.values() for text in of.instructions}
        says = {text: said_of(setting, text) for text in asked}
        said = sorted(set(says.values()))
        self._longest = max(len(word_numbers(setting, text)) for text in said)
        self._words = torch.stack([self._row_of(text) for text in said])
        labels = {}
        for split, of in self.played.items():
            of_instruction = torch.tensor([said.index(says[text]) for text in of.instructions])
            labels[split] = of_instruction[self._instants[split].asked]

        # how a view becomes tokens, and what is predicted
        actions = TokenGrid((horizon,), 1, setting.actions.width)
        self.actions = setting.actions
        if standardised:
            self.actions = setting.actions.standardised(self.played["train"].actions)
        mean, deviation = _mean_and_deviation(view, self._views["train"])
        self._told = Situations(view, self._longest, len(setting.words), mean, deviation, loudness)
        self._pieces = Pieces.of(Piece(view, VIEW_WEIGHT), Piece(actions))
        super().__init__(name, self._pieces, len(said), {}, labels, said)

    @property
    def world(self) -> World:
        """Where a policy acts. Raises ValueError where the episodes were recorded elsewhere."""
        if self._world is None:
            raise ValueError(
                f"{self.name} are recorded episodes, with no world to act in here: measure "
                "action_error, or let bench.serve act in another program's simulator"
            )
        return self._world

    def _row_of(self, text: str) -> Tensor:
        """The words of an instruction, int64 [words]."""
        numbers = torch.tensor(word_numbers(self.setting, text))
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
        actions = self.actions.tokens(self.recorded_actions(split)[indices])
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

    def recorded_actions(self, split: str) -> Tensor:
        """What the expert did from each moment of a split on, [n, horizon] or [n, horizon, d]."""
        return self._instants[split].actions

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
            of.tell(digest)
        return digest.hexdigest()[:16]


def demonstrated(
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
) -> Demonstrations:
    """Demonstrations in a world. tasks: shown in turn; episodes, heldout_episodes: that the expert
    plays; cache: where they are kept, None for nowhere; others as of `Demonstrations`.

    Raises ValueError for tasks that the world has not, too few episodes, and an expert that fails
    in all of them.
    """
    # before all is played
    check_played(world, tasks, episodes, heldout_episodes)
    check_horizon(horizon)
    view_grid(world)
    played = {
        split: kept_episodes(world, tasks, first, count, cache)
        for split, first, count in (
            ("train", DEMONSTRATED_FROM, episodes),
            ("heldout", DEMONSTRATED_FROM + episodes, heldout_episodes),
        )
    }
    data = Demonstrations(
        name, world, played, horizon, world=world, tasks=tasks, loudness=loudness,
        standardised=standardised,
    )  # fmt: skip
    failed = sum(of.failed for of in played.values())
    solved = sum(len(of.lengths) for of in played.values())
    data.remarks = [f"{solved} episodes that the expert solves, {failed} that it does not"]
    return data


def check_horizon(horizon: int) -> None:
    """Raise ValueError for one that predicts nothing."""
    if horizon < 1:
        raise ValueError(f"data.horizon={horizon} predicts no action: choose 1 or more")


def view_grid(setting: Setting) -> TokenGrid:
    """How a view is cut into tokens. Raises ValueError where it cannot be."""
    return TokenGrid(setting.shape[1:], setting.patch, setting.shape[0])


def _mean_and_deviation(
    view: TokenGrid, views: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each number of a view's tokens, in bytes, over views at equal steps."""
    chosen = views[:: -(-len(views) // MOST_MEASURED)]
    numbers = view.patchify(chosen).flatten(0, 1).double()
    mean, deviation = numbers.mean(dim=0), numbers.std(dim=0).clamp(min=LEAST_DEVIATION)
    return tuple(mean.round(decimals=2).tolist()), tuple(deviation.round(decimals=2).tolist())
