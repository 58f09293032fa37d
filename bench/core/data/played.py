"""Episodes as an expert plays them in a world, kept in the cache, and every moment of them.

played = kept_episodes(world, ("pick",), DEMONSTRATED_FROM, 20_000, cache)
moments = instants(played, horizon=4, idle=world.actions.idle)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.data.worlds.actions import Act
from bench.core.data.worlds.world import Sight, World
from bench.core.store.cache import cached_folder
from bench.core.store.waiting import counted

PLAYED = 1  # another one wherever an episode becomes another one: caches are named so
DEMONSTRATED_FROM, ROLLED_OUT_FROM = 100_000, 900_000  # seeds; no demonstration has the latter
FEWEST_EPISODES = 2
PER_HASH = 1024  # views that are hashed at once
_KEPT = ("views", "actions", "lengths", "asked", "instructions", "failed")  # of them in a file


class Digest(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class Played:
    """Episodes, one after another. views uint8 [M, 3, H, W], one more than actions in each;
    actions int64 [T], or float32 [T, d] of numbers; lengths: actions of each episode [E]; asked:
    its instruction's number among `instructions` [E]; failed: episodes that the expert did not
    solve, which are not here; known_as: a hash of all of it, of what is too much to be read for
    one.
    """

    views: NDArray[np.uint8]
    actions: NDArray
    lengths: NDArray[np.int64]
    asked: NDArray[np.int64]
    instructions: tuple[str, ...]
    failed: int
    known_as: str = ""

    def tell(self, digest: Digest) -> None:
        """What it is, for a fingerprint."""
        if self.known_as:
            digest.update(self.known_as.encode())
            return
        digest.update("\0".join(self.instructions).encode())
        for start in range(0, len(self.views), PER_HASH):
            digest.update(self.views[start : start + PER_HASH].tobytes())
        for part in (self.actions, self.lengths, self.asked):
            digest.update(part.tobytes())


class Instants(NamedTuple):
    """Steps of the episodes: which view is seen now and which is seen `horizon` steps later
    [n], the next actions [n, horizon] or [n, horizon, d], the instruction's number [n].
    """

    now: Tensor
    later: Tensor
    actions: Tensor
    asked: Tensor


def check_played(world: World, tasks: Sequence[str], *counts: int) -> None:
    """Raise ValueError for tasks that a world has not, and too few or too many episodes."""
    known = ", ".join(world.tasks)
    if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(world.tasks):
        raise ValueError(f"data.tasks={list(tasks)}: give tasks of this world once each ({known})")
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
        np.savez(folder / "episodes.npz", **{name: getattr(played, name) for name in _KEPT})

    said = f"{PLAYED} {world.name} {list(tasks)} {first} {count}"
    key = hashlib.sha256(said.encode()).hexdigest()[:16]
    folder = cached_folder(cache / "demonstrations" / key, make)
    try:
        with np.load(folder / "episodes.npz") as kept:
            parts = {name: kept[name] for name in _KEPT}
        texts, failed = tuple(map(str, parts.pop("instructions"))), int(parts.pop("failed"))
        return Played(**parts, instructions=texts, failed=failed)
    except (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile) as error:
        raise ValueError(
            f"the cached demonstrations {folder} are damaged ({error}): delete that folder, they "
            "are played again"
        ) from error


def instants(played: Played, horizon: int, idle: Act | None) -> Instants:
    """Every step of the episodes, behind whose end nothing changes; idle: None leaves out the steps
    from which an episode does not go on for `horizon` actions.
    """
    lengths = torch.from_numpy(played.lengths)
    of = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # the episode of each step
    step = torch.arange(len(of)) - (lengths.cumsum(0) - lengths)[of]
    first = (lengths + 1).cumsum(0) - (lengths + 1)  # where its views begin
    ahead = step[:, None] + torch.arange(horizon)
    place = torch.arange(len(of))[:, None] + torch.arange(horizon)
    actions = torch.from_numpy(played.actions)[place.clamp(max=len(of) - 1)]
    if idle is not None:
        actions[ahead >= lengths[of][:, None]] = torch.as_tensor(idle, dtype=actions.dtype)
    every = Instants(
        now=first[of] + step,
        later=first[of] + torch.minimum(step + horizon, lengths[of]),
        actions=actions,
        asked=torch.from_numpy(played.asked)[of],
    )
    whole = step + horizon <= lengths[of]
    return every if idle is not None else Instants(*(part[whole] for part in every))
