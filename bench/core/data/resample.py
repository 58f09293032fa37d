"""Waves at another rate: a polyphase filter of windowed sines, as scipy.signal.resample_poly has
it, on whatever device the waves are.

    y[m] = u sum_k h[m d - k u] x[k]     u / d = new rate / old rate in lowest terms
    h                                    a low-pass of unit gain, Kaiser's window of beta 5

    resampled(waves, of=8000, to=24000)      # [n, samples] -> [n, 3 samples]
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

_REACH, _BETA = 10, 5.0  # periods of the lower rate on either side; of Kaiser's window


def resampled(waves: Tensor, of: int, to: int) -> Tensor:
    """Waves float [n, samples] at `of` samples a second -> [n, ceil(samples to / of)] at `to`."""
    if of == to:
        return waves
    shared = math.gcd(of, to)
    up, down = to // shared, of // shared
    kernels, before = _phases(up, down)
    samples, wanted = waves.shape[1], -(-waves.shape[1] * up // down)
    # a step of the convolution makes `up` new samples out of `down` old ones
    steps = -(-wanted // up)
    after = (steps - 1) * down + kernels.shape[2] - before - samples
    found = F.conv1d(F.pad(waves[:, None], (before, max(0, after))), kernels.to(waves), stride=down)
    return found[..., :steps].transpose(1, 2).flatten(1)[:, :wanted]


@functools.cache
def _phases(up: int, down: int) -> tuple[Tensor, int]:
    """The filter taken apart: what each of `up` new samples takes of the old ones, [up, 1, taps],
    and how many of these lie before the step.
    """
    longest = max(up, down)
    half = _REACH * longest
    window = torch.kaiser_window(2 * half + 1, periodic=False, beta=_BETA, dtype=torch.float64)
    at = torch.arange(-half, half + 1, dtype=torch.float64)
    low_pass = torch.sinc(at / longest) * window
    low_pass = up * low_pass / low_pass.sum()
    before = half // up
    taps = torch.arange(-before, ((up - 1) * down + half) // up + 1)
    place = torch.arange(up)[:, None] * down - taps * up
    kernels = low_pass[(place + half).clamp(0, 2 * half)] * (place.abs() <= half)
    return kernels[:, None].float(), before
