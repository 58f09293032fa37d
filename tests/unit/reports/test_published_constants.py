"""Constants that published numbers rest on, written here a second time:
a changed one is another protocol.
"""

import pytest
import torch

from bench.core.data.codecs import SCALE, StableDiffusion
from bench.core.model.sampling import sample_block
from bench.core.model.sampling_protocol import sampling_protocol
from probes.distances import inception_score, kid, precision_recall
from probes.features import cknna
from probes.features.linear import ProbeRecipe


def test_metrics_and_probes():
    assert (
        inception_score.SPLIT_SIZE,
        kid.SUBSETS,
        kid.SUBSET_SIZE,
        precision_recall.NEIGHBOURS,
    ) == (
        5000,
        100,
        1000,
        3,
    )
    assert (cknna.TOPK, cknna.MOST_CKNNA) == (10, 10_000)
    recipe = ProbeRecipe()
    assert (recipe.epochs, recipe.batch, recipe.learning_rate) == (90, 16_384, 1e-3)


def test_latents_are_scaled_by_stable_diffusions_factor_both_ways(monkeypatch):
    seen = []

    class Recorder(torch.nn.Linear):
        def decode(self, latents):
            seen.append(latents)
            return type("Decoded", (), {"sample": torch.zeros(len(latents), 3, 16, 16)})

    monkeypatch.setattr(StableDiffusion, "load", lambda self: Recorder(1, 1))
    latents = torch.randn(2, 4, 2, 2)
    StableDiffusion("any").pixels(latents)
    torch.testing.assert_close(seen[0], latents / 0.18215)
    assert SCALE == 0.18215


def test_the_sdes_increments_are_not_its_start():
    protocol = sampling_protocol("sde250", steps=2, last_time=0.5)
    kept = []
    sample_block(
        lambda x, t, y: kept.append(x.clone()) or -x / (2 - float(t[0])),
        protocol,
        (8, 8),
        10,
        0,
        0,
        "cpu",
    )
    first, second = kept  # this velocity cancels the drift: what is added is the increment alone
    step = (second - first).flatten()
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), step]))[0, 1])) < 0.05
    assert float(step.std()) == pytest.approx((2 * 1 * 0.5) ** 0.5, rel=0.05)


def test_guidance_below_one_is_none():
    calls = []
    protocol = sampling_protocol("ode50", steps=1, guidance=0.5)
    sample_block(lambda x, t, y: calls.append(len(x)) or x, protocol, (2, 2), 10, 0, 0, "cpu")
    assert calls == [64], "one pass with labels, none without"


@pytest.mark.parametrize(
    ("name", "change"),
    [("sde250", {"shift": 3.0}), ("dopri5", {"steps": 7}), ("dopri5", {"shift": 2.0})],
)
def test_settings_without_effect_are_refused(name, change):
    with pytest.raises(ValueError, match="says nothing for"):
        sampling_protocol(name, **change)
