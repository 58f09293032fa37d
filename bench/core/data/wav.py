"""WAV files: as waves of one channel at one rate, and back as a file that every player opens.

read_wav(Path("zero.wav"), rate=8000, samples=5120)     # float32 [5120]
wav_bytes(waves, rate=8000)                              # of several, one after another
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.data.pictures import readable

WAV_SUFFIXES = frozenset((".wav", ".wave"))
LONGEST = 600  # seconds of a file that are looked at
LOUD = 0.02  # of the loudest sample, about -34 dB: where a sound begins
PAUSE = 0.15  # seconds between two sounds that are written one after another


def read_wav(path: Path, rate: int, samples: int) -> Tensor:
    """A sound as float32 [samples], its loudest sample 1 (0 where all are silent).

    Channels are averaged, other rates are resampled (polyphase), integers of 8 to 64 bits and
    floats are read. A longer one is cut, from where it begins to be heard; a shorter one is filled
    with zeros. Raises ValueError naming a file that cannot be read whole, or holds nothing.
    """
    of_file, found = _read_whole(path)
    wave = found.mean(axis=1) if found.ndim > 1 else found
    if of_file != rate:
        wave = _resampled(wave, of_file, rate)

    loudest = float(np.abs(wave).max())
    if len(wave) > samples and loudest > 0:
        begins = int(np.argmax(np.abs(wave) > LOUD * loudest))
        wave = wave[min(begins, len(wave) - samples) :]
    whole = np.zeros(samples)
    whole[: min(samples, len(wave))] = wave[:samples]
    loudest = float(np.abs(whole).max())
    return torch.from_numpy(whole / loudest if loudest > 0 else whole).float()


def read_waves(path: Path, rate: int, channels: int, samples: int, resample: bool) -> Tensor:
    """A sound as float32 [channels, samples], as loud as it is: 1 is the most a file can hold.

    One channel is repeated, other numbers of them are averaged first; a longer sound is cut at its
    end and a shorter one filled with zeros. resample: bring other rates to this one (polyphase).
    Raises ValueError for them otherwise, and as `read_wav` does.
    """
    of_file, found = _read_whole(path)
    if of_file != rate:
        if not resample:
            raise ValueError(
                f"{readable(path)} has {of_file} samples a second and the autoencoder reads "
                f"{rate}: resample=true brings every file to its rate, or give files that have it"
            )
        found = _resampled(found, of_file, rate)
    of_channels = found.reshape(len(found), -1).T
    if len(of_channels) != channels:
        of_channels = np.repeat(of_channels.mean(axis=0, keepdims=True), channels, axis=0)
    whole = np.zeros((channels, samples), np.float32)
    whole[:, : min(samples, len(found))] = of_channels[:, :samples]
    return torch.from_numpy(whole)


def _read_whole(path: Path) -> tuple[int, np.ndarray]:
    """Samples a second, and samples [n] or [n, channels], float64 in -1..1."""
    from scipy.io import wavfile

    _only_errors()
    try:
        _check_whole(path)
        rate, found = wavfile.read(path)
    except Exception as error:  # scipy raises many kinds for what is no WAV file
        raise ValueError(f"{readable(path)} cannot be read ({error}): mend or remove it") from error
    if not found.size:
        raise ValueError(f"{readable(path)} holds no sound (0 samples): mend or remove it")
    if rate < 1:
        raise ValueError(f"{readable(path)} has {rate} samples a second: mend or remove it")
    wave = _floats(found[: LONGEST * rate])
    if not np.isfinite(wave).all():
        raise ValueError(f"{readable(path)} has samples that are no numbers: mend or remove it")
    return rate, wave


def _resampled(wave: np.ndarray, of_file: int, rate: int) -> np.ndarray:
    from scipy.signal import resample_poly

    shared = math.gcd(of_file, rate)
    return resample_poly(wave, rate // shared, of_file // shared)


def _check_whole(path: Path) -> None:
    """Raise ValueError for a file that ends before its head says: SciPy would only warn of it."""
    with open(path, "rb") as file:
        head = file.read(8)
    if len(head) < 8 or head[:4] not in (b"RIFF", b"RIFX", b"RF64"):
        raise ValueError("it is no WAV file")
    said = 8 + int.from_bytes(head[4:], "big" if head[:4] == b"RIFX" else "little")
    if head[:4] != b"RF64" and said > (there := path.stat().st_size):
        raise ValueError(f"it is cut off: {there} of {said} bytes")


@functools.cache
def _only_errors() -> None:
    # of parts that hold no sound, without a path; set once, filters are a process's
    warnings.filterwarnings("ignore", module=r"scipy\.io\.wavfile")
    warnings.filterwarnings("ignore", message="Chunk .non-data. not understood")


def _floats(found: np.ndarray) -> np.ndarray:
    """Samples as they stand in a file as floats, those of integers in -1..1."""
    if found.dtype == np.uint8:  # the one kind that is not signed
        return (found.astype(np.float64) - 128) / 128
    most = -float(np.iinfo(found.dtype).min) if found.dtype.kind == "i" else 1.0
    return found.astype(np.float64) / most


def wav_bytes(waves: Tensor, rate: int) -> bytes:
    """Waves [n, samples] in -1..1 as one WAV file of 16 bits, a pause after each."""
    from scipy.io import wavfile

    pause = waves.new_zeros(len(waves), round(PAUSE * rate))
    whole = torch.cat([waves, pause], dim=1).flatten().clamp(-1, 1)
    file = io.BytesIO()
    wavfile.write(file, rate, (32767 * whole).round().to(torch.int16).numpy())
    return file.getvalue()
