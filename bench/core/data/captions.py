"""Pictures with captions as a data set, text to image: NAME.png beside NAME.txt, in folders of any
depth, or WebDataset tars that hold KEY.jpg beside KEY.txt.

A caption is the first line of its file. Captions of the held-out split are in no training picture:
`train/` beside `test/` (or `val`) keep their own split, and else a share of the captions is held
out. A picture's label, which distances and probes read, is the most frequent word of its caption
that fewer than half of all captions have.

    python -m bench.run data=captions data.root=DIR method=selfflow
    python -m bench.run data=captions data.root=DIR data.text=clip_text    # frozen, staged
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.core.data.class_folders import IN_MEMORY_BYTES
from bench.core.data.decoded import decoded, kept
from bench.core.data.folder import cropped
from bench.core.data.pictures import (
    DECODER,
    list_pictures,
    part_of_file,
    read_picture,
    readable,
)
from bench.core.data.splits import HELDOUT, TRAIN
from bench.core.data.tars import read_tar
from bench.core.data.text_encoders import read_texts
from bench.core.data.texts import TextedPictures, texts_held_out
from bench.core.model.conditions import Bytes
from bench.core.model.tokens import TokenGrid

CAPTION = ".txt"
MOST_KINDS = 16  # words that captions are told apart by
RAREST = 4  # captions that such a word has at least
THREADS = 8


@dataclass(frozen=True)
class Captioned:
    """A picture and its caption. where: for messages; picture: a file, or a member of a tar, whose
    content begins at a byte.
    """

    where: Path
    text: str
    picture: Path
    first: int = 0
    size: int = 0

    def read(self, side: int) -> Tensor:
        """uint8 [3, side, side]: the short side resized, then the centre."""
        content = partial(part_of_file, self.picture, self.first, self.size) if self.size else None
        return cropped(read_picture(self.where, side, content), side)


class Captions(TextedPictures):
    """root: the folder; size: pixels of a side; length: bytes of a caption at most; heldout: share
    of the captions that is held out where the folder has no split of its own; cache: where decoded
    pictures are kept for the next who asks; text: bytes, or the frozen encoder whose features a
    model is told (`bench.core.data.text_encoders`).

    Raises ValueError for pictures without a caption, and for captions that are empty, too long, not
    UTF-8 or all the same, naming one.
    """

    remarks: Sequence[str]

    def __init__(
        self,
        name: str,
        root: str | None,
        size: int,
        patch: int,
        length: int,
        heldout: float,
        text: str = "bytes",
        *,
        cache: Path | None = None,
    ):
        if not root:
            raise ValueError(
                f"data={name} needs a folder: data.root=DIR with NAME.txt beside each NAME.png, or "
                "tars of both"
            )
        folder = Path(root).expanduser()
        found, remarks = find_captions(folder, length)
        splits = split_captions(found, folder, heldout)
        need = len(found) * 3 * size**2
        if need > IN_MEMORY_BYTES:
            raise ValueError(
                f"{len(found)} pictures of {size} x {size} take {need / 1e9:.2g} GB of memory, and "
                f"{IN_MEMORY_BYTES / 1e9:.2g} are allowed: choose a smaller data.size"
            )
        pictures = _pictures(splits, size, name, cache)
        texts = {split: [one.text for one in of] for split, of in splits.items()}
        names, labels = kinds(texts)
        grid = TokenGrid((size, size), patch, 3)
        read = None if text == "bytes" else partial(read_texts, text, cache=cache)
        super().__init__(name, grid, length, texts, pictures, labels, names, read)
        told = "" if read is None else f", told as {text}'s features"
        self.remarks = [f"captions of at most {length} bytes{told}", *remarks]


def find_captions(root: Path, length: int) -> tuple[list[Captioned], list[str]]:
    """The captioned pictures below a folder, sorted, and what has to be said of it."""
    tars = list_pictures(root, frozenset({".tar"})).paths
    found, more = _in_tars(tars, length) if tars else _in_folders(root, length)
    if len(found) < 2:
        raise ValueError(
            f"data.root={readable(root)} holds {len(found)} captioned pictures: expected NAME.txt "
            "beside each NAME.png, or tars with KEY.txt beside KEY.jpg"
        )
    said = f"the first line of each caption file is read; {more} have more"
    return found, [said] if more else []


def _in_folders(root: Path, length: int) -> tuple[list[Captioned], int]:
    found, more = list[Captioned](), 0
    for path in list_pictures(root).paths:
        beside = path.with_suffix(CAPTION)
        if not beside.is_file():
            raise ValueError(
                f"{readable(path)} has no caption: write {readable(beside.name)} beside it, or "
                "remove it"
            )
        text, lines = _caption(beside.read_bytes(), beside, length)
        found.append(Captioned(path, text, path))
        more += lines > 1
    return found, more


def _in_tars(tars: Sequence[Path], length: int) -> tuple[list[Captioned], int]:
    found, more = list[Captioned](), 0
    for tar in tars:
        pictures, beside = read_tar(tar, (CAPTION,))
        captions = beside[CAPTION]
        for stem, member in pictures.items():
            where = tar / member.name
            if stem not in captions:
                raise ValueError(f"{readable(where)} has no caption: add {readable(stem)}.txt")
            text, lines = _caption(captions[stem], tar / f"{stem}{CAPTION}", length)
            found.append(Captioned(where, text, tar, member.offset_data, member.size))
            more += lines > 1
    return found, more


def _caption(content: bytes, where: Path, length: int) -> tuple[str, int]:
    """The caption of a file's content and how many lines it has."""
    try:
        lines = [" ".join(line.split()) for line in content.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{readable(where)} is not UTF-8 ({error.reason}): save it as UTF-8"
        ) from error
    filled = [line for line in lines if line]
    text = filled[0] if filled else ""
    try:
        Bytes(length).encode([text])
    except ValueError as error:
        raise ValueError(f"{readable(where)}: {error} (data.length={length})") from error
    return text, len(filled)


def split_captions(
    found: Sequence[Captioned], root: Path, share: float
) -> dict[str, Sequence[Captioned]]:
    """The training and the held-out pictures; no caption is in both."""
    of: dict[str, list[Captioned]] = {}
    for one in found:
        of.setdefault(_split_of(one, root), []).append(one)
    held = next((name for name in HELDOUT if name in of), None)
    if held and "train" in of:
        if rest := of.get("", []):
            raise ValueError(
                f"data.root={readable(root)}: {readable(rest[0].where)} and {len(rest) - 1} more "
                f"are of no split, and others are of train and {held}: move them into one"
            )
        known = {one.text for one in of["train"]}
        unseen = [one for one in of[held] if one.text not in known]
        if len(unseen) < 2:
            raise ValueError(
                f"data.root={readable(root)}: of {len(of[held])} captions in {held} "
                f"{len(unseen)} are in no training picture, and samples are asked for such ones: "
                "leave out the split, and a share of the captions is held out"
            )
        return {"train": of["train"], "heldout": unseen}
    unseen_texts = texts_held_out({one.text for one in found}, share, "captions")
    return {
        "train": [one for one in found if one.text not in unseen_texts],
        "heldout": [one for one in found if one.text in unseen_texts],
    }


def _split_of(one: Captioned, root: Path) -> str:
    """The split that its folder, or its tar's name, says; "" where neither does."""
    folder, *below = one.picture.relative_to(root).parts
    if not below and not one.size:  # a picture of its own is named for what it shows
        return ""
    name = re.split("[^a-z_]+", folder.casefold())[0]
    return "train" if name in TRAIN else name if name in HELDOUT else ""


def kinds(texts: dict[str, list[str]]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Names of the kinds of captions, and the kind of each, int64 [n], by split: the most frequent
    word that fewer than half of all captions have; where no word is so, the first letter.
    """
    every = [text for of in texts.values() for text in of]
    counts = Counter(word for text in every for word in _words_of(text))
    usable = [w for w, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
              if RAREST <= n < len(every) / 2][:MOST_KINDS]  # fmt: skip

    def kind(text: str) -> str:
        return next((word for word in usable if word in _words_of(text)), "")

    of_text = kind if len(usable) > 1 else lambda text: text[0].casefold()
    names = sorted({of_text(text) for text in every})
    number = {name: i for i, name in enumerate(names)}
    labels = {split: torch.tensor([number[of_text(t)] for t in of]) for split, of in texts.items()}
    return tuple(name or "other" for name in names), labels


def _words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _pictures(
    splits: Mapping[str, Sequence[Captioned]], size: int, name: str, cache: Path | None
) -> dict[str, Tensor]:
    """uint8 [n, 3, size, size] of both splits, from the cache or read."""

    def read(split: str) -> Tensor:
        of_size = partial(Captioned.read, side=size)
        return decoded(splits[split], of_size, f"reading {split}", THREADS)

    digest = hashlib.sha256(f"{size}, decoder {DECODER}".encode())
    for split, of in splits.items():
        for one in of:
            status = one.picture.stat()
            stamp = (split, str(one.where), one.first, status.st_size, status.st_mtime_ns)
            digest.update(repr(stamp).encode("utf-8", "surrogateescape"))
    place = cache / "captions" / f"{name}-{digest.hexdigest()[:16]}" if cache else None
    return kept(place, tuple(splits), read, "picture")
