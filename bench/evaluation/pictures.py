"""Grids of pictures as PNG files that a person can look at; of sounds their spectrograms, and a
WAV file of those in the first row, from left to right; of videos the frames of those that would be
the first row, a film strip a line, and all of them moving in an APNG file.

save_sample_grid(subject, sampling_protocol("ode50"), device)   # samples/grid-<images>.png
save_real_grid(subject, 64)                                      # samples/real.png
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bench.core.data.base import pictures_of, shown
from bench.core.data.pictures import readable
from bench.core.data.wav import wav_bytes
from bench.core.model.sampling_protocol import Protocol
from bench.core.store.files import write_bytes
from bench.evaluation.films import save_film, strips
from bench.evaluation.grids import picture_grid, save_png
from bench.evaluation.samples import decoder, sampler
from bench.evaluation.subject import Subject
from probes.metric import MovingPictures

REAL_GRID = "real.png"
NAMED_BELOW = ("sound", "video")  # a picture does not show at a glance what these are


def save_sample_grid(subject: Subject, protocol: Protocol, device: torch.device) -> Path:
    """samples/grid-<images>.png: one block with balanced labels, the same noise for every arm."""
    balanced = replace(protocol, labels="balanced")
    tokens = sampler(subject, balanced, 0, device)(0)
    columns = _columns(len(subject.prompts.rows))
    whole = len(tokens) // columns * columns
    images, _ = pictures_of(decoder(subject, balanced)(tokens[:whole]), balanced.rounding)
    path = subject.shown / "samples" / f"grid-{subject.images:012d}.png"
    _save_grid(images, columns, _texts(subject, whole), path)
    _save_sounds(subject, tokens[:columns], path)
    return path


def _save_grid(images: Tensor, columns: int, texts: Sequence[str], path: Path) -> None:
    """Data as encoders read them, uint8 [n, ...], as a picture, and as a film where they move."""
    if images.ndim == 5:
        save_png(strips(images[:columns], texts[:columns]), path)
        save_film(images, columns, texts, path)
    else:
        save_png(picture_grid(shown(images), columns, texts=texts), path)


def _save_sounds(subject: Subject, tokens: Tensor, picture: Path) -> None:
    """What is heard of tokens, one after another, beside their picture; nothing of data that nobody
    hears.
    """
    found = subject.data.heard(tokens) if subject.data else None
    if found is not None:
        write_bytes(picture.with_suffix(".wav"), wav_bytes(*found))


def save_clips(clips: MovingPictures, folder: Path, images: int) -> None:
    """samples/grid-<images>.png and real.png of what moves beside a number, with their films."""
    samples, columns = folder / "samples", len(clips.texts)
    _save_grid(clips.model, columns, clips.texts, samples / f"grid-{images:012d}.png")
    _save_grid(clips.real, columns, clips.real_texts, samples / REAL_GRID)


def _columns(prompts: int) -> int:
    """Prompt i mod prompts: few of them have a column each."""
    return prompts if prompts <= 16 else 8


def _texts(subject: Subject, count: int) -> list[str]:
    """What prompt i mod prompts asks for, its class of what is heard or moves, [] where that is no
    text.
    """
    asked, data = subject.prompts.texts, subject.data
    if data is not None and data.noun in NAMED_BELOW:
        names = [readable(name) for name in data.class_names]
        asked = [names[label] for label in subject.prompts.label.tolist()]
    return [asked[i % len(asked)] for i in range(count)] if asked else []


def save_real_grid(subject: Subject, block: int) -> Path | None:
    """samples/real.png: held-out pictures of the classes that the sample grids have at the same
    places, or of the same texts, block of them; None where it is there, where the pictures are not,
    or where a class has none.
    """
    path, data = subject.shown / "samples" / REAL_GRID, subject.data
    if path.exists() or data is None or not data.has_pictures:
        return None
    if subject.prompts.texts:  # which are those of the held-out pictures
        prompts = len(subject.prompts.texts)
        columns = _columns(prompts)
        whole = block // columns * columns
        pictures = data.images("heldout", torch.arange(whole) % prompts)
        _save_grid(pictures, columns, _texts(subject, whole), path)
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
    _save_grid(data.images("heldout", rows), columns, _texts(subject, len(rows)), path)
    _save_sounds(subject, torch.as_tensor(data.tokens("heldout", rows[:columns])), path)
    return path
