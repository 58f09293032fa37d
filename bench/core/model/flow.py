"""The linear flow-matching path, stated once: t = 1 is noise, t = 0 is data (SiT, arXiv 2401.08740;
REPA, 2410.06940).

x_t = (1 - t) x0 + t x1,    v = dx_t/dt = x1 - x0
"""

from __future__ import annotations

from torch import Tensor


def interpolate(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """x_t of data x0 and noise x1 [B, N, C] at levels t [B] or, one level a token, [B, N]."""
    t = t.reshape(*t.shape, *(1,) * (x0.dim() - t.dim())).to(x0.dtype)
    return (1 - t) * x0 + t * x1


def velocity(x0: Tensor, x1: Tensor) -> Tensor:
    """The target v = x1 - x0; it does not depend on t."""
    return x1 - x0


def squared_error(
    prediction: Tensor, x0: Tensor, x1: Tensor, weight: Tensor | None = None
) -> Tensor:
    """(prediction - v)^2 [B, N, C] in float32, times what each number counts, weight [N, C]."""
    squares = (prediction.float() - velocity(x0, x1)).square()
    return squares if weight is None else squares * weight
