"""Grids of pictures as PNG files that a person can look at.

save_sample_grid(subject, sampling_protocol("ode50"), device)   # samples/grid-<images>.png
save_real_grid(subject, 64)                                      # samples/real.png
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.model.sampling_protocol import Protocol
from bench.core.store.files import atomic
from bench.evaluation.samples import painter, sampler
from bench.evaluation.subject import Subject

REAL_GRID = "real.png"
SMALLEST_SIDE = (
    48  # pixels on the page; smaller pictures are enlarged by a whole factor, without smoothing
)


def picture_grid(pictures: Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """uint8 [n, 3, H, W] -> one picture [rows * h, columns * w, 3], white between."""
    n, _, height, width = pictures.shape
    factor = max(1, -(-SMALLEST_SIDE // max(height, width)))
    large = pictures.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    h, w, rows = height * factor + gap, width * factor + gap, -(-n // columns)
    canvas = torch.full((3, rows * h + gap, columns * w + gap), 255, dtype=torch.uint8)
    for i, picture in enumerate(large):
        top, left = gap + i // columns * h, gap + i % columns * w
        canvas[:, top : top + h - gap, left : left + w - gap] = picture
    return canvas.permute(1, 2, 0).numpy()


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
    save_png(picture_grid(pictures, columns), path)
    return path


def _columns(prompts: int) -> int:
    """Prompt i mod prompts: few of them have a column each."""
    return prompts if prompts <= 16 else 8


def save_real_grid(subject: Subject, block: int) -> Path | None:
    """samples/real.png: held-out pictures of the classes that the sample grids have at the same
    places, block of them; None where it is there, where the pictures are not, or where a class has
    none.
    """
    path, data = subject.folder / "samples" / REAL_GRID, subject.data
    if path.exists() or data is None or not data.has_pictures:
        return None
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
    save_png(picture_grid(data.images("heldout", torch.stack(chosen)), columns), path)
    return path
