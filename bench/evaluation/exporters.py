"""Our backbones under the names and conventions of SiT's, REPA's and Self-Flow's released code:
bench/evaluation/released.py reversed; `python -m bench.export` writes them.

    export_checkpoint(backbone, Path("repa.pt"), "repa", trained_heads(Path("runs/<run>")))
    export_checkpoint(backbone, Path("selfflow.pt"), "selfflow")

Reading such a file back gives the same weights bit for bit. For that the one weight that is rotated
(the first of the timestep embedder, for Self-Flow's reversed time) is stored in float64;
`load_state_dict` of any reader casts it. The released code loads strictly and so asks for the
projection heads too, though sampling does not use them: without `heads` it has to be told
strict=False.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bench.core.model.backbone import SiT
from bench.core.model.tokens import TokenGrid
from bench.core.store import checkpoints
from bench.core.store.files import atomic
from bench.evaluation.released import FINAL, PATCH, TIME, format_of, reverse_time, velocity_rows

# The linear layers of a head by their names here -> there. REPA has a list of heads, of which a run
# here has the one; SiT has none.
EXPORTED = {
    "sit": {},
    "repa": {f"projector.{layer}": f"projectors.0.{layer}" for layer in (0, 2, 4)},
    "selfflow": {"projector.0": "projector.linear1", "projector.2": "projector.linear2"},
}


def trained_heads(run: Path) -> dict[str, Tensor]:
    """The heads of a run's newest checkpoint, as trained: only the backbone is averaged here.

    Raises ValueError where there is no checkpoint, as after `bench.sweep action=clean`.
    """
    state = checkpoints.load_checkpoint(run / "checkpoints")
    if state is None:
        raise ValueError(
            f"{run} has no checkpoint, and snapshots hold no heads: "
            "export the backbone alone, and load it with strict=False"
        )
    return state["heads"]


def heads_of(run: Path, format_name: str) -> tuple[dict[str, Tensor] | None, str]:
    """The trained heads of a run where the format has them, else None and why not."""
    if not EXPORTED[format_name]:
        return {}, ""
    try:
        heads = trained_heads(run)
        _their_heads(heads, format_name)
    except ValueError as error:
        return None, str(error).partition(": ")[0]
    return heads, ""


def to_theirs(
    backbone: SiT, format_name: str, heads: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The backbone's weights under the format's names, shapes and convention, on the CPU; heads:
    the state dict of a method's, "projector.0.weight", for a reader that loads strictly.

    Raises ValueError for a format that is not written, for data that are not pictures, and for
    heads that are not the format's.
    """
    found = format_of(format_name)
    grid = backbone.grid
    if len(set(grid.shape)) != 1 or len(grid.shape) != 2:
        raise ValueError(
            f"the released codes know square pictures alone, not data of shape {grid.shape}"
        )
    state = {key: value.detach().cpu().clone() for key, value in backbone.state_dict().items()}
    if found.convolution:
        state[PATCH] = state[PATCH].reshape(-1, grid.channels, *grid.patches)
    for key in FINAL:
        state[key] = _their_rows(
            state[key], grid, learn_sigma=found.learn_sigma, sign=-1 if found.reversed else 1
        )
    if found.reversed:
        state[TIME] = reverse_time(state[TIME])
    return state | (_their_heads(heads, format_name) if heads is not None else {})


def _their_heads(heads: Mapping[str, Tensor], format_name: str) -> dict[str, Tensor]:
    names = {
        f"{ours}.{leaf}": f"{theirs}.{leaf}"
        for ours, theirs in EXPORTED[format_name].items()
        for leaf in ("weight", "bias")
    }
    if heads.keys() != names.keys():
        if not names:
            raise ValueError(f"format={format_name} has no head: leave heads out")
        raise ValueError(
            f"format={format_name} has one head of {len(EXPORTED[format_name])} linear layers, and "
            f"these have {', '.join(heads) or 'no parameters'}: leave heads out, and load the file "
            "with strict=False"
        )
    return {names[key]: value.detach().cpu().clone() for key, value in heads.items()}


def _their_rows(ours: Tensor, grid: TokenGrid, learn_sigma: bool, sign: int) -> Tensor:
    """Rows (c, p1, p2) -> (p1, p2, c), with zeros for the channels of learn_sigma,
    which no sampler reads.
    """
    rows = grid.token_dim * (2 if learn_sigma else 1)
    theirs = ours.new_zeros(rows, *ours.shape[1:])
    theirs[velocity_rows(rows, grid)] = sign * ours
    return theirs


def export_checkpoint(
    backbone: SiT, path: Path, format_name: str, heads: Mapping[str, Tensor] | None = None
) -> Path:
    """Write backbone and heads, as `to_theirs` takes them, atomically: REPA's under "model" and
    "ema", the others' as a bare state dict.
    """
    state = to_theirs(backbone, format_name, heads)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        torch.save({"model": state, "ema": state} if format_name == "repa" else state, temporary)
    return path
