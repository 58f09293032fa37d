"""Notes of ten instruments, synthesised from a seed: sounds without a download.

Each instrument is a textbook model of how it sounds, and what no two notes share is drawn: pitch
(any frequency of two octaves, so a held-out note has one that training has not met), attack, decay
and brightness. Frequency modulation is Chowning's (1973), the plucked string Karplus and Strong's
(1983), the vowel has the formants of Peterson and Barney (1952).

    python -m bench.run data=notes method=selfflow
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.data.base import Heard, Indices, PictureData, Waves
from bench.core.data.decoded import kept
from bench.core.data.sounds import SOUND, as_bytes, grid_of_frames, heard
from bench.core.data.spectrogram import Spectrogram
from bench.core.model.streams import generator

SCORED = 1  # another one wherever a note sounds otherwise: caches are named so
LOWEST, HIGHEST = 220.0, 880.0  # Hz
TURN = 2 * np.pi
Array = NDArray[np.float64]


class Notes(PictureData):
    """rate, hop, window, bands, frames: as of `bench.core.data.spectrogram.Spectrogram`; patch:
    frames of a token; count, heldout_count: training and held-out notes, of the instruments in
    turn; cache: where they are kept, None for nowhere: their last bits depend on the machine.

    Raises ValueError for too few notes, and for a rate that the highest ones have no room in.
    """

    noun = SOUND.one

    def __init__(
        self,
        name: str,
        rate: int,
        hop: int,
        window: int,
        bands: int,
        frames: int,
        patch: int,
        count: int,
        heldout_count: int,
        *,
        cache: Path | None = None,
    ):
        least = 2 * len(INSTRUMENTS)
        if min(count, heldout_count) < least:
            raise ValueError(
                f"data.count={count} and data.heldout_count={heldout_count} must be {least} or "
                "more each, two of an instrument"
            )
        if rate < 4 * HIGHEST:
            raise ValueError(
                f"data.rate={rate} has no room for overtones of {HIGHEST:.0f} Hz: choose "
                f"{4 * HIGHEST:.0f} or more"
            )
        self.spectrogram = Spectrogram(rate, hop, window, bands, frames)
        self.frames_of_token, self._waves = patch, dict[str, Tensor]()
        sizes = {"train": count, "heldout": heldout_count}
        labels = {split: torch.arange(n) % len(INSTRUMENTS) for split, n in sizes.items()}
        levels = _levels(labels, self.spectrogram, cache)
        grid = grid_of_frames(self.spectrogram, patch)
        super().__init__(name, grid, len(INSTRUMENTS), levels, labels, tuple(INSTRUMENTS))

    def heard(self, tokens: Tensor) -> Heard:
        return heard(self.spectrogram, self.decode(tokens))

    def waves(self, split: str, indices: Indices = slice(None)) -> Waves:
        view = self.spectrogram
        if split not in self._waves:  # whole: what a note is drawn with depends on those before it
            of_split = played(self.labels(split).numpy(), view, split)
            self._waves[split] = torch.from_numpy(of_split).float()
        return Waves(self._waves[split][indices], view.rate, view.times(self.frames_of_token))


def _levels(
    labels: Mapping[str, Tensor], spectrogram: Spectrogram, cache: Path | None
) -> dict[str, Tensor]:
    """Notes of both splits, uint8 [n, bands, frames], from the cache or played."""

    def play(split: str) -> Tensor:
        waves = torch.from_numpy(played(labels[split].numpy(), spectrogram, split)).float()
        return torch.cat([as_bytes(spectrogram.levels(part)) for part in waves.split(512)])

    said = f"{SCORED} {spectrogram!r} {[len(of_split) for of_split in labels.values()]}"
    key = hashlib.sha256(said.encode()).hexdigest()[:16]
    place = cache / f"{SOUND.one}s" / f"notes-{key}" if cache else None
    return kept(place, tuple(labels), play, "note")


@dataclass(frozen=True)
class Score:
    """What n notes of an instrument are played with, columns [n, 1] beside the row `time` [1, s].

    pitch: Hz; attack, decay, bright: in 0..1, of an instrument's own range; noise: normal numbers
    [n, s]; rate: samples a second.
    """

    pitch: Array
    attack: Array
    decay: Array
    bright: Array
    time: Array
    noise: Array
    rate: int

    def rise(self, shortest: float, longest: float) -> Array:
        """An attack of so many seconds, from 0 to 1."""
        return np.minimum(1, self.time / in_range(self.attack, shortest, longest))

    def fall(self, shortest: float, longest: float) -> Array:
        """A decay to 1/e in so many seconds."""
        return np.exp(-self.time / in_range(self.decay, shortest, longest))

    def phase(self, vibrato: float = 0.0) -> Array:
        """Of the pitch, which swings by a share of itself five and a half times a second."""
        swing = vibrato * np.sin(TURN * 5.5 * self.time) / (TURN * 5.5)
        return TURN * self.pitch * (self.time + swing)

    def partials(self, ratios: Array, sizes: Array, phase: Array) -> Array:
        """Sines at these ratios to the pitch, those that the rate has room for; sizes: of each,
        [k], or [k, n, 1].
        """
        found = np.zeros_like(phase)
        for ratio, size in zip(ratios, sizes, strict=True):
            found += np.where(ratio * self.pitch < self.rate / 2, size, 0) * np.sin(ratio * phase)
        return found


def in_range(share: Array, low: float, high: float) -> Array:
    """Shares of 0..1 -> values low..high, evenly in their logarithm."""
    return low * (high / low) ** share


def played(labels: np.ndarray, spectrogram: Spectrogram, stream: str) -> Array:
    """Waves [n, samples] of notes of these instruments, by number; stream: they are drawn from."""
    samples = spectrogram.samples
    waves = np.zeros((len(labels), samples))
    for number, (name, instrument) in enumerate(INSTRUMENTS.items()):
        rows = np.flatnonzero(labels == number)
        draw = generator(0, f"notes {stream} {name}", 0)
        shares = torch.rand(len(rows), 4, generator=draw).double().numpy()
        pitch, attack, decay, bright = (column[:, None] for column in shares.T)
        waves[rows] = instrument(
            Score(
                in_range(pitch, LOWEST, HIGHEST),
                attack,
                decay,
                bright,
                np.arange(samples)[None] / spectrogram.rate,
                torch.randn(len(rows), samples, generator=draw).double().numpy(),
                spectrogram.rate,
            )
        )
    return waves


# Instruments ------------------------------------------------------------------------------------


def bell(score: Score) -> Array:
    """Frequency modulation at 1.4 times the pitch; index and loudness die away together."""
    dying, phase = score.fall(0.15, 0.5), score.phase()
    return dying * np.sin(phase + in_range(score.bright, 2, 5) * dying * np.sin(1.4 * phase))


def brass(score: Score) -> Array:
    """Frequency modulation at the pitch, the index rising with the loudness."""
    swelling, phase = score.rise(0.05, 0.15), score.phase()
    ending = np.minimum(1, (score.time[:, -1:] - score.time) / 0.1)
    index = in_range(score.bright, 2.5, 5) * swelling * ending
    return swelling * ending * np.sin(phase + index * np.sin(phase))


def clarinet(score: Score) -> Array:
    """Odd harmonics alone, softly begun."""
    odd = np.arange(1.0, 16.0, 2.0)
    tilt = in_range(score.bright, 0.8, 1.6)
    return score.rise(0.02, 0.06) * score.partials(odd, odd[:, None, None] ** -tilt, score.phase())


def drum(score: Score) -> Array:
    """A membrane: its modes, which slide down after the blow, and a burst of noise."""
    modes = np.array([1, 1.594, 2.136, 2.296, 2.653])
    slide = in_range(score.bright, 0.2, 0.6) * 0.03 * (1 - np.exp(-score.time / 0.03))
    phase = TURN * score.pitch / 2 * (score.time + slide)
    struck = score.partials(modes, 1 / modes**1.5, phase) * score.fall(0.05, 0.15)
    return struck + 0.8 * score.noise * np.exp(-score.time / 0.02)


def flute(score: Score) -> Array:
    """Nearly a sine, with vibrato and breath."""
    sizes = np.array([1, 0.2, 0.05])
    tone = score.partials(np.arange(1.0, 4.0), sizes, score.phase(vibrato=0.01))
    breath = in_range(score.bright, 0.03, 0.12) * score.noise
    return score.rise(0.05, 0.12) * (tone + breath)


def marimba(score: Score) -> Array:
    """A tuned bar: modes at 1, 4 and 10, the higher the shorter."""
    phase, found = score.phase(), np.zeros_like(score.noise)
    for ratio, size in ((1, 1.0), (4, 0.4), (10, 0.2)):
        heard_at = ratio * score.pitch < score.rate / 2
        dying = score.fall(0.06 / ratio**0.5, 0.2 / ratio**0.5)
        found += np.where(heard_at, size, 0) * dying * np.sin(ratio * phase)
    return found


def organ(score: Score) -> Array:
    """Drawbars, held as long as the key."""
    ratios = np.array([0.5, 1, 1.5, 2, 3, 4, 6, 8])
    bars = np.array([0.6, 1, 0.5, 0.8, 0.4, 0.6, 0.2, 0.3])[:, None, None]
    tilt = ratios[:, None, None] ** -in_range(score.bright, 0.1, 0.6)
    return score.rise(0.004, 0.01) * score.partials(ratios, bars * tilt, score.phase())


def pluck(score: Score) -> Array:
    """A string that is plucked: noise in a loop as long as a period, smoothed each time round, the
    less the shorter it is, so that high notes ring too (Jaffe and Smith, 1983).
    """
    from scipy.signal import lfilter

    waves = np.zeros_like(score.noise)
    kept = in_range(score.decay, 0.99, 0.999)[:, 0]
    for row, (wave, hertz) in enumerate(zip(waves, score.pitch[:, 0], strict=True)):
        # a delay of whole samples, of the smoothing, and what is missing by an all-pass filter
        blend = 0.5 * (LOWEST / hertz) ** 1.5
        whole = int(score.rate / hertz - blend - 0.3)
        missing = score.rate / hertz - blend - whole
        turn = (1 - missing) / (1 + missing)
        loop = np.zeros(whole + 3)
        loop[:2] = 1, turn
        loop[whole:] -= kept[row] * np.convolve([1 - blend, blend], [turn, 1])
        burst = np.zeros_like(wave)
        burst[:whole] = score.noise[row, :whole] - score.noise[row, :whole].mean()
        soft = [1 - 0.5 * score.bright[row, 0]], [1, -0.5]
        wave[:] = lfilter([1, turn], loop, lfilter(*soft, burst))
    return waves


def strings(score: Score) -> Array:
    """All harmonics of a bowed string, slowly begun, with vibrato."""
    ratios = np.arange(1.0, 17.0)
    tilt = in_range(score.bright, 0.7, 1.2)
    sizes = ratios[:, None, None] ** -tilt
    return score.rise(0.12, 0.3) * score.partials(ratios, sizes, score.phase(vibrato=0.012))


def voice(score: Score) -> Array:
    """A sung "ah": all harmonics under three formants."""
    ratios = np.arange(1.0, 20.0)
    hertz = ratios[:, None, None] * score.pitch
    size = 1.0 + 0.15 * (score.bright - 0.5)  # of the throat, which moves all formants
    sizes = np.zeros_like(hertz)
    for formant, width, strength in ((730, 70, 1.0), (1090, 80, 0.6), (2440, 120, 0.25)):
        sizes += strength / (1 + ((hertz - size * formant) / width) ** 2)
    return score.rise(0.04, 0.1) * score.partials(ratios, sizes, score.phase(vibrato=0.015))


INSTRUMENTS: dict[str, Callable[[Score], Array]] = {
    made.__name__: made
    for made in (bell, brass, clarinet, drum, flute, marimba, organ, pluck, strings, voice)
}
