"""The one exponential moving average of the backbone: it is what is evaluated, and it is lent as
teacher.

ema <- d ema + (1 - d) theta after every step, starting as a copy
d = decay, or min(decay, (1 + n) / (10 + n)) after n steps
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from bench.core.model.ports import Backbone
from bench.core.train.sharding import held_here

AnyBackbone = TypeVar("AnyBackbone", bound=Backbone)


def ema_copy(backbone: AnyBackbone) -> AnyBackbone:
    """A frozen copy to average into."""
    return copy.deepcopy(backbone).requires_grad_(False)


def ema_decay(decay: float, warmup: bool, steps: int) -> float:
    """The decay of the update that follows `steps` earlier ones; warm-up: short averages while
    there is little yet.
    """
    return min(decay, (1 + steps) / (10 + steps)) if warmup else decay


@torch.no_grad()
def ema_update(ema: nn.Module, trained: nn.Module, decay: float) -> None:
    """One step of the average, all parameters at once."""
    now, then = held_here(trained.parameters()), held_here(ema.parameters())
    torch._foreach_lerp_(then, now, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
