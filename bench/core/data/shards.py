"""Arrays on disk in shards: what `bench.latents` writes and data=imagenet256 reads.

    latents/index.json                      what they were made from, by which VAE, every SHA-256
    latents/train/moments-00000.npy         float32 [4096, 8, 32, 32], images-00000.npy beside it
    latents/train/shard-00000.json          how many, and their SHA-256: the shard is whole
    latents/train/labels.npy                int64 [n]

    index = read_index(Path("latents"))
    rows = ShardedRows(Path("latents"), index.splits["train"], "moments")
    rows[np.array([5, 70000])]              # float32 [2, 8, 32, 32]

Rows are read and not memory-mapped: a mapped page counts as the process's once it was touched, and
over a network it is asked for in pieces of a few kilobytes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.model.streams import generator
from bench.core.store.files import atomic, file_hash, read_json, short_hash, write_json

FORMAT = 1
INDEX_FILE = "index.json"
OPEN_FILES = 384  # of an array: two fit into the 1,024 that a process usually may have
PIECE = 1 << 22  # bytes of one reading of a whole file
LABELS_FILE = "labels.npy"
TEXTS_FILE = "texts.npy"  # UTF-8 as uint8, a line each, of examples that have texts
DTYPES = {"moments": np.dtype(np.float32), "mirrored": np.dtype(np.float32),
          "images": np.dtype(np.uint8)}  # fmt: skip


@dataclass(frozen=True)
class SplitIndex:
    """A split: name, number of pictures, pictures a shard (the last may have fewer), the shape of a
    row of each array, SHA-256 of the labels, of each array's file shard by shard, and of the texts,
    "" where there are none.
    """

    name: str
    count: int
    per_shard: int
    shapes: Mapping[str, tuple[int, ...]]
    labels: str
    shards: tuple[Mapping[str, str], ...]
    texts: str = ""

    def rows_of(self, shard: int) -> int:
        """Rows of a shard."""
        return min(self.per_shard, self.count - shard * self.per_shard)

    def path(self, array: str, shard: int) -> Path:
        """The file of an array's shard, below the folder of all."""
        return Path(self.name) / f"{array}-{shard:05d}.npy"


@dataclass(frozen=True)
class Index:
    """Of a folder: vae {name, encoder: hash of its weights, scale}; made_from: what of the pictures
    and how; versions: of the libraries that made it.
    """

    vae: Mapping[str, object]
    made_from: Mapping[str, object]
    versions: Mapping[str, str]
    splits: Mapping[str, SplitIndex]

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of all that is in the shards."""
        splits = {name: asdict(split) for name, split in self.splits.items()}
        for split in splits.values():  # which was of no index while there were none
            if not split["texts"]:
                del split["texts"]
        return short_hash(splits) + short_hash([dict(self.vae), splits])


def write_index(root: Path, index: Index) -> None:
    """Write it, whole."""
    write_json(root / INDEX_FILE, {"format": FORMAT} | asdict(index))


def read_index(root: Path) -> Index | None:
    """The index of a folder, None where it has none. Raises ValueError for another format."""
    if not (root / INDEX_FILE).exists():
        return None
    stored = read_json(root / INDEX_FILE)
    if stored.pop("format", None) != FORMAT:
        raise ValueError(
            f"{root / INDEX_FILE} is not of format {FORMAT}, which this version reads: it was "
            "damaged, or written by another version of python -m bench.latents"
        )
    try:
        splits = {
            name: SplitIndex(
                **split
                | {
                    "shapes": {key: tuple(shape) for key, shape in split["shapes"].items()},
                    "shards": tuple(split["shards"]),
                }
            )
            for name, split in stored.pop("splits").items()
        }
        return Index(**stored, splits=splits)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{root / INDEX_FILE} is damaged ({error}): make it again") from error


# A shard ------------------------------------------------------------------------------------------


def record_of(folder: Path, shard: int) -> Path:
    """The file that says that a shard is whole."""
    return folder / f"shard-{shard:05d}.json"


def write_shard(folder: Path, shard: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a shard's arrays and then its record: it is whole or not there. Raises OSError, clearly
    when the disk is full.
    """
    digests = {}
    for name, array in arrays.items():
        with atomic(folder / f"{name}-{shard:05d}.npy", needed=array.nbytes) as temporary:
            with open(temporary, "wb") as file:
                np.save(file, array)
            digests[name] = file_hash(temporary)
    write_json(record_of(folder, shard), digests)


def read_shard(folder: Path, shard: int) -> Mapping[str, str] | None:
    """SHA-256 of its arrays' files, None where it is not whole."""
    record = read_json(record_of(folder, shard))
    there = record and all((folder / f"{name}-{shard:05d}.npy").is_file() for name in record)
    return record if there else None


def damaged(root: Path, index: Index) -> Iterator[tuple[Path, str]]:
    """Every file of the index, and what is wrong with it: "" where it is as it was written."""
    for split in index.splits.values():
        for path, digest in [
            (Path(split.name) / LABELS_FILE, split.labels),
            *([(Path(split.name) / TEXTS_FILE, split.texts)] if split.texts else []),
            *((split.path(name, k), s[name]) for k, s in enumerate(split.shards) for name in s),
        ]:
            try:
                wrong = (
                    "" if file_hash(root / path) == digest else "has other bytes than were written"
                )
            except OSError as error:
                wrong = f"cannot be read ({error.strerror})"
            yield path, wrong


# Rows ---------------------------------------------------------------------------------------------


class ShardedRows:
    """One array of a split, [n, ...], read row by row. Raises ValueError naming a shard whose file
    is missing or cut.

    whole: a shard of which a row is read is read whole beside it, into the memory of the operating
    system that all processes share: where reading rows of many files costs an answer of a server
    each.
    """

    def __init__(self, root: Path, split: SplitIndex, array: str, whole: bool = False):
        self.dtype, row = DTYPES[array], split.shapes[array]
        self.whole = whole
        self.shape = (split.count, *row)
        self.per_shard = split.per_shard
        self.row_bytes = int(np.prod(row)) * self.dtype.itemsize
        self.paths = [root / split.path(array, shard) for shard in range(len(split.shards))]
        self._open, self._opening = OrderedDict[int, FileIO](), threading.Lock()
        # the head of each file is as long as the first one's
        with open(self.paths[0], "rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            self.head = file.tell()
        for shard, path in enumerate(self.paths):
            whole = self.head + split.rows_of(shard) * self.row_bytes
            size = path.stat().st_size if path.is_file() else 0
            if size != whole:
                raise ValueError(
                    f"{path} has {size} bytes and not {whole}: it is damaged; remove it, and "
                    "the command that made it makes it again"
                )

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, which: np.ndarray | slice) -> np.ndarray:
        rows = np.arange(*which.indices(len(self))) if isinstance(which, slice) else which
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        target = found.data.cast("B") if len(rows) else memoryview(b"")
        for place, row in enumerate(rows.tolist()):
            shard, inside = divmod(row, self.per_shard)
            into = target[place * self.row_bytes : (place + 1) * self.row_bytes]
            offset = self.head + inside * self.row_bytes
            file = self._file(shard)
            if os.preadv(file.fileno(), [into], offset) != self.row_bytes:
                raise ValueError(f"{self.paths[shard]} was cut while it was read")
        return found

    def _file(self, shard: int) -> FileIO:
        with self._opening:
            if shard in self._open:
                self._open.move_to_end(shard)
            else:
                if len(self._open) == OPEN_FILES:  # closed once no thread reads it any more
                    self._open.popitem(last=False)
                self._open[shard] = FileIO(self.paths[shard])
                if self.whole:
                    threading.Thread(target=_read_through, args=(self.paths[shard],)).start()
            return self._open[shard]


def _read_through(path: Path) -> None:
    piece = bytearray(PIECE)
    with (
        contextlib.suppress(OSError),
        FileIO(path) as file,
    ):  # what is wrong, the reading of rows says
        while file.readinto(piece):
            pass


@functools.lru_cache(maxsize=4)  # steps of one epoch ask for the same, a million numbers long
def epoch_by_shards(
    seed: int, epoch: int, count: int, per_shard: int, at_once: int, copies: int
) -> Tensor:
    """The order of an epoch, int64 [copies * count], in which the rows of `at_once` shards, drawn
    at random, are shuffled before those of the next.

    copies: of each picture, row, row + count, ...: its mirror image comes with its shard.
    """
    draw = generator(seed, "order", epoch)
    shards = torch.arange(count).split(per_shard)
    order = torch.randperm(len(shards), generator=draw).tolist()
    parts = []
    for first in range(0, len(shards), at_once):
        rows = torch.cat([shards[shard] for shard in order[first : first + at_once]])
        rows = torch.cat([rows + copy * count for copy in range(copies)])
        parts.append(rows[torch.randperm(len(rows), generator=draw)])
    return torch.cat(parts)
