"""Another rate, beside SciPy's polyphase resampling."""

import math

import pytest
import torch
from scipy.signal import resample_poly

from bench.core.data.resample import resampled

RATES = [
    (8000, 24000),
    (8000, 16000),
    (44100, 48000),
    (44100, 16000),
    (48000, 24000),
    (22050, 8000),
]


@pytest.mark.parametrize(("of", "to"), RATES)
@pytest.mark.parametrize("samples", [1, 160, 5121])
def test_it_is_scipys(of, to, samples):
    waves = torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    shared = math.gcd(of, to)
    expected = resample_poly(waves.double().numpy(), to // shared, of // shared, axis=1)
    torch.testing.assert_close(
        resampled(waves, of, to).double(), torch.from_numpy(expected), atol=2e-6, rtol=1e-5
    )


def test_the_same_rate_changes_nothing():
    waves = torch.randn(2, 50)
    assert resampled(waves, 8000, 8000) is waves
