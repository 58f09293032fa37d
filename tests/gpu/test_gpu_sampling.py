"""A GPU makes the samples that the CPU makes:
at most one grey level apart in at most 0.1 % of the values.
"""

import pytest
import torch
from support.arms import samples

from bench.core.data.base import Digits, pictures_of
from bench.core.model.backbone import SiT
from bench.core.model.sampling import velocity_of
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.sizes import SIZES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("name", ["ode50", "heun50", "sde250"])
def test_samples_of_both_devices(name):
    data, draw = Digits("digits", 2), torch.Generator().manual_seed(0)
    backbone = SiT(data.grid, SIZES["nano"], data.classes).initialise(draw)
    with torch.no_grad():  # adaLN-Zero predicts nothing: give every weight a part
        for weight in backbone.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    shape = (data.grid.tokens, data.grid.token_dim)
    pictures = []
    for device in ("cpu", "cuda"):
        velocity = velocity_of(backbone.to(device))
        tokens, labels = samples(
            velocity, sampling_protocol(name), shape, data.classes, 256, device
        )
        pictures.append((pictures_of(data.decode(tokens), "round_half_up")[0].int(), labels))
    (on_cpu, labels), (on_gpu, same_labels) = pictures
    difference = (on_cpu - on_gpu).abs()
    assert torch.equal(labels, same_labels) and difference.max() <= 1
    assert (difference > 0).double().mean() <= 1e-3
