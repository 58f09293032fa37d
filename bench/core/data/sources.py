"""Labelled pictures wherever they lie, for what reads each once: class folders, WebDataset tars, or
parquet as Hugging Face writes it.

    splits, found = find_pictures(Path("imagenet"), heldout=0.02)    # {"train", "heldout"}
    splits["train"].read(17, side=256)                               # PIL, as `read_picture` gives

Tars hold KEY.jpg (or any other picture) beside KEY.cls, a whole number, or KEY.json with "label".
Parquet holds a column of pictures, {bytes, path} or bytes, and one of whole numbers, "label" where
there are several. Which split a file is of, its name or its folder says (train-00000-of-00294.
parquet, val/0003.tar); where none is held out, a share of the training part is.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.data.base import described
from bench.core.data.class_folders import ClassFolders, share_out
from bench.core.data.folder import FolderData
from bench.core.data.parquet import open_parquet
from bench.core.data.pictures import (
    list_pictures,
    part_of_file,
    read_picture,
    readable,
)
from bench.core.data.splits import HELDOUT, TRAIN
from bench.core.data.tars import member_name, read_tar

if TYPE_CHECKING:
    from PIL.Image import Image

ARCHIVES = {".tar": "tar", ".parquet": "parquet"}
UNLABELLED = -1  # the label of a test split that keeps its labels to itself


@dataclass(frozen=True)
class LabelledPictures:
    """The pictures of a split, in order.

    kind: "file", "tar" or "parquet"; files: their paths below root; of each picture: file, which of
    them; place, [n, 2], where in it (first byte and bytes of a tar's, row group and row of
    parquet's); label; texts: of each, where they have one.
    """

    root: Path
    kind: str
    files: Sequence[str]
    file: np.ndarray
    place: np.ndarray
    labels: np.ndarray
    texts: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: np.ndarray) -> LabelledPictures:
        """Some of them."""
        texts = [self.texts[row] for row in np.arange(len(self))[rows]] if self.texts else ()
        own = self.file[rows], self.place[rows], self.labels[rows]
        return replace(self, file=own[0], place=own[1], labels=own[2], texts=texts)

    def path(self, index: int) -> Path:
        """The file of one."""
        return self.root / self.files[int(self.file[index])]

    def read(self, index: int, side: int) -> Image:
        """One, for a crop of that side. Raises ValueError naming one that cannot be read."""
        path = self.path(index)
        first, second = map(int, self.place[index])
        if self.kind == "file":
            return read_picture(path, side)
        if self.kind == "tar":
            member = path / member_name(path, first)
            return read_picture(member, side, lambda: part_of_file(path, first, second))
        row = path / f"row {second} of row group {first}"
        return read_picture(row, side, lambda: _row_group(path, first)[second])

    def digest(self) -> str:
        """16 hexadecimal digits of names, places and labels."""
        found = hashlib.sha256(os.fsencode("\0".join(self.files)))
        for part in (self.file, self.place, self.labels):
            found.update(np.ascontiguousarray(part, np.int64).tobytes())
        for text in self.texts:
            found.update(f"{text}\n".encode())
        return found.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """As .npz, for `load`."""
        names = np.frombuffer(os.fsencode("\0".join(self.files)), np.uint8)
        kind, own = np.array(self.kind), (self.file, self.place, self.labels)
        if not self.texts:
            np.savez(path, kind=kind, names=names, of=own[0], place=own[1], labels=own[2])
            return
        said = as_utf8(self.texts)
        np.savez(path, kind=kind, names=names, of=own[0], place=own[1], labels=own[2], texts=said)

    @classmethod
    def load(cls, path: Path, root: Path) -> LabelledPictures:
        """What `save` wrote, of pictures below `root`."""
        with np.load(path) as parts:
            names = os.fsdecode(parts["names"].tobytes()).split("\0")
            rest = (parts["of"], parts["place"], parts["labels"])
            texts = from_utf8(parts["texts"]) if "texts" in parts else ()
            return cls(root, str(parts["kind"]), names, *rest, texts)

    @classmethod
    def of_files(cls, data: ClassFolders) -> dict[str, LabelledPictures]:
        """The files of both splits of class folders."""
        found: dict[str, LabelledPictures] = {}
        for split, paths in data.files.items():
            names, n = [str(path.relative_to(data.root)) for path in paths], len(paths)
            labels = data.labels(split).numpy()
            places = np.zeros((n, 2), np.int64)
            found[split] = cls(data.root, "file", names, np.arange(n), places, labels)
        return found


def as_utf8(texts: Sequence[str]) -> np.ndarray:
    """Texts of one line each as bytes, uint8, for `from_utf8`."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def from_utf8(content: np.ndarray) -> list[str]:
    """What `as_utf8` was given."""
    return content.tobytes().decode().split("\n")


def find_pictures(root: Path, heldout: float) -> tuple[dict[str, LabelledPictures], str]:
    """The training and the held-out pictures below a folder, and what was found, in words.

    heldout: share that is held out where no split says so. Raises ValueError for what cannot be
    told apart or has no labels.
    """
    archives = list_pictures(root, frozenset(ARCHIVES)).paths
    if not archives:
        data = FolderData("pictures", str(root), 8, 8, heldout, False, False)
        return LabelledPictures.of_files(data), described(data)
    kinds = {ARCHIVES[path.suffix.lower()] for path in archives}
    if len(kinds) > 1:
        raise ValueError(f"data.root={readable(root)} holds tars and parquet: keep one of them")
    listing = {"tar": _list_tars, "parquet": _list_parquet}[kinds.pop()]
    named = _splits_by_name(root, archives)
    train, remarks = listing(root, named.pop("train")), list[str]()
    if (train.labels == UNLABELLED).any():
        raise ValueError(
            f"data.root={readable(root)}: {int((train.labels == UNLABELLED).sum())} training "
            "pictures have no label: tars need KEY.cls or KEY.json beside KEY.jpg, parquet a "
            "column label; a tar a class is to be unpacked into class folders"
        )
    held = None
    for name, paths in named.items():
        found = listing(root, paths)
        if (found.labels == UNLABELLED).all():
            remarks.append(f"not used: {name}, which has no labels")
        elif held is None:
            held = found
            remarks.append(f"held out is {name}")
        else:
            remarks.append(f"not used: {name}")
    if held is None:
        names = [str(number) for number in range(int(train.labels.max()) + 1)]
        parts = share_out(train.labels, names, heldout, root, "picture")
        train, held = train.at(parts["train"]), train.at(parts["heldout"])
    classes = int(max(train.labels.max(), held.labels.max())) + 1
    said = (
        f"{len(train) + len(held)} pictures of {classes} classes in {len(archives)} file(s) "
        f"({len(train)} training, {len(held)} held out)"
    )
    return {"train": train, "heldout": held}, "; ".join([said, *remarks])


def _splits_by_name(root: Path, archives: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by split: train, then others in the order in which they would be held out."""
    found: dict[str, list[Path]] = {}
    for path in archives:
        words = set(re.split("[^a-z]+", str(path.relative_to(root)).casefold()))
        split = next((name for name in HELDOUT if name in words), "")
        found.setdefault("train" if words & {*TRAIN} else split, []).append(path)
    unnamed = found.pop("", [])
    if unnamed and found:
        raise ValueError(
            f"data.root={readable(root)}: {readable(unnamed[0].relative_to(root))} says not of "
            f"which split it is, and others do ({', '.join(found)}): name it train-*, or move it"
        )
    train = unnamed or found.pop("train", [])
    if not train:
        raise ValueError(
            f"data.root={readable(root)} holds {', '.join(found)} and no training split: name its "
            "files train-*"
        )
    return {"train": train} | {name: found[name] for name in HELDOUT if name in found}


# Tars ---------------------------------------------------------------------------------------------


def _list_tars(root: Path, paths: Sequence[Path]) -> LabelledPictures:
    """Pictures of WebDataset tars, as they follow each other."""
    which, places, labels = list[int](), list[tuple[int, int]](), list[int]()
    for number, path in enumerate(paths):
        pictures, beside = read_tar(path, (".json", ".cls"))
        try:
            said = dict(_said(beside))
        except ValueError as error:
            raise ValueError(f"{readable(path)}: {error}") from error
        which += [number] * len(pictures)
        places += [(member.offset_data, member.size) for member in pictures.values()]
        labels += [said.get(key, UNLABELLED) for key in pictures]
    names = [str(path.relative_to(root)) for path in paths]
    if not labels:
        raise ValueError(f"{readable(paths[0])} and {len(paths) - 1} more hold no pictures")
    return LabelledPictures(
        root, "tar", names, np.array(which), np.array(places, np.int64), np.array(labels, np.int64)
    )


def _said(beside: Mapping[str, Mapping[str, bytes]]) -> Iterator[tuple[str, int]]:
    """(key, label) of what lies beside pictures; JSON may be about something else."""
    for key, content in beside[".json"].items():
        label = json.loads(content).get("label")
        if label is not None:
            yield key, _whole(label)
    for key, content in beside[".cls"].items():
        yield key, _whole(content.decode().strip())


def _whole(label: object) -> int:
    try:
        return int(str(label))
    except ValueError:
        raise ValueError(
            f"label {readable(label)} is no whole number: number the classes"
        ) from None


# Parquet ------------------------------------------------------------------------------------------


def _list_parquet(root: Path, paths: Sequence[Path]) -> LabelledPictures:
    """Pictures of parquet files, row by row."""
    which, places, labels = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for number, path in enumerate(paths):
        file = open_parquet(path)
        label = _columns(path)[1]
        for group in range(file.num_row_groups):
            column = file.read_row_group(group, columns=[label]).column(label)
            own = column.fill_null(UNLABELLED).to_numpy().astype(np.int64)
            rows = np.arange(len(own))
            which.append(np.full(len(own), number))
            places.append(np.stack([np.full(len(own), group), rows], axis=1))
            labels.append(own)
    names = [str(path.relative_to(root)) for path in paths]
    of, place, label_of = (np.concatenate(part) for part in (which, places, labels))
    return LabelledPictures(root, "parquet", names, of, place, label_of)


@functools.lru_cache(maxsize=64)
def _columns(path: Path) -> tuple[str, str]:
    """Names of the columns of pictures and of labels."""
    from pyarrow import types

    schema = open_parquet(path).schema_arrow
    of_bytes = [
        field.name
        for field in schema
        if types.is_binary(field.type)
        or types.is_large_binary(field.type)
        or (types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    whole = [field.name for field in schema if types.is_integer(field.type)]
    label = ["label"] if "label" in whole else whole
    if len(of_bytes) != 1 or len(label) != 1:
        raise ValueError(
            f"{readable(path)} has the columns {', '.join(schema.names)}: expected one of pictures "
            "(a struct with bytes) and label, a whole number"
        )
    return of_bytes[0], label[0]


@functools.lru_cache(maxsize=2)  # a worker reads row after row
def _row_group(path: Path, group: int) -> list[bytes]:
    column = _columns(path)[0]
    rows = open_parquet(path).read_row_group(group, columns=[column]).column(column).to_pylist()
    return [row["bytes"] if isinstance(row, dict) else row for row in rows]
