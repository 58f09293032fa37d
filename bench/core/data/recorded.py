"""Recorded episodes of robots as demonstrations: LeRobot's format, of your own or of RT-1, for a
policy that predicts a view and actions together.

    told      a camera's view now, and the instruction
    tokens    its view `horizon` actions later, and these actions: numbers whose quantiles of one
              in a hundred at both ends are -1 and 1 (arXiv 2603.06507, App. E), cut at the least
              and the greatest that were recorded

There is no world to act in, so what is measured is how far actions are from recorded ones
(`action_error`); `bench.serve` acts in another program's simulator.

    python -m bench.run data=lerobot data.root=DIR method=selfflow
    python -m bench.run data=rt1 data.root=fractal20220817_data_lerobot method=repa
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from bench.core.data.base import stratified_split
from bench.core.data.demonstrations import SPLIT_WORDS, Demonstrations, check_horizon
from bench.core.data.folder import resized
from bench.core.data.lerobot import LeRobot, RecordedEpisode
from bench.core.data.played import FEWEST_EPISODES, Played
from bench.core.data.worlds.actions import Bounds
from bench.core.data.worlds.world import Sight, word_list
from bench.core.model.tokens import TokenGrid
from bench.core.store.cache import cached_folder
from bench.core.store.files import file_hash, new_array, short_hash
from bench.core.store.waiting import counted

_RECORDED = 1  # another one wherever what is read becomes something else: caches are named so
_TAIL = 0.01  # share of the actions beyond what a token's -1 and 1 are, at each end
_THREADS = 8
_BESIDE_VIEWS = ("actions", "lengths", "asked", "instructions", "known_as")
NewArray = Callable[[str, tuple[int, ...]], NDArray[np.uint8]]
Split = dict[str, list[RecordedEpisode]]


@dataclass(frozen=True)
class RecordedSetting:
    """What recorded episodes show; nothing in it can be acted out."""

    name: str
    actions: Bounds
    shape: tuple[int, int, int]
    patch: int
    words: tuple[str, ...]

    unsaid = frozenset[str]()


def recorded(
    name: str,
    root: str | None,
    camera: str | None,
    size: int,
    patch: int,
    horizon: int,
    heldout: float,
    episodes: int | None,
    *,
    loudness: float,
    cache: Path | None = None,
) -> Demonstrations:
    """Demonstrations out of a folder of LeRobot's. camera: whose pictures are the view, None of the
    only one; size: of a view's side after resizing the short side and cropping the centre; heldout:
    share of the episodes; episodes: the first so many, None for all; others as of `Demonstrations`.

    Raises ValueError for what cannot be read, an unknown camera, and too few episodes.
    """
    if not root:
        raise ValueError(
            f"data={name} needs a folder that LeRobot recorded: data.root=DIR, with meta/info.json"
        )
    # before hours of reading
    if size < 1:
        raise ValueError(f"data.size={size}: a view has 1 pixel or more")
    check_horizon(horizon)
    TokenGrid((size, size), patch, 3)
    there = LeRobot(Path(root).expanduser())
    camera = there.camera(camera)
    every = there.episodes()[:episodes]
    told = [one for one in every if word_list(one.instruction) and one.length > 0]
    split = _split(told, heldout)

    # what is long takes a place in the cache
    key = short_hash([_RECORDED, camera, size, _files(there, camera, split)])
    if cache is None:
        played = _read(there, camera, size, split, lambda _, shape: np.empty(shape, np.uint8))
    else:
        folder = cached_folder(
            cache / "recorded" / key, lambda new: _keep(new, there, camera, size, split)
        )
        played = _kept(folder)

    train = played["train"].actions
    last = train[np.cumsum(played["train"].lengths) - 1]
    said = {word for one in told for word in word_list(one.instruction)}
    setting = RecordedSetting(
        f"LeRobot {there.version}, {camera} at {size} x {size}",
        recorded_bounds(there.names, train, last),
        (3, size, size),
        patch,
        tuple(sorted(said)),
    )
    data = Demonstrations(
        name, setting, played, horizon, loudness=loudness, sees=partial(sight_of, size=size)
    )
    untold = len(every) - len(told)
    data.remarks = [
        f"{len(told)} recorded episodes, {len(split['heldout'])} of them held out, at "
        f"{there.fps:g} actions a second",
        *([f"{untold} without an instruction or a moment are left out"] if untold else []),
    ]
    return data


def sight_of(picture: NDArray[np.uint8], size: int) -> Sight:
    """A camera's picture [H, W, 3] as a view, its short side resized and its centre cropped."""
    return resized(torch.tensor(picture).permute(2, 0, 1)[None], size)[0].numpy()


def recorded_bounds(
    names: Sequence[str], actions: NDArray[np.float32], last: NDArray[np.float32]
) -> Bounds:
    """Numbers of actions [n, d] as they were recorded; last: those that end episodes, of whose
    middle a policy that has nothing to say does.
    """
    low, high = actions.min(axis=0), actions.max(axis=0)
    first, end = np.quantile(actions, (_TAIL, 1 - _TAIL), axis=0).astype(np.float32)
    # of a number that is nearly always the same the ends are all there is, of one that is always
    # the same not even they
    first, end = np.where(first < end, first, low), np.where(first < end, end, high)
    half = np.where(first < end, (end - first) / 2, np.float32(1))
    parts = (low, high, np.median(last, axis=0), (first + end) / 2, half)
    return Bounds(tuple(names), *(tuple(part.tolist()) for part in parts))


def _split(episodes: Sequence[RecordedEpisode], share: float) -> Split:
    """Those for training and those that are held out, drawn once for all."""
    count = max(FEWEST_EPISODES, round(share * len(episodes)))
    if not 0 < share < 1 or len(episodes) - count < FEWEST_EPISODES:
        raise ValueError(
            f"data.heldout={share} of {len(episodes)} episodes with an instruction: "
            f"{FEWEST_EPISODES} or more of each split are needed"
        )
    parts = stratified_split(np.zeros(len(episodes)), count)
    return {
        split: [episodes[place] for place in places]
        for split, places in zip(SPLIT_WORDS, parts, strict=True)
    }


def _files(there: LeRobot, camera: str, split: Split) -> list[tuple[object, ...]]:
    """What the content of the cache depends on: the list, and how large its files are. Raises
    ValueError naming a file that is missing.
    """
    sizes: dict[Path, int] = {}

    def size_of(path: Path) -> int:
        if path not in sizes:
            try:
                sizes[path] = path.stat().st_size
            except OSError as error:
                raise ValueError(f"an episode's file cannot be read ({error}): fetch it") from error
        return sizes[path]

    films = there.cameras[camera] == "video"
    listed: list[tuple[object, ...]] = [(file_hash(there.root / "meta" / "info.json"),)]
    for part, episodes in split.items():
        for one in episodes:
            seen = size_of(there.film(one, camera)[0]) if films else 0
            own = size_of(there.table(one))
            listed.append((part, one.number, one.length, one.instruction, own, seen))
    return listed


def _read(there: LeRobot, camera: str, size: int, split: Split, new: NewArray) -> dict[str, Played]:
    """The episodes; new: makes the array of a split's views, by its name and shape."""
    played = {}
    for part, episodes in split.items():
        lengths = np.array([one.length for one in episodes])
        ends = np.cumsum(lengths + 1)
        views = new(part, (int(ends[-1]), 3, size, size))
        own = np.split(views, ends[:-1])
        what = f"reading {len(episodes)} {SPLIT_WORDS[part]} episodes"
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(partial(_read_one, there, camera), episodes, own)
            actions = list(counted(what, found, len(episodes)))
        texts = sorted({one.instruction for one in episodes})
        numbers = {text: number for number, text in enumerate(texts)}
        asked = np.array([numbers[one.instruction] for one in episodes])
        whole = Played(views, np.concatenate(actions), lengths, asked, tuple(texts), failed=0)
        digest = sha256()
        whole.tell(digest)
        played[part] = replace(whole, known_as=digest.hexdigest())
    return played


def _read_one(
    there: LeRobot, camera: str, episode: RecordedEpisode, views: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """An episode's actions; its views are written, the last of them twice, as nobody looked behind
    the last action.
    """
    for place, picture in enumerate(there.views(episode, camera)):
        views[place] = sight_of(picture, size=views.shape[-1])
    views[episode.length] = views[episode.length - 1]
    return there.actions(episode)


def _keep(folder: Path, there: LeRobot, camera: str, size: int, split: Split) -> None:
    """Read them into a folder of the cache."""

    def new(part: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        return new_array(folder / f"{part}-views.npy", shape, np.uint8, f"the views of {camera}")

    for part, of in _read(there, camera, size, split, new).items():
        np.savez(folder / f"{part}.npz", **{name: getattr(of, name) for name in _BESIDE_VIEWS})


def _kept(folder: Path) -> dict[str, Played]:
    """What `_keep` wrote; views stay in their file until they are looked at."""
    played = {}
    try:
        for part in SPLIT_WORDS:
            # changes stay here, and there are none: PyTorch warns of what cannot be written
            views = np.load(folder / f"{part}-views.npy", mmap_mode="c")
            with np.load(folder / f"{part}.npz") as kept:
                parts = {name: kept[name] for name in _BESIDE_VIEWS}
            texts = tuple(map(str, parts.pop("instructions")))
            known = str(parts.pop("known_as"))
            played[part] = Played(views, **parts, instructions=texts, failed=0, known_as=known)
    except (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile) as error:
        raise ValueError(
            f"the cached episodes {folder} are damaged ({error}): delete that folder, they are "
            "read again"
        ) from error
    return played
