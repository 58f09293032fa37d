"""Our backbones under the names and conventions of REPA's and Self-Flow's released code:
bench/evaluation/released.py reversed.

    export_checkpoint(backbone, Path("selfflow.pt"), "selfflow")

Reading such a file back gives the same weights bit for bit. For that the one weight that is rotated
(the first of the timestep embedder, for Self-Flow's reversed time) is stored in float64;
`load_state_dict` of any reader casts it. Projection heads are not written, as sampling does not use
them: the released code, which loads strictly, asks for them (`projectors.*`, `projector.*`) and has
to be told strict=False.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench.core.model.backbone import SiT
from bench.core.model.tokens import TokenGrid
from bench.core.store.files import atomic
from bench.evaluation.released import FINAL, PATCH, TIME, format_of, reverse_time, velocity_rows

EXPORTED = ("repa", "selfflow")


def to_theirs(backbone: SiT, format_name: str) -> dict[str, Tensor]:
    """The backbone's weights under the format's names, shapes and convention, on the CPU.

    Raises ValueError for a format that is not written, and for data that are not pictures.
    """
    found = format_of(format_name)
    if format_name not in EXPORTED:
        raise ValueError(
            f"format={format_name} is read but not written (choices: {', '.join(EXPORTED)})"
        )
    grid = backbone.grid
    if len(set(grid.shape)) != 1 or len(grid.shape) != 2:
        raise ValueError(
            f"the released codes know square pictures alone, not data of shape {grid.shape}"
        )
    state = {key: value.detach().cpu().clone() for key, value in backbone.state_dict().items()}
    if format_name == "repa":  # a convolution
        state[PATCH] = state[PATCH].reshape(-1, grid.channels, grid.patch, grid.patch)
    for key in FINAL:
        state[key] = _their_rows(
            state[key], grid, learn_sigma=found.reversed, sign=-1 if found.reversed else 1
        )
    if found.reversed:
        state[TIME] = reverse_time(state[TIME])
    return state


def _their_rows(ours: Tensor, grid: TokenGrid, learn_sigma: bool, sign: int) -> Tensor:
    """Rows (c, p1, p2) -> (p1, p2, c), with zeros for the channels of learn_sigma,
    which no sampler reads.
    """
    rows = grid.token_dim * (2 if learn_sigma else 1)
    theirs = ours.new_zeros(rows, *ours.shape[1:])
    theirs[velocity_rows(rows, grid)] = sign * ours
    return theirs


def export_checkpoint(backbone: SiT, path: Path, format_name: str) -> Path:
    """Write the backbone atomically: REPA's under "model" and "ema",
    Self-Flow's as a bare state dict.
    """
    state = to_theirs(backbone, format_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        torch.save({"model": state, "ema": state} if format_name == "repa" else state, temporary)
    return path
