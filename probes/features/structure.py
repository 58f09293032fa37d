"""Spatial structure of patch tokens: are near patches more alike than distant ones?

iREPA (Singh et al. 2025, arXiv:2512.10794) finds that this, not accuracy, tells how well an encoder
guides generation. Its local-against-distant similarity of an image with patch tokens x_t is
    LDS = E[cos(x_t, x_t') | d(t, t') < r_near] - E[cos(x_t, x_t') | d(t, t') >= r_far],   t != t'.
Here d is the Manhattan distance on the token grid and both radii are half the grid's longer side;
the value is averaged over images. 0: no structure (all patches alike, or unlike at every distance).

    from probes.features.structure import local_against_distant
    local_against_distant(encoder(images).patches, grid=(16, 16))
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MEASURE = (
    "mean cosine of patch pairs nearer than half the longer side minus that of the "
    "others; Manhattan, no self"
)


def grid_distances(grid: tuple[int, ...]) -> Tensor:
    """Manhattan distances [N, N] between the cells of a token grid of 1 to 3 axes."""
    cells = torch.cartesian_prod(*(torch.arange(size) for size in grid)).reshape(-1, len(grid))
    return (cells[:, None] - cells[None]).abs().sum(dim=-1)


def local_against_distant(patches: Tensor, grid: tuple[int, ...]) -> Tensor:
    """LDS of each image [B] (within -2..2) of patch tokens [B, N, W] in the
    row-major order of the grid.
    """
    distances = grid_distances(grid).to(patches.device)
    if patches.shape[1] != len(distances):
        raise ValueError(f"{patches.shape[1]} patch tokens do not fill a grid of {grid}")
    radius = max(grid) / 2
    near = (distances < radius) & (distances > 0)
    far = distances >= radius
    if not near.any() or not far.any():
        raise ValueError(
            f"a grid of {grid} has no near or no distant pairs: structure needs 3 cells on an axis"
        )
    tokens = F.normalize(patches.float(), dim=-1)
    cosines = tokens @ tokens.transpose(1, 2)
    return (cosines * near).sum(dim=(1, 2)) / near.sum() - (cosines * far).sum(
        dim=(1, 2)
    ) / far.sum()
