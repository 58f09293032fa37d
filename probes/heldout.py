"""The held-out velocity loss: one level a sample, stratified uniform t, fixed noise, true labels,
EMA weights.

It is unrelated to every encoder, cheap, and smooth in the size of the model, so scaling is fitted
on it first.
"""

from __future__ import annotations

import torch

from bench.core.data.base import DataSet
from bench.core.model.backbone import SiT
from bench.core.model.flow import interpolate, squared_error
from bench.core.model.streams import generator
from bench.core.store.rows import Row
from probes.features.store import subset
from probes.metric import DATA, STATED, Inputs, Metric, Record, Told

REPEATS, MOST = 4, 50_000
HELDOUT_LOSS = Record(
    "heldout_loss",
    version=None,
    levels="one a sample, stratified uniform t",
    noise="fixed, seed 0",
    labels="true",
    weights=STATED,
    precision="float32",
    repeats=REPEATS,
    pictures=STATED,
)


@torch.no_grad()
def heldout_loss(
    backbone: SiT,
    data: DataSet,
    device: torch.device,
    weights: str = "ema",
    block: int = 64,
    most: int = MOST,
) -> Row:
    """Mean over held-out pictures, elements and 4 draws of noise.

    stderr: over pictures, whose draws are averaged first.
    """
    which = subset(data.n_heldout, most)
    n = len(which)
    per_picture = torch.zeros(n, dtype=torch.float64)
    weight = data.grid.weight
    for repeat in range(REPEATS):
        noise = generator(0, "heldout_noise", repeat)
        strata = torch.randperm(n, generator=noise)
        t_all = (strata + torch.rand(n, generator=noise)) / n
        for start in range(0, n, block):
            rows = torch.arange(start, min(start + block, n))
            x0 = data.tokens("heldout", which[rows])
            x1 = torch.randn(x0.shape, generator=noise)
            t = t_all[rows]
            told = data.conditions("heldout", which[rows]).to(device)
            prediction, _ = backbone(interpolate(x0, x1, t).to(device), t.to(device), told)
            error = squared_error(prediction.cpu(), x0, x1, weight).mean(dim=(1, 2))
            per_picture[rows] += error.double() / REPEATS
    stderr = float(per_picture.std() / n**0.5) if n > 1 else None
    stated = {"weights": weights, "pictures": n}
    return HELDOUT_LOSS.row("heldout_loss", float(per_picture.mean()), n, stated, stderr=stderr)


def most_heldout(settings: Told) -> int:
    """At most so many held-out pictures are read, drawn once for all."""
    return int(settings.get("heldout_images", MOST))


class HeldoutLoss(Metric):
    """heldout_loss."""

    needs = (DATA,)
    records = (HELDOUT_LOSS,)

    def measure(self, inputs: Inputs) -> list[Row]:
        data, weights = inputs.data_here, inputs.weights
        most = most_heldout(inputs.settings)
        return [heldout_loss(inputs.backbone, data, inputs.device, weights, most=most)]

    @classmethod
    def passes(cls, n_train: int, n_heldout: int, settings: Told) -> int:
        return min(n_heldout, most_heldout(settings)) * REPEATS
