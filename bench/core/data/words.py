"""Words drawn with the fonts that matplotlib ships: text to image, with words and fonts held out.

Each letter stands in a cell of its own, white on black. A model is told the bytes of the word. No
word of the held-out split is in the training split, and every other one of them is drawn in a font
that training has not seen. The words are drawn from a seed, or are a file's, one a line.

    python -m bench.run data=words method=selfflow
    python -m bench.run data=words data.root=words.txt data.length=8 data.width=64 data.name=mine
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.core.data.texts import TextedPictures
from bench.core.model.conditions import Bytes
from bench.core.model.tokens import TokenGrid

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DRAWN_FROM = 5147
OVERLAP = 2  # pixels that a wide letter may reach into the cells beside its own
FONTS_SHOWN = 12  # fonts in a message


class Words(TextedPictures):
    """length: bytes of a word at most, and letters of one that is drawn from the seed; height,
    width: pixels, a letter's cell being width / length wide; count: training pictures;
    heldout_words: how many; fonts, heldout_fonts: names of matplotlib's, or .ttf files; root: a
    file of words, None for random letters. A word's label is its first letter.

    Raises ValueError for words and fonts that cannot be drawn.
    """

    def __init__(
        self,
        name: str,
        root: str | None,
        length: int,
        height: int,
        width: int,
        patch: int | Sequence[int],
        count: int,
        heldout_words: int,
        fonts: Sequence[str],
        heldout_fonts: Sequence[str],
    ):
        if length < 1 or width % length:
            raise ValueError(
                f"data.width={width} is not {length} cells of equal width: choose a multiple of "
                "data.length"
            )
        if not fonts or set(fonts) & set(heldout_fonts):
            raise ValueError("data.fonts needs a font, and none that data.heldout_fonts has")
        if min(count, heldout_words) < 2:
            raise ValueError(
                f"data.count={count} and data.heldout_words={heldout_words} must be 2 or more each"
            )

        self.length, self.cell = length, width // length

        # which words, and in which fonts
        draw = np.random.default_rng(DRAWN_FROM)
        train, unseen = (
            _random_words(draw, length, count, heldout_words)
            if root is None
            else _split(read_words(Path(root).expanduser(), length), heldout_words, draw)
        )
        texts = {
            "train": [train[i] for i in np.arange(count) % len(train)],
            "heldout": list(unseen),
        }
        self.alphabet = "".join(sorted(set("".join([*train, *unseen]))))
        faces = [font_file(font) for font in (*fonts, *heldout_fonts)]
        self._glyphs = np.stack([_glyphs(f, self.alphabet, height, self.cell) for f in faces])
        of_fonts = {
            "train": draw.integers(0, len(fonts), count),
            "heldout": draw.integers(0, len(fonts), len(unseen)),
        }
        if heldout_fonts:
            new = draw.integers(len(fonts), len(faces), len(unseen))
            of_fonts["heldout"][1::2] = new[1::2]

        firsts = sorted({word[0] for word in (*train, *unseen)})
        labels = {
            split: torch.tensor([firsts.index(word[0]) for word in of_split])
            for split, of_split in texts.items()
        }
        pictures = {
            split: self.drawn(of_split, of_fonts[split]).expand(-1, 3, -1, -1)
            for split, of_split in texts.items()
        }
        patch = patch if isinstance(patch, int) else tuple(patch)
        grid = TokenGrid((height, width), patch, 1)
        super().__init__(name, grid, length, texts, pictures, labels, tuple(firsts))
        self.remarks = [f"words of at most {length} bytes in {len(fonts)} fonts"]
        if heldout_fonts:
            new_fonts = f"{len(heldout_fonts)} fonts that training has not seen"
            self.remarks.append(f"every other held-out one in {new_fonts}")

    def for_reading(self) -> tuple[Tensor, Sequence[str]]:
        """Drawings uint8 [n, 3, H, W] of the training words in every font, held-out ones too, and
        what stands in them: what a reader learns from.
        """
        texts = self.texts["train"]
        drawn = self.drawn(texts, np.arange(len(texts)) % len(self._glyphs))
        return drawn.expand(-1, 3, -1, -1), texts

    def drawn(self, texts: Sequence[str], fonts: np.ndarray) -> Tensor:
        """Drawings uint8 [n, 1, H, W] of words in these fonts, by number [n]."""
        height, span = self._glyphs.shape[2:]
        room = self.length * self.cell + span  # wide letters at the ends are cut off below
        canvas = np.zeros((len(texts), height, room), np.uint8)
        places = {letter: i for i, letter in enumerate(self.alphabet)}
        for i in range(self.length):
            rows = np.array([n for n, text in enumerate(texts) if len(text) > i], np.int64)
            letters = np.array([places[texts[n][i]] for n in rows], np.int64)
            here = canvas[:, :, i * self.cell : i * self.cell + span]
            here[rows] = np.maximum(here[rows], self._glyphs[fonts[rows], letters])
        whole = canvas[:, None, :, OVERLAP : OVERLAP + self.length * self.cell]
        return torch.from_numpy(np.ascontiguousarray(whole))


def _random_words(
    draw: np.random.Generator, length: int, count: int, heldout: int
) -> tuple[list[str], list[str]]:
    """Training and held-out words of random letters, none in both."""
    if len(LETTERS) ** length < 4 * heldout:
        raise ValueError(
            f"data.heldout_words={heldout} words of {length} letters leave too few for training: "
            "fewer, or a greater data.length"
        )

    def words(n: int) -> list[str]:
        return ["".join(LETTERS[i] for i in row) for row in draw.integers(0, 26, (n, length))]

    unseen = list(dict.fromkeys(words(2 * heldout)))[:heldout]
    kept = [word for word in words(count) if word not in set(unseen)]
    return kept, unseen


def read_words(path: Path, length: int) -> list[str]:
    """The words of a text file, one a line, each once and in its order.

    Raises ValueError naming a line that is empty, not UTF-8, or longer than `length` bytes.
    """
    if not path.is_file():
        raise ValueError(f"data.root={path} is no file: give a text file with one word a line")
    words = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"line {number} of {path}"
        try:
            word = line.decode().strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is not UTF-8 ({error.reason}): save it as UTF-8") from error
        try:
            Bytes(length).encode([word])
        except ValueError as error:
            raise ValueError(f"{where}: {error} (data.length={length})") from error
        words.append(word)
    return list(dict.fromkeys(words))


def _split(
    words: list[str], heldout: int, draw: np.random.Generator
) -> tuple[list[str], list[str]]:
    if heldout >= len(words):
        raise ValueError(
            f"data.heldout_words={heldout} of {len(words)} different words leaves none for "
            "training: hold fewer out"
        )
    order = draw.permutation(len(words))
    return [words[i] for i in order[heldout:]], [words[i] for i in order[:heldout]]


def font_file(name: str) -> Path:
    """The .ttf file of a font that matplotlib ships, or the file that is named.

    Raises ValueError for neither.
    """
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    path = Path(name).expanduser() if name.endswith(".ttf") else folder / f"{name}.ttf"
    if not path.is_file():
        known = sorted(path.stem for path in folder.glob("[DSc][eTm]*.ttf"))
        shown = ", ".join(known[:FONTS_SHOWN])
        raise ValueError(f"font {name} is unknown: give a .ttf file, or one of {shown}, ...")
    return path


def _glyphs(path: Path, alphabet: str, height: int, cell: int) -> np.ndarray:
    """Letters of a font, uint8 [letters, height, cell + 2 OVERLAP], each in the middle.

    Raises ValueError for a letter that the font lacks.
    """
    from matplotlib.ft2font import FT2Font

    try:
        font: Any = FT2Font(str(path))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"font {path} cannot be read ({error}): give another one") from error
    span, base = cell + 2 * OVERLAP, round(0.75 * height)
    glyphs = np.zeros((len(alphabet), height, span), np.uint8)
    for i, letter in enumerate(alphabet):
        if not font.get_char_index(ord(letter)) and not letter.isspace():
            raise ValueError(
                f"font {path.stem} has no glyph for {letter!r}: choose other data.fonts, or leave "
                "its words out"
            )
        font.set_size(0.8 * height, 72)
        font.set_text(letter)
        wide = font.get_width_height()[0] / 64
        if wide > span:
            font.set_size(0.8 * height * span / wide, 72)
            font.set_text(letter)
        font.draw_glyphs_to_bitmap(antialiased=True)
        bitmap = np.asarray(font.get_image())
        # cut what reaches beyond the picture
        top = base - (bitmap.shape[0] - round(font.get_descent() / 64))
        bitmap = bitmap[max(0, -top) :][: height - max(0, top), :span]
        left = (span - bitmap.shape[1]) // 2
        rows = slice(max(0, top), max(0, top) + bitmap.shape[0])
        glyphs[i, rows, left : left + bitmap.shape[1]] = bitmap
    return glyphs
