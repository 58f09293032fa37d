"""Class folders of files, of whatever kind, as a data set in memory or read as it is needed.

Which folders are splits is told in `bench.core.data.splits`: `root/<class>/*` is split into train
and held-out, stratified and fixed; `root/train/<class>/*` beside `root/test/<class>/*` (or `val`)
keeps its own split. What is read is kept in the cache for the next who asks.

A data set of another kind of file says what a file is (`Kind`) and how one is read (`read`).
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import Indices, PictureData, stratified_split
from bench.core.data.decoded import attempted, decoded, kept
from bench.core.data.pictures import Listing, list_pictures, readable, visible_folders
from bench.core.data.splits import check_apart, find_layout
from bench.core.model.tokens import TokenGrid

IN_MEMORY_BYTES = 2 * 1024**3
REMARKS = 3  # that are said each; of more, how many


@dataclass(frozen=True)
class Kind:
    """What the files of a data set are, for messages: "picture", <picture>.png (or jpg, ...).

    suffixes: in small letters, of the files that count; decoder: another one wherever a file is
    read as something else, since caches are named so; threads: that read files.
    """

    one: str
    example: str
    suffixes: frozenset[str]
    decoder: int
    threads: int = 8


def labelled_files(folder: Path, kind: Kind) -> tuple[list[str], Listing, np.ndarray]:
    """Class names, files in order of their classes, and their labels.

    Raises ValueError for a folder that is empty or cannot be read.
    """
    classes = visible_folders(folder)
    listing = list_pictures(folder, kind.suffixes)
    number = {name: i for i, name in enumerate(classes)}
    in_class = [path for path in listing.paths if path.parent != folder]
    beside = len(listing.paths) - len(in_class)
    if not in_class:
        what = f" ({beside} lie right in it)" if beside else ""
        raise ValueError(
            f"data.root={readable(folder)} holds no {kind.one}s in class folders{what}: expected "
            f"{readable(folder)}/<class>/<{kind.one}>{kind.example}{_found(listing)}"
        )
    labels = np.array([number[path.relative_to(folder).parts[0]] for path in in_class], np.int64)
    sizes = np.bincount(labels, minlength=len(classes))
    empty = [readable(name) for name, size in zip(classes, sizes, strict=True) if not size]
    if empty:
        raise ValueError(
            f"data.root={readable(folder)}: the class folder(s) {', '.join(empty)} hold no "
            f"{kind.one}s: fill or remove them{_found(listing)}"
        )
    remarks = [f"{beside} {kind.one}(s) beside the class folders are left out"] if beside else []
    return classes, replace(listing, paths=in_class, remarks=remarks + listing.remarks), labels


def _remarks(listing: Listing) -> list[str]:
    """What has to be said of what is not used; of many links, how many."""
    said = listing.remarks[:REMARKS]
    if len(listing.remarks) > REMARKS:
        said.append(f"and {len(listing.remarks) - REMARKS} more such")
    return said + ([f"other files: {listing.left_out()}"] if listing.others else [])


def _found(listing: Listing) -> str:
    return "".join(f"; {remark}" for remark in _remarks(listing))


def share_out(
    labels: np.ndarray, classes: Sequence[str], share: float, root: Path, one: str
) -> dict[str, np.ndarray]:
    """Places of the training and the held-out part, stratified, with every class on both sides.

    root, one: of the data set and its examples, for messages. Raises ValueError for a class of one
    example, and for a share that leaves too few.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if alone := [readable(name) for name, n in zip(classes, counts, strict=True) if n < 2]:
        raise ValueError(
            f"data.root={readable(root)}: class {', '.join(alone)} has one "
            f"{one}, and both splits need one: add more or remove it"
        )
    count = max(len(classes), round(share * len(labels)))
    if not 0 < share < 1 or len(labels) - count < len(classes):
        raise ValueError(
            f"data.heldout={share} leaves too few of {len(labels)} {one}s for "
            f"{len(classes)} classes: choose another share"
        )
    train, heldout = stratified_split(labels, count)
    # one example is moved for each class that a part lacks: a rare class rounds to none
    for label in np.unique(labels):
        if not (labels[heldout] == label).any():
            moved = train[labels[train] == label][-1]
            train, heldout = train[train != moved], np.sort(np.append(heldout, moved))
        elif not (labels[train] == label).any():
            moved = heldout[labels[heldout] == label][-1]
            train, heldout = np.sort(np.append(train, moved)), heldout[heldout != moved]
    return {"train": train, "heldout": heldout}


class ClassFolders(PictureData):
    """Class folders of files of one kind.

    shape: uint8 numbers of one that is read, [channels, *axes]; read_as: all that `read` depends on
    beside the file, with a `repr` that says it; in_memory: None decides by size (up to 2 GiB);
    cache: where what is read is kept for the next who asks, None for nowhere.
    """

    kind: ClassVar[Kind]
    remarks: Sequence[str]

    def __init__(
        self,
        name: str,
        root: str | None,
        grid: TokenGrid,
        shape: tuple[int, ...],
        read_as: object,
        heldout: float,
        skip_damaged: bool,
        in_memory: bool | None,
        *,
        cache: Path | None = None,
    ):
        if not root:
            raise ValueError(
                f"data={name} needs a folder: data.root=DIR with one folder of {self.kind.one}s a "
                "class"
            )
        self.noun = self.kind.one
        self.root, self.skip_damaged, self._read_as = Path(root).expanduser(), skip_damaged, read_as
        names, self.files, labels = self._find(heldout)
        count = sum(len(files) for files in self.files.values())
        fits = count * int(np.prod(shape)) <= IN_MEMORY_BYTES
        self.in_memory = fits if in_memory is None else in_memory
        tensors = {split: torch.from_numpy(of_split) for split, of_split in labels.items()}
        kept = self._all(name, cache) if self.in_memory else {}
        super().__init__(name, grid, len(names), kept, tensors, names)
        if not self.in_memory:
            self.fingerprint = self._fingerprint_of_files()

    @abstractmethod
    def read(self, path: Path) -> Tensor:
        """A file as uint8 `shape`. Raises ValueError naming one that cannot be read."""

    def parts(self, path: Path) -> list[Path]:
        """The files that an example is read from: where it is one file, that."""
        return [path]

    def examples_in(
        self, folder: Path, listing: Listing, labels: np.ndarray
    ) -> tuple[Listing, np.ndarray]:
        """The examples that files of a split's folder are, and their labels: each is one."""
        return listing, labels

    def fingerprints(self) -> dict[str, str]:
        """Of names and sizes of the files, and in memory of the content too: data.in_memory may
        change.
        """
        files = {"files": self._fingerprint_of_files()}
        return files | {"data": self.fingerprint} if self.in_memory else files

    def _labelled_files(self, folder: Path) -> tuple[list[str], Listing, np.ndarray]:
        """As `labelled_files`, without damaged files where the user allows that.

        Raises ValueError for a class without.
        """
        classes, listing, labels = labelled_files(folder, self.kind)
        listing, labels = self.examples_in(folder, listing, labels)
        self.remarks = [*self.remarks, *_remarks(listing)]
        if not self.skip_damaged:
            return classes, listing, labels
        what = f"checking {readable(folder.name)}"
        tried = attempted(listing.paths, self.read, what, self.kind.threads)
        good = np.array([not isinstance(one, ValueError) for one in tried])
        for path in (p for p, fine in zip(listing.paths, good, strict=True) if not fine):
            print(f"warning: {readable(path)} is damaged and left out (data.skip_damaged=true)")
        gone = [readable(n) for i, n in enumerate(classes) if not (labels[good] == i).any()]
        if gone:
            raise ValueError(
                f"data.root={readable(folder)}: no {self.kind.one} of class {', '.join(gone)} "
                "can be read: mend some"
            )
        fine = [path for path, fine in zip(listing.paths, good, strict=True) if fine]
        return classes, replace(listing, paths=fine), labels[good]

    def _find(self, share: float) -> tuple[list[str], dict[str, list[Path]], dict[str, np.ndarray]]:
        # folders with a split of their own
        layout = find_layout(self.root)
        self.remarks = layout.remarks
        classes, listing, labels = self._labelled_files(layout.train)
        if layout.heldout:
            held_classes, held, held_labels = self._labelled_files(layout.heldout)
            if held_classes != classes:
                odd = ", ".join(map(readable, sorted(set(classes) ^ set(held_classes))))
                raise ValueError(
                    f"data.root={readable(self.root)}: {layout.train.name} and "
                    f"{layout.heldout.name} have unlike class folders ({odd}): make them the same"
                )
            check_apart(listing, held)
            both = {"train": listing.paths, "heldout": held.paths}
            return classes, both, {"train": labels, "heldout": held_labels}

        # else a stratified share
        files = listing.paths
        parts = share_out(labels, classes, share, self.root, self.kind.one)
        found = {split: [files[i] for i in rows] for split, rows in parts.items()}
        return classes, found, {split: labels[rows] for split, rows in parts.items()}

    def _all(self, name: str, cache: Path | None) -> dict[str, Tensor]:
        """uint8 [n, *shape] of both splits, from the cache or read."""

        def read(split: str) -> Tensor:
            return decoded(self.files[split], self.read, f"reading {split}", self.kind.threads)

        # the files' times as well: one may be mended without changing its size
        read_as = f"{self._read_as!r}, decoder {self.kind.decoder}"
        key = f"{name}-{self._hash_of_files(read_as, with_times=True)}" if cache else ""
        place = cache / f"{self.kind.one}s" / key if cache else None
        return kept(place, tuple(self.files), read, self.kind.one)

    def _fingerprint_of_files(self) -> str:
        return self._hash_of_files(repr((self.grid, self._read_as)))

    def _hash_of_files(self, read_as: str, with_times: bool = False) -> str:
        digest = hashlib.sha256(read_as.encode())
        for split, paths in self.files.items():
            for path in paths:
                for part in self.parts(path):
                    name, status = part.relative_to(self.root), part.stat()
                    digest.update(os.fsencode(f"{split}/{name}/{status.st_size}"))
                    if with_times:
                        digest.update(f"@{status.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def images(self, split: str, indices: Indices = slice(None)) -> Tensor:
        if self.in_memory:
            return super().images(split, indices)
        return torch.stack([self.read(path) for path in self.paths(split, indices)])

    def paths(self, split: str, indices: Indices) -> list[Path]:
        """The files of these examples."""
        files = self.files[split]
        return files[indices] if isinstance(indices, slice) else [files[int(i)] for i in indices]
