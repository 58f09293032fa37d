"""Pictures side by side as one, white between them, with a line of text below each where asked for.

save_png(picture_grid(pictures, columns=8, texts=["zero", "one"]), Path("grid.png"))
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.core.store.files import atomic

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

LINE = 14  # pixels of a line of text below a picture
# pixels on the page of a picture, and of one with a text that would not fit below it; smaller ones
# are enlarged by a whole factor, without smoothing
SMALLEST_SIDE, TEXTED_SIDE = 48, 96
LINES_BELOW = 3  # of a text; what is longer ends in an ellipsis


def picture_grid(
    pictures: Tensor, columns: int, gap: int = 2, texts: Sequence[str] = ()
) -> np.ndarray:
    """uint8 [n, 3, H, W] -> one picture [rows * h, columns * w, 3], white between; texts: one below
    each, broken into lines where it is wider than the picture.
    """
    n, _, height, width = pictures.shape

    def factor_to(side: int) -> int:
        return max(1, -(-side // max(height, width)))

    factor = factor_to(SMALLEST_SIDE)
    if any(_width(text) > width * factor for text in texts):
        factor = factor_to(TEXTED_SIDE)
    below = [_lines(text, width * factor) for text in texts]
    large = pictures.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    line = LINE * max(map(len, below), default=0)
    h, w, rows = height * factor + gap + line, width * factor + gap, -(-n // columns)
    canvas = torch.full((3, rows * h + gap, columns * w + gap), 255, dtype=torch.uint8)
    for i, picture in enumerate(large):
        top, left = gap + i // columns * h, gap + i % columns * w
        canvas[:, top : top + h - gap - line, left : left + w - gap] = picture
    whole = canvas.permute(1, 2, 0).numpy()
    return _with_texts(whole, below, columns, (h, w), gap) if texts else whole


def _with_texts(
    whole: np.ndarray, texts: Sequence[Sequence[str]], columns: int, step: tuple[int, int], gap: int
) -> np.ndarray:
    """Lines below the pictures of a grid whose places are `step` = (h, w) apart."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(whole)
    draw, most = ImageDraw.Draw(image), max(map(len, texts))
    for i, lines in enumerate(texts):
        row, column = divmod(i, columns)
        middle, foot = gap + column * step[1] + step[1] // 2, (row + 1) * step[0]
        for number, line in enumerate(lines):
            place = middle, foot - LINE * (most - 1 - number)
            draw.text(place, line, fill=(90, 90, 90), font=_font(), anchor="md")
    return np.asarray(image)


def _lines(text: str, room: int) -> list[str]:
    """A text in lines of at most `room` pixels, broken between words where it can be."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and _width(f"{lines[-1]} {word}") > room:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    if len(lines) > LINES_BELOW:
        lines[LINES_BELOW - 1 :] = [f"{lines[LINES_BELOW - 1]} ..."]
    return [_cut(line, room) for line in lines]


def _cut(line: str, room: int) -> str:
    while len(line) > 1 and _width(line) > room:
        line = line.removesuffix("...")[:-1].rstrip() + "..."
        if line == "...":
            break
    return line


def _width(text: str) -> float:
    return _font().getlength(text)


@functools.cache
def _font() -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(LINE - 4)


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write uint8 [H, W, 3] as PNG, atomically."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
