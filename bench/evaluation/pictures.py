"""Grids of pictures as PNG files that a person can look at; of sounds their spectrograms, and a
WAV file of those in the first row, from left to right.

save_sample_grid(subject, sampling_protocol("ode50"), device)   # samples/grid-<images>.png
save_real_grid(subject, 64)                                      # samples/real.png
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import shown
from bench.core.data.pictures import readable
from bench.core.data.wav import wav_bytes
from bench.core.model.sampling_protocol import Protocol
from bench.core.store.files import atomic, write_bytes
from bench.evaluation.samples import painter, sampler
from bench.evaluation.subject import Subject

REAL_GRID = "real.png"
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


def save_sample_grid(subject: Subject, protocol: Protocol, device: torch.device) -> Path:
    """samples/grid-<images>.png: one block with balanced labels, the same noise for every arm."""
    balanced = replace(protocol, labels="balanced")
    tokens = sampler(subject, balanced, 0, device)(0)
    columns = _columns(len(subject.prompts.rows))
    whole = len(tokens) // columns * columns
    pictures, _ = painter(subject, balanced)(tokens[:whole])
    path = subject.folder / "samples" / f"grid-{subject.images:012d}.png"
    save_png(picture_grid(pictures, columns, texts=_texts(subject, whole)), path)
    _save_sounds(subject, tokens[:columns], path)
    return path


def _save_sounds(subject: Subject, tokens: Tensor, picture: Path) -> None:
    """What is heard of tokens, one after another, beside their picture; nothing of data that nobody
    hears.
    """
    found = subject.data.heard(tokens) if subject.data else None
    if found is not None:
        write_bytes(picture.with_suffix(".wav"), wav_bytes(*found))


def _columns(prompts: int) -> int:
    """Prompt i mod prompts: few of them have a column each."""
    return prompts if prompts <= 16 else 8


def _texts(subject: Subject, count: int) -> list[str]:
    """What prompt i mod prompts asks for, its class of what is heard, [] where that is no text."""
    asked, data = subject.prompts.texts, subject.data
    if data is not None and data.noun == "sound":
        names = [readable(name) for name in data.class_names]
        asked = [names[label] for label in subject.prompts.label.tolist()]
    return [asked[i % len(asked)] for i in range(count)] if asked else []


def save_real_grid(subject: Subject, block: int) -> Path | None:
    """samples/real.png: held-out pictures of the classes that the sample grids have at the same
    places, or of the same texts, block of them; None where it is there, where the pictures are not,
    or where a class has none.
    """
    path, data = subject.folder / "samples" / REAL_GRID, subject.data
    if path.exists() or data is None or not data.has_pictures:
        return None
    if subject.prompts.texts:  # which are those of the held-out pictures
        prompts = len(subject.prompts.texts)
        columns = _columns(prompts)
        whole = block // columns * columns
        pictures = data.images("heldout", torch.arange(whole) % prompts)
        save_png(picture_grid(pictures, columns, texts=_texts(subject, whole)), path)
        return path
    asked = subject.prompts.label.tolist()  # of prompt i mod prompts
    labels = torch.as_tensor(data.labels("heldout"))
    of_class = {label: torch.nonzero(labels == label).flatten() for label in set(asked)}
    if not all(len(found) for found in of_class.values()):
        return None
    # of each class the pictures in turn
    columns, chosen = _columns(len(asked)), []
    for place in range(block // columns * columns):
        found = of_class[asked[place % len(asked)]]
        chosen.append(found[place // len(asked) % len(found)])
    rows = torch.stack(chosen)
    pictures, texts = shown(data.images("heldout", rows)), _texts(subject, len(rows))
    save_png(picture_grid(pictures, columns, texts=texts), path)
    _save_sounds(subject, torch.as_tensor(data.tokens("heldout", rows[:columns])), path)
    return path
