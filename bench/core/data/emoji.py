"""Emoji with their names, text to image: Twemoji's pictures in the npm package
emoji-datasource-twitter, 1,911 of them in nine categories, and 1,875 in another skin tone.

A caption is the name in small letters, with the tone behind it: "waving hand sign, dark skin tone".
The pictures of 64 pixels are laid on white and made smaller. A share of the emoji is held out with
all its tones, so that no held-out caption is in training; its category is the label.

    python -m bench.prepare data=emoji                  # with npm, 62 MB
    python -m bench.run data=emoji method=selfflow      # or data.root=DIR of the unpacked package
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.core.data.decoded import decoded, kept
from bench.core.data.pictures import readable
from bench.core.data.texts import TextedPictures, texts_held_out
from bench.core.model.conditions import Bytes
from bench.core.model.tokens import TokenGrid
from bench.core.store.npm import NpmPackage
from bench.core.store.untrusted import parse_json

PACKAGE = NpmPackage(
    "emoji-datasource-twitter", "16.0.0", 62, ("package/emoji.json", "package/img/twitter/64/")
)
TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
NOT_SHOWN = "Component"  # tones and hair by themselves
_DRAWN = 1  # another one wherever a picture is drawn otherwise: caches are named so


class Named(NamedTuple):
    """A picture, its caption, its category, and the emoji whose tone it is."""

    picture: Path
    text: str
    category: str
    emoji: str


class Emoji(TextedPictures):
    """root: the unpacked package, None for the cache's; size: pixels of a side, up to 64; tones:
    with the other skin tones; length: bytes of a caption at most; heldout: share of the emoji.

    Raises ValueError where the package is not there, or is something else.
    """

    def __init__(
        self,
        name: str,
        root: str | None,
        size: int,
        patch: int,
        tones: bool,
        length: int,
        heldout: float,
        *,
        cache: Path | None = None,
    ):
        folder = Path(root).expanduser() if root else PACKAGE.place(cache or Path("."))
        found = find_emoji(folder, tones)
        held = texts_held_out({one.emoji for one in found}, heldout, "emoji")
        splits = {
            "train": [one for one in found if one.emoji not in held],
            "heldout": [one for one in found if one.emoji in held],
        }
        texts = {split: [one.text for one in of] for split, of in splits.items()}
        try:
            for of in texts.values():
                Bytes(length).encode(of)
        except ValueError as error:
            raise ValueError(f"data={name}: {error} (data.length={length})") from error
        categories = sorted({one.category for one in found})
        labels = {
            split: torch.tensor([categories.index(one.category) for one in of])
            for split, of in splits.items()
        }
        pictures = _pictures(splits, size, cache)
        grid = TokenGrid((size, size), patch, 3)
        super().__init__(name, grid, length, texts, pictures, labels, tuple(categories))
        self.remarks = [f"names of at most {length} bytes", f"{len(held)} emoji are held out"]


def find_emoji(folder: Path, tones: bool) -> list[Named]:
    """The emoji of an unpacked package with their captions, each caption once."""
    inside = folder if (folder / "emoji.json").is_file() else folder / "package"
    try:
        listed = parse_json((inside / "emoji.json").read_text(encoding="utf-8"))
        found = [one for entry in listed for one in _of_entry(inside, entry, tones)]
    except FileNotFoundError as error:
        raise ValueError(
            f"{readable(folder)} has no emoji.json: python -m bench.prepare data=emoji fetches "
            f"{PACKAGE.name} with npm, or name its unpacked folder in data.root=DIR"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{readable(inside / 'emoji.json')} is not that of {PACKAGE.name} {PACKAGE.version} "
            f"({error}): unpack the package again"
        ) from error
    return list({one.text: one for one in found}.values())


def _of_entry(inside: Path, entry: Mapping[str, object], tones: bool) -> list[Named]:
    """An emoji, and its skin tones where they are wanted."""
    if entry["category"] == NOT_SHOWN or not entry["has_img_twitter"]:
        return []
    name, category = str(entry["name"]).lower(), str(entry["category"])
    folder = inside / "img" / "twitter" / "64"
    found = [Named(folder / str(entry["image"]), name, category, name)]
    variations = entry.get("skin_variations")
    if tones and isinstance(variations, dict):
        for code, one in variations.items():
            said = " and ".join(TONES[part] for part in code.split("-"))
            if one["has_img_twitter"]:
                text = f"{name}, {said} skin tone"
                found.append(Named(folder / str(one["image"]), text, category, name))
    return found


def drawn(path: Path, size: int) -> Tensor:
    """An emoji on white, uint8 [3, size, size]. Raises ValueError naming an unreadable one."""
    try:
        with Image.open(path) as image:
            over = image.convert("RGBA")
    except (OSError, ValueError) as error:
        raise ValueError(f"{readable(path)} cannot be read ({error}): unpack it again") from error
    white = Image.new("RGBA", over.size, "white")
    whole = Image.alpha_composite(white, over).convert("RGB")
    if whole.size != (size, size):
        whole = whole.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(whole)).permute(2, 0, 1).contiguous()


def _pictures(
    splits: Mapping[str, list[Named]], size: int, cache: Path | None
) -> dict[str, Tensor]:
    """uint8 [n, 3, size, size] of both splits, from the cache or drawn."""

    def read(split: str) -> Tensor:
        paths = [one.picture for one in splits[split]]
        return decoded(paths, lambda path: drawn(path, size), f"drawing {split}", threads=8)

    digest = hashlib.sha256(f"{_DRAWN} {size}".encode())
    for split, of in splits.items():
        for one in of:
            status = one.picture.stat()
            digest.update(repr((split, one.text, status.st_size, status.st_mtime_ns)).encode())
    place = cache / "emoji" / f"drawn-{digest.hexdigest()[:16]}" if cache else None
    return kept(place, tuple(splits), read, "picture")
