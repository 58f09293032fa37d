"""A world to act in: tasks, actions, views, and an expert who knows the way. What of it episodes
show that were recorded elsewhere is a `Setting`: what is seen and done there, and what is said.

    episode = world.reset("pick", seed=900_000)
    while not episode.done:
        episode.step(episode.expert())
    episode.success

What happens in an episode follows from its task, its seed and the actions alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.core.data.worlds.actions import Act, Actions

Sight = NDArray[np.uint8]
"""What is seen, uint8 [3, H, W]."""


@dataclass(frozen=True)
class WorldTask:
    """group: what it is averaged with, limit: steps after which an episode has failed."""

    group: str
    limit: int


class Episode(Protocol):
    """One attempt. instruction: what is asked for, in words; done: ended, well or not; success:
    ended well.
    """

    @property
    def instruction(self) -> str: ...
    @property
    def done(self) -> bool: ...
    @property
    def success(self) -> bool: ...

    def view(self) -> Sight: ...

    def step(self, action: Act) -> None:
        """Act. Raises ValueError for an action that the world has not."""
        ...

    def expert(self) -> Act | None:
        """What the expert would do now; None where it knows no way."""
        ...


class Setting(Protocol):
    """name: of its package or simulator, with the version, for records; actions: choices or numbers
    within bounds; shape: of a view; patch: what of it is a token, along each side; words: that
    instructions are told by, in order; unsaid: those of its instructions that say nothing and are
    left out.
    """

    @property
    def name(self) -> str: ...
    @property
    def actions(self) -> Actions: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def patch(self) -> int | tuple[int, ...]: ...
    @property
    def words(self) -> Sequence[str]: ...
    @property
    def unsaid(self) -> frozenset[str]: ...


class World(Setting, Protocol):
    """rollouts: episodes of a task that `success` counts where no other number is said."""

    @property
    def tasks(self) -> Mapping[str, WorldTask]: ...
    @property
    def rollouts(self) -> int: ...

    def reset(self, task: str, seed: int) -> Episode: ...


def word_list(instruction: str) -> list[str]:
    """The words of an instruction, in small letters and without signs."""
    return re.findall(r"\w+", instruction.lower())


def said_of(setting: Setting, instruction: str) -> str:
    """An instruction without the words that say nothing."""
    return " ".join(word for word in word_list(instruction) if word not in setting.unsaid)


def word_numbers(setting: Setting, instruction: str) -> list[int]:
    """The words of an instruction that say something, counted from 1.

    Raises ValueError for one that the world does not use.
    """
    said = said_of(setting, instruction).split()
    for word in said:
        if word not in setting.words:
            raise ValueError(
                f"the instruction {instruction!r} has {word!r}, which this world never says "
                f"({', '.join(setting.words)})"
            )
    return [setting.words.index(word) + 1 for word in said]
