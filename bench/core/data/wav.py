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
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    _only_errors()
    try:
        _check_whole(path)
        of_file, found = wavfile.read(path)
    except Exception as error:  # scipy raises many kinds for what is no WAV file
        raise ValueError(f"{readable(path)} cannot be read ({error}): mend or remove it") from error
    if not found.size:
        raise ValueError(f"{readable(path)} holds no sound (0 samples): mend or remove it")
    if of_file < 1:
        raise ValueError(f"{readable(path)} has {of_file} samples a second: mend or remove it")
    wave = _floats(found[: LONGEST * of_file])
    if not np.isfinite(wave).all():
        raise ValueError(f"{readable(path)} has samples that are no numbers: mend or remove it")
    if of_file != rate:
        shared = math.gcd(of_file, rate)
        wave = resample_poly(wave, rate // shared, of_file // shared)

    loudest = float(np.abs(wave).max())
    if len(wave) > samples and loudest > 0:
        begins = int(np.argmax(np.abs(wave) > LOUD * loudest))
        wave = wave[min(begins, len(wave) - samples) :]
    whole = np.zeros(samples)
    whole[: min(samples, len(wave))] = wave[:samples]
    loudest = float(np.abs(whole).max())
    return torch.from_numpy(whole / loudest if loudest > 0 else whole).float()


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
    """Samples as they stand in a file, [n] or [n, channels], as floats [n] of one channel."""
    if found.dtype == np.uint8:  # the one kind that is not signed
        found = found.astype(np.float64) - 128
    mono = found.astype(np.float64)
    return mono.mean(axis=1) if mono.ndim > 1 else mono


def wav_bytes(waves: Tensor, rate: int) -> bytes:
    """Waves [n, samples] in -1..1 as one WAV file of 16 bits, a pause after each."""
    from scipy.io import wavfile

    pause = waves.new_zeros(len(waves), round(PAUSE * rate))
    whole = torch.cat([waves, pause], dim=1).flatten().clamp(-1, 1)
    file = io.BytesIO()
    wavfile.write(file, rate, (32767 * whole).round().to(torch.int16).numpy())
    return file.getvalue()
