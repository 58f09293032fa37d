"""Pictures side by side as one, white between them, with a line of text below each where asked for.

save_png(picture_grid(pictures, columns=8, texts=["zero", "one"]), Path("grid.png"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.store.files import atomic

LINE = 14  # pixels of a line of text below a picture
SMALLEST_SIDE = (
    48  # pixels on the page; smaller pictures are enlarged by a whole factor, without smoothing
)


def picture_grid(
    pictures: Tensor, columns: int, gap: int = 2, texts: Sequence[str] = ()
) -> np.ndarray:
    """uint8 [n, 3, H, W] -> one picture [rows * h, columns * w, 3], white between; texts: one below
    each.
    """
    n, _, height, width = pictures.shape
    factor = max(1, -(-SMALLEST_SIDE // max(height, width)))
    large = pictures.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    line = LINE if texts else 0
    h, w, rows = height * factor + gap + line, width * factor + gap, -(-n // columns)
    canvas = torch.full((3, rows * h + gap, columns * w + gap), 255, dtype=torch.uint8)
    for i, picture in enumerate(large):
        top, left = gap + i // columns * h, gap + i % columns * w
        canvas[:, top : top + h - gap - line, left : left + w - gap] = picture
    whole = canvas.permute(1, 2, 0).numpy()
    return _with_texts(whole, texts, columns, (h, w), gap) if texts else whole


def _with_texts(
    whole: np.ndarray, texts: Sequence[str], columns: int, step: tuple[int, int], gap: int
) -> np.ndarray:
    """Texts below the pictures of a grid whose places are `step` = (h, w) apart."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(whole)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(LINE - 4)
    for i, text in enumerate(texts):
        row, column = divmod(i, columns)
        place = gap + column * step[1] + step[1] // 2, (row + 1) * step[0]
        draw.text(place, text, fill=(90, 90, 90), font=font, anchor="md")
    return np.asarray(image)


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write uint8 [H, W, 3] as PNG, atomically."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
