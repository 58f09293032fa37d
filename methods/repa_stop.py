"""REPA with an early stop: the alignment ends after so many images (HASTE, arXiv 2505.16792,
fig. 1: the stop alone).

L = L_velocity + 1[images < stop] * L_REPA

python -m bench.run method=repa_stop method.stop_images=64Ki
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.model.method import Arm, Batch, Context, Step, Term, generative
from bench.core.model.sizes import Size
from methods.parts import switched_off
from methods.repa import REPA


@dataclass
class REPAStop(REPA):
    """stop_images: images after which there is no alignment, and no pass of the encoder."""

    stop_images: int

    def ends(self, size: Size) -> int:
        return self.stop_images

    def loss(self, net: Arm, batch: Batch, ctx: Context, step: Step) -> dict[str, Term]:
        if step.images < self.stop_images:
            return super().loss(net, batch, ctx, step)
        term, _ = generative(net, batch, self.noise(batch.t, step.draw, ctx), step)
        return {"velocity": term, "alignment": switched_off(net.heads)}
