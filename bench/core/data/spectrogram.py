"""Sounds as log-mel spectrograms, and back to something that can be heard.

    S = |STFT(x)|^2                     windows of Hann, zeros beyond the ends
    v = 1 + 10 log10(M S / max) / R     M: triangles, equally wide in mel; clamped to 0..1

`max` is a sound's own loudest band, so loudness is no part of v, and R is the range in decibels.
Back: powers S >= 0 with M S near the mel powers by multiplicative updates (Lee and Seung, 2001),
phases by the fast Griffin-Lim algorithm (Perraudin, Balazs and Sondergaard, 2013).

    view = Spectrogram(rate=8000, hop=160, window=400, bands=32, frames=32)
    levels = view.levels(waves)          # [n, 5120] -> [n, 32, 32], the lowest band first
    view.waves(levels)                   # [n, 5120], the loudest sample of each 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.model.streams import generator

UPDATES, ROUNDS, MOMENTUM = 100, 60, 0.99  # of powers, of phases, and how far these overshoot
QUIET = 1e-10  # power that counts as none
INAUDIBLE = 1.5 / 255  # a level up to which a band is silent: rounding to bytes may lift it to one


def mel(hertz: float) -> float:
    """A frequency on the mel scale (O'Shaughnessy, 1987): 1000 Hz are 1000."""
    return 2595 * math.log10(1 + hertz / 700)


@dataclass(frozen=True)
class Spectrogram:
    """rate: samples a second; hop, window: samples between two frames, and of one; bands: of equal
    width in mel from 0 to rate / 2; frames: of a sound; decibels: of the range.

    Raises ValueError for bands that are too narrow for the window to tell apart.
    """

    rate: int
    hop: int
    window: int
    bands: int
    frames: int
    decibels: float = 60.0

    def __post_init__(self) -> None:
        if self.window < 2 * self.hop:
            raise ValueError(
                f"data.window={self.window} is less than twice data.hop={self.hop}: what lies "
                "between two frames would be lost"
            )
        if not (self.filters > 0).any(dim=1).all():
            raise ValueError(
                f"data.bands={self.bands} are too narrow for a window of {self.window} samples: "
                "fewer bands, or a longer data.window"
            )

    @property
    def samples(self) -> int:
        """Of a sound that fills the frames."""
        return self.hop * self.frames

    def times(self, patch: int) -> Tensor:
        """Where tokens of `patch` frames have their middle, in seconds: a frame stands where its
        window does, the first at the sound's first sample.
        """
        first = torch.arange(self.frames // patch, dtype=torch.float64) * patch
        return (first + (patch - 1) / 2) * self.hop / self.rate

    @cached_property
    def filters(self) -> Tensor:
        """Triangles [bands, window // 2 + 1], each 1 at its middle."""
        edges = torch.linspace(0, mel(self.rate / 2), self.bands + 2, dtype=torch.float64)
        edges = 700 * (10 ** (edges / 2595) - 1)
        hertz = torch.linspace(0, self.rate / 2, self.window // 2 + 1, dtype=torch.float64)
        low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rise, fall = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
        return torch.minimum(rise, fall).clamp(min=0).float()

    def _transform(self, waves: Tensor) -> Tensor:
        """Waves [n, samples] -> complex [n, window // 2 + 1, frames]."""
        padded = F.pad(waves, (self.window // 2, self.window))
        found = torch.stft(
            padded,
            self.window,
            self.hop,
            window=torch.hann_window(self.window),
            center=False,
            return_complex=True,
        )
        return found[..., : self.frames]

    def levels(self, waves: Tensor) -> Tensor:
        """Waves float32 [n, samples] -> levels [n, bands, frames] in 0..1; all zero where a sound
        is silent.
        """
        mels = self.filters @ self._transform(waves).abs().square()
        top = mels.amax(dim=(1, 2), keepdim=True)
        found = 1 + 10 * torch.log10((mels / top.clamp(min=QUIET)).clamp(min=QUIET)) / self.decibels
        return torch.where(top > QUIET, found.clamp(0, 1), torch.zeros(()))

    def waves(self, levels: Tensor) -> Tensor:
        """Levels [n, bands, frames] -> waves [n, samples] of about these levels, the same at every
        call. Levels are clamped to 0..1.
        """
        levels = levels.float().clamp(0, 1)
        mels = 10 ** ((levels - 1) * self.decibels / 10)
        mels = torch.where(levels <= INAUDIBLE, torch.zeros(()), mels)

        # powers of the frequencies, none negative
        filters = self.filters
        both, wanted = filters.T @ filters, filters.T @ mels
        powers = torch.ones(len(levels), filters.shape[1], self.frames)
        for _ in range(UPDATES):
            powers = powers * wanted / (both @ powers + QUIET)

        # phases that fit them
        size = powers.sqrt()
        turn = 2 * math.pi * torch.rand(size.shape, generator=generator(0, "phases", 0))
        phase, before = torch.polar(torch.ones_like(size), turn), torch.zeros_like(size)
        for _ in range(ROUNDS):
            found = self._transform(self._overlapped(size * phase))
            ahead = found + MOMENTUM * (found - before)
            phase, before = ahead / (ahead.abs() + QUIET), found
        waves = self._overlapped(size * phase)
        return waves / waves.abs().amax(dim=1, keepdim=True).clamp(min=QUIET)

    def _overlapped(self, transformed: Tensor) -> Tensor:
        """The waves [n, samples] whose `_transform` is nearest (Griffin and Lim, 1984)."""
        window = torch.hann_window(self.window)
        frames = torch.fft.irfft(transformed, self.window, dim=1) * window[:, None]
        length = self.window + self.hop * (self.frames - 1)
        added, weight = (
            F.fold(part, (1, length), (1, self.window), stride=(1, self.hop)).flatten(1)
            for part in (frames, window.square()[:, None].expand(1, -1, self.frames))
        )
        whole = F.pad(added / weight.clamp(min=1e-3), (0, self.samples))
        return whole[:, self.window // 2 :][:, : self.samples]
