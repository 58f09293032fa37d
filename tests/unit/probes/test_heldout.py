"""The held-out loss: by hand on all held-out pictures, and on some of them, drawn once for all."""

import pytest
import torch
from support.arms import random_backbone

from bench.core.data.base import Digits
from bench.core.model.flow import interpolate
from bench.core.model.streams import generator
from probes.features.store import subset
from probes.heldout import HeldoutLoss, heldout_loss


@pytest.mark.parametrize("most", [10_000, 100])
def test_it_is_the_mean_squared_error_of_the_velocity_at_stratified_times(most):
    data, net = Digits("digits", 2), random_backbone()
    row = heldout_loss(net, data, torch.device("cpu"), most=most)
    which = subset(600, most)
    n, by_hand = len(which), []
    x0, classes = data.tokens("heldout", which), data.labels("heldout", which)
    with torch.no_grad():
        for repeat in range(4):
            noise = generator(0, "heldout_noise", repeat)
            t = (torch.randperm(n, generator=noise) + torch.rand(n, generator=noise)) / n
            x1 = torch.cat([torch.randn(part.shape, generator=noise) for part in x0.split(64)])
            prediction, _ = net(interpolate(x0, x1, t), t, classes)
            by_hand.append((prediction - (x1 - x0)).square().mean())
    assert row.value == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-5)
    assert (row.n, row.protocol["pictures"], row.protocol["repeats"]) == (n, n, 4)


def test_its_cost_follows_what_it_is_told():
    assert HeldoutLoss.passes(50_000, 10_000, {}) == 40_000
    assert HeldoutLoss.passes(50_000, 10_000, {"heldout_images": 2500}) == 10_000
