"""Sounds as tokens: a log-mel spectrogram, a frame a token; recordings in class folders.

Levels of 0..1 (`bench.core.data.spectrogram`) are kept as bytes, [n, bands, frames] with the lowest
band first, and become x / 127.5 - 1. A model is told the class, and its samples are heard through
the same spectrogram turned round, as held-out sounds beside them are.

    python -m bench.run data=sounds data.root=DIR method=selfflow       # DIR/<class>/*.wav
    python -m bench.run data=spoken_digits data.root=free-spoken-digit-dataset
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import Heard, Indices, Waves
from bench.core.data.class_folders import ClassFolders, Kind
from bench.core.data.pictures import list_pictures, readable
from bench.core.data.spectrogram import Spectrogram
from bench.core.data.wav import WAV_SUFFIXES, read_wav
from bench.core.model.tokens import TokenGrid

SOUND = Kind(
    "sound", ".wav", WAV_SUFFIXES, decoder=1, threads=1
)  # SciPy reads one at a time anyway
NAMED = 5  # silent sounds that are named
# Of the Free Spoken Digit Dataset: 7_jackson_32.wav; the first five of each are its test part.
FSDD = re.compile(r"(\d)_([^_]+)_(\d+)\.wav", re.IGNORECASE)
FSDD_HELDOUT = 5


def as_bytes(levels: Tensor) -> Tensor:
    """Levels [n, bands, frames] -> uint8, as sounds are kept."""
    return (255 * levels).round().byte()


def heard(spectrogram: Spectrogram, pixels: Tensor) -> Heard:
    """Decoded tokens [n, bands, frames] in -1..1, and beyond -> what is heard of them; numbers that
    are none are silent.
    """
    levels = torch.nan_to_num((pixels + 1) / 2, nan=0.0)
    return Heard(spectrogram.waves(levels), spectrogram.rate)


def grid_of_frames(spectrogram: Spectrogram, patch: int) -> TokenGrid:
    """Tokens of `patch` frames with all their bands."""
    return TokenGrid((spectrogram.frames,), patch, spectrogram.bands)


class Recordings(ClassFolders):
    """Class folders of WAV files; silent ones are left out and named.

    rate, hop, window, bands: as of `Spectrogram`; frames: of a sound, which is cut or filled with
    silence; cache: as in `ClassFolders`.
    """

    kind = SOUND

    def __init__(
        self,
        name: str,
        root: str | None,
        rate: int,
        hop: int,
        window: int,
        bands: int,
        frames: int,
        patch: int,
        heldout: float,
        skip_damaged: bool,
        *,
        cache: Path | None = None,
    ):
        self.spectrogram = Spectrogram(rate, hop, window, bands, frames)
        self.frames_of_token = patch
        super().__init__(
            name,
            root,
            grid_of_frames(self.spectrogram, patch),
            (bands, frames),
            self.spectrogram,
            heldout,
            skip_damaged,
            in_memory=True,
            cache=cache,
        )
        self._leave_out_silence()

    def read(self, path: Path) -> Tensor:
        wave = read_wav(path, self.spectrogram.rate, self.spectrogram.samples)
        return as_bytes(self.spectrogram.levels(wave[None]))[0]

    def heard(self, tokens: Tensor) -> Heard:
        return heard(self.spectrogram, self.decode(tokens))

    def waves(self, split: str, indices: Indices = slice(None)) -> Waves:
        view = self.spectrogram
        found = [read_wav(path, view.rate, view.samples) for path in self.paths(split, indices)]
        return Waves(torch.stack(found), view.rate, view.times(self.frames_of_token))

    def _leave_out_silence(self) -> None:
        silent = []
        for split, kept in self._pictures.items():
            sounds = (kept > 0).flatten(1).any(dim=1)
            silent += [p for p, loud in zip(self.files[split], sounds, strict=True) if not loud]
            self.files[split] = [
                p for p, loud in zip(self.files[split], sounds, strict=True) if loud
            ]
            self._pictures[split], labels = kept[sounds], self._labels[split][sounds]
            self._labels[split] = labels
            if gone := set(range(self.classes)) - set(labels.tolist()):
                names = ", ".join(readable(self.class_names[i]) for i in sorted(gone))
                raise ValueError(
                    f"data.root={readable(self.root)}: {split} has nothing but silence of {names}: "
                    "add sounds that can be heard, or remove the class"
                )
        if silent:
            named = ", ".join(readable(path.relative_to(self.root)) for path in silent[:NAMED])
            more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
            self.remarks = [*self.remarks, f"left out as silent: {named}{more}"]


class SpokenDigits(Recordings):
    """The Free Spoken Digit Dataset, in class folders or flat as it is cloned, in the folder
    itself or in `recordings` in it: then with its own test part held out.
    """

    def _find(self, share: float) -> tuple[list[str], dict[str, list[Path]], dict[str, np.ndarray]]:
        for folder in (self.root / "recordings", self.root):
            if folder.is_dir() and any(FSDD.fullmatch(path.name) for path in folder.glob("*.wav")):
                return self._find_flat(folder)
        return super()._find(share)

    def _find_flat(
        self, folder: Path
    ) -> tuple[list[str], dict[str, list[Path]], dict[str, np.ndarray]]:
        listing = list_pictures(folder, self.kind.suffixes)
        named = {path: FSDD.fullmatch(path.name) for path in listing.paths}
        listing = replace(listing, paths=[path for path, match in named.items() if match])
        other = len(named) - len(listing.paths)
        self.remarks = ["held out are the first five of each speaker and digit"]
        if other:
            self.remarks.append(f"{other} sound(s) of another name are left out")
        files: dict[str, list[Path]] = {"train": [], "heldout": []}
        labels: dict[str, list[str]] = {"train": [], "heldout": []}
        for path in listing.paths:
            match = named[path]
            assert match is not None
            split = "heldout" if int(match[3]) < FSDD_HELDOUT else "train"
            files[split].append(path)
            labels[split].append(match[1])
        classes = sorted({*labels["train"], *labels["heldout"]})
        for split, found in labels.items():
            if lacking := sorted(set(classes) - set(found)):
                raise ValueError(
                    f"data.root={readable(self.root)}: no {split} sound of {', '.join(lacking)} "
                    f"(numbers below {FSDD_HELDOUT} are held out): clone the whole data set"
                )
        numbers = {s: np.array([classes.index(one) for one in f]) for s, f in labels.items()}
        return classes, files, numbers
