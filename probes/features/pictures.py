"""Features as colours: the main directions of a block's tokens as red, green and blue.

    x_t = (1 - t) x0 + t noise    of the first eight held-out pictures, t = 0.1, null label, the
                                  same noise for every arm
    colours = the centred tokens' projections on their first three principal axes, over all eight

A picture of an arm is for looking at, and its colours have no meaning of their own: axes of two
arms are unrelated.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import DataSet
from bench.core.model.backbone import SiT
from bench.core.model.flow import interpolate
from bench.core.store.files import atomic
from probes.features.store import probe_noise

PICTURES, TIME = 8, 0.1


def principal_colours(tokens: Tensor) -> Tensor:
    """Tokens [..., W] -> colours [..., 3] in 0..1:
    each principal axis from its smallest to its largest projection.

    The sign of an axis is chosen so that its largest entry is positive. Directions that do not vary
    are 0.5.
    """
    flat = tokens.reshape(-1, tokens.shape[-1]).double()
    centred = flat - flat.mean(dim=0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:3]
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    colours = torch.zeros(len(flat), 3, dtype=torch.float64)
    colours[:, : len(axes)] = centred @ axes.T
    low, high = colours.amin(dim=0), colours.amax(dim=0)
    varies = high - low > 1e-9 * centred.abs().max().clamp(min=1e-300)
    scaled = torch.where(varies, (colours - low) / (high - low).clamp(min=1e-300), 0.5)
    return scaled.float().reshape(*tokens.shape[:-1], 3)


@torch.no_grad()
def feature_pictures(
    net: SiT, dataset: DataSet, device: torch.device | str = "cpu"
) -> dict[str, np.ndarray]:
    """Pictures float32 [M, H, W, 3] on the token grid, and block and t that they are of. net:
    an EMA backbone.

    Raises ValueError for data that is not on a grid of two axes.
    """
    if len(dataset.grid.grid) != 2:
        raise ValueError(
            f"features of a grid {dataset.grid.grid} cannot be shown as pictures: "
            "that takes two axes"
        )
    count, block = min(PICTURES, dataset.n_heldout), (net.size.depth + 1) // 2
    x0 = torch.as_tensor(dataset.tokens("heldout", torch.arange(count))).to(device)
    noise = probe_noise(0, "heldout", 0, count, tuple(x0.shape[1:])).to(device)
    level = torch.full((count,), TIME, device=device)
    null = net.null.expand(count, *net.null.shape)
    _, taps = net(interpolate(x0, noise, level), level, null, taps=(block,), stop_after=block)
    colours = principal_colours(taps[block].float().cpu())
    pictures = colours.reshape(count, *dataset.grid.grid, 3).numpy()
    return {"pictures": pictures, "block": np.array(block), "t": np.array(TIME)}


def save_pictures(arrays: dict[str, np.ndarray], run_dir: Path, images: int) -> Path:
    """samples/features_pca-<images>.npz of a run folder, written atomically."""
    path = run_dir / "samples" / f"features_pca-{images:012d}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path
