"""Episodes that LeRobot recorded: numbers in parquet, cameras as films or as pictures in parquet.

    DIR/meta/info.json                    what there is, and how its files are called
    version 2.x   a table and a film an episode, DIR/meta/episodes.jsonl
    version 3.0   many episodes in one, DIR/meta/episodes/*/*.parquet

    there = LeRobot(Path("fractal20220817_data_lerobot"))
    first = there.episodes()[0]
    there.actions(first)                                       # float32 [T, d]
    there.views(first, "observation.images.image")             # T of uint8 [H, W, 3]

Only what is said there is read: no package of that name is needed (its own pins PyTorch).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.data.film_files import film_from
from bench.core.data.parquet import open_parquet
from bench.core.data.pictures import read_picture, readable
from bench.core.store.files import Json, read_json
from bench.core.store.untrusted import parse_json

ACTION, EPISODE, STEP = "action", "episode_index", "frame_index"
CAMERAS = ("video", "image")  # dtypes of features that are pictures
VERSIONS = ("v2.", "v3.")
FETCHED = "fetch it again, with its large files"  # what Git LFS leaves in their place is no table


@dataclass(frozen=True)
class RecordedEpisode:
    """length: of its actions, each beside the view in which it was chosen; place: what the names of
    its files are made of; said: all that the table of episodes says of it.
    """

    number: int
    length: int
    instruction: str
    place: Mapping[str, int]
    said: Json


class LeRobot:
    """A folder of that format. cameras: their dtypes; names: of an action's numbers.

    Raises ValueError for a folder that is none, of another version, or without actions or cameras.
    """

    def __init__(self, root: Path):
        self.root = root
        self.info = read_json(root / "meta" / "info.json")
        self.version, features = self.info.get("codebase_version"), self.info.get("features")
        if not self.info:
            raise ValueError(
                f"data.root={readable(root)} is no data set of LeRobot: expected meta/info.json, "
                "an object, in it"
            )
        if not str(self.version).startswith(VERSIONS) or not isinstance(features, dict):
            raise ValueError(
                f"{readable(root)} is of LeRobot's version {self.version}, and 2.0, 2.1 and 3.0 "
                "are read, with features in meta/info.json: convert it with lerobot's own scripts"
            )
        described = {name: of for name, of in features.items() if isinstance(of, dict)}
        self.cameras = {
            name: str(of["dtype"])
            for name, of in described.items()
            if of.get("dtype") in CAMERAS and not _of_depth(of.get("info"))
        }
        shape = described.get(ACTION, {}).get("shape")
        numbers = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
        if not (isinstance(numbers, int) and self.cameras and self.fps > 0):
            raise ValueError(
                f"{readable(root)} has the features {', '.join(map(readable, features))} at fps="
                f"{self.info.get('fps')}: a policy takes {ACTION}, a row of numbers, and a camera"
            )
        self.names = _names(described[ACTION].get("names"), numbers)

    @property
    def fps(self) -> float:
        """Moments a second."""
        fps = self.info.get("fps")
        return float(fps) if isinstance(fps, int | float) and math.isfinite(fps) else 0.0

    def camera(self, name: str | None) -> str:
        """The camera of that name, or the only one. Raises ValueError where it is not clear."""
        if name is None and len(self.cameras) == 1:
            return next(iter(self.cameras))
        if name is not None and name in self.cameras:
            return name
        said = f"{name} is none of them" if name else f"there are {len(self.cameras)}"
        raise ValueError(f"data.camera: {said} (choices: {', '.join(map(readable, self.cameras))})")

    def episodes(self) -> list[RecordedEpisode]:
        """All of them, in order. Raises ValueError for a list that cannot be read."""
        if str(self.version).startswith("v2."):
            file = self.root / "meta" / "episodes.jsonl"
            try:
                rows = [parse_json(line) for line in file.read_text(encoding="utf-8").splitlines()]
            except (OSError, ValueError) as error:
                raise ValueError(f"{readable(file)} cannot be read ({error}): {FETCHED}") from error
        else:
            files = sorted((self.root / "meta" / "episodes").glob("*/*.parquet"))
            # statistics of every number lie beside what is needed
            wanted = [_columns_of(file) for file in files]
            rows = [
                row
                for file, names in zip(files, wanted, strict=True)
                for row in open_parquet(file).read(columns=names).to_pylist()
            ]
        if not rows:
            raise ValueError(f"{readable(self.root)} lists no episodes in meta/: {FETCHED}")
        return sorted((self._episode(row) for row in rows), key=lambda one: one.number)

    def _episode(self, row: object) -> RecordedEpisode:
        try:
            if not isinstance(row, dict):
                raise TypeError
            number, length = int(row[EPISODE]), int(row["length"])
            tasks = [str(task) for task in row["tasks"]]
            if "data/chunk_index" in row:
                place = {of: int(row[f"data/{of}"]) for of in ("chunk_index", "file_index")}
            else:
                place = {
                    "episode_chunk": number // int(self.info["chunks_size"]),
                    "total_episodes": int(self.info.get("total_episodes", 0)),
                }
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ValueError(
                f"{readable(self.root)}: an episode of meta/ is listed as {readable(row)[:200]}, "
                "and a number, a length, tasks and a place are needed: convert it anew"
            ) from error
        return RecordedEpisode(number, length, tasks[0] if tasks else "", place, row)

    def table(self, episode: RecordedEpisode) -> Path:
        """The file of its numbers."""
        return self._file("data_path", episode.place, episode, "")

    def film(self, episode: RecordedEpisode, camera: str) -> tuple[Path, float]:
        """The file of what a camera saw, and the second at which the episode begins there."""
        at = f"videos/{camera}/"
        if f"{at}chunk_index" not in episode.said:
            return self._file("video_path", episode.place, episode, camera), 0.0
        try:
            place = {of: int(episode.said[at + of]) for of in ("chunk_index", "file_index")}
            start = float(episode.said[f"{at}from_timestamp"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{readable(self.root)}: meta/ does not say where the film of episode "
                f"{episode.number} begins ({error}): convert it anew"
            ) from error
        return self._file("video_path", place, episode, camera), start

    def _file(
        self, key: str, place: Mapping[str, int], episode: RecordedEpisode, camera: str
    ) -> Path:
        named = {**place, EPISODE: episode.number, "video_key": camera}
        try:
            return self.root / str(self.info[key]).format(**named)
        except (AttributeError, IndexError, KeyError, ValueError) as error:
            raise ValueError(
                f"{readable(self.root)}: meta/info.json calls files {self.info.get(key)!r}, of "
                f"which {error} is not known: convert it anew"
            ) from error

    def actions(self, episode: RecordedEpisode) -> NDArray[np.float32]:
        """What was done, [T, d]. Raises ValueError for what is not whole, or not finite."""
        file = self.table(episode)
        found = np.stack(list(self._rows(episode, ACTION))).astype(np.float32)
        if found.shape != (episode.length, len(self.names)) or not np.isfinite(found).all():
            raise ValueError(
                f"{readable(file)}: actions of episode {episode.number} are {list(found.shape)}, "
                f"finite or not, and {[episode.length, len(self.names)]} finite ones are said: "
                f"{FETCHED}, or leave the episode out of meta/"
            )
        return found

    def views(self, episode: RecordedEpisode, camera: str) -> Iterator[NDArray[np.uint8]]:
        """What a camera saw as each action was chosen. Raises ValueError for what is not whole."""
        if self.cameras[camera] == "image":
            for number, row in enumerate(self._rows(episode, camera)):
                place = self.root / (row.get("path") or f"{camera} {number}")
                content = row.get("bytes")
                yield np.array(
                    read_picture(place, content=(lambda kept=content: kept) if content else None)
                )
            return
        file, start = self.film(episode, camera)
        found = 0
        for one in film_from(file, start):
            # frames beside those of the moments: before the first, or of a film that has more
            late = (0.0 if one.time is None else one.time - start) * self.fps - found
            if late < -0.5:
                continue
            if late > 0.5:
                break
            yield one.picture
            found += 1
            if found == episode.length:
                return
        raise ValueError(
            f"{readable(file)} has {found} of the {episode.length} frames of episode "
            f"{episode.number} at {self.fps:g} a second: {FETCHED}, or leave the episode out of "
            "meta/"
        )

    def _rows(self, episode: RecordedEpisode, column: str) -> np.ndarray:
        """What a column has of an episode, in the order of its moments, as many as are said [T]."""
        file = self.table(episode)
        rows, steps, values = _column(file, column)
        own = np.flatnonzero(rows == episode.number)
        own = own[np.argsort(steps[own], kind="stable")]
        if len(own) != episode.length or not len(own):
            raise ValueError(
                f"{readable(file)} has {len(own)} of the {episode.length} moments of episode "
                f"{episode.number}: {FETCHED}, or leave the episode out of meta/"
            )
        return values[own]


def _of_depth(info: object) -> bool:
    """Whether a camera's pictures are distances and no colours."""
    return isinstance(info, dict) and bool(info.get("video.is_depth_map"))


def _names(said: object, count: int) -> tuple[str, ...]:
    """Of an action's numbers, however deep they are listed; their places where there are none."""

    def strings(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict | list):
            for one in node.values() if isinstance(node, dict) else node:
                yield from strings(one)

    found = tuple(strings(said))
    return found if len(found) == count else tuple(str(place) for place in range(count))


def _columns_of(file: Path) -> list[str]:
    """The columns of a table of episodes without their statistics."""
    names = open_parquet(file).schema_arrow.names
    return [name for name in names if not name.startswith("stats/")]


@functools.lru_cache(maxsize=16)  # threads read episode after episode of few files
def _column(file: Path, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row of a table the episode, the moment in it, and a column's value."""
    table = open_parquet(file)
    if missing := {EPISODE, STEP, column} - set(table.schema_arrow.names):
        raise ValueError(
            f"{readable(file)} lacks the column {', '.join(map(readable, sorted(missing)))}: "
            "convert it anew"
        )
    rows = table.read(columns=[EPISODE, STEP, column])
    values = rows.column(column)
    kept = np.empty(len(values), dtype=object)
    kept[:] = values.to_numpy() if column == ACTION else values.to_pylist()
    return rows.column(EPISODE).to_numpy(), rows.column(STEP).to_numpy(), kept
