"""Released checkpoints of SiT, REPA and Self-Flow,
read strictly and turned into the ordinary backbone's weights.

A foreign convention is turned into ours inside the weights, once, here: the backbone has no switch
for any of it. SiT and Self-Flow (arXiv 2401.08740, 2603.06507) run time from noise (0) to data (1)
and predict data - noise; with w the frequencies of the timestep embedding and [W_c | W_s] its first
weight, t -> 1 - t reflects each pair of columns,

    W_c' = W_c cos w + W_s sin w,    W_s' = W_c sin w - W_s cos w,

and the final linear changes its sign. Their final rows are ordered (p1, p2, c), ours (c, p1, p2),
and where a model predicts eight channels (learn_sigma) the first four are the velocity. REPA's
(arXiv 2410.06940) time and sign are ours.

    backbone = import_checkpoint(Path("SiT-XL-2-256.pt"), "sit", SIZES["XL"]).backbone
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.core.model.backbone import FREQUENCIES, SiT, time_frequencies
from bench.core.model.sizes import SIZES, Size
from bench.core.model.tokens import TokenGrid
from bench.evaluation.checkpoint_files import read_weights

TIME = "t_embedder.mlp.0.weight"
PATCH = "x_embedder.proj.weight"
LABELS = "y_embedder.embedding_table.weight"
POSITIONS = "pos_embed"
FINAL = ("final_layer.linear.weight", "final_layer.linear.bias")


@dataclass(frozen=True)
class Format:
    """One released code's convention.

    reversed: time runs 0 = noise to 1 = data and the velocity is data - noise; convolution: patches
    are embedded by one (else by a linear map); learn_sigma: there may be twice as many outputs, of
    which the first half is the velocity; dropped: prefixes of training-only keys; aligned: the
    encoder that its released models were aligned with.
    """

    name: str
    reversed: bool
    convolution: bool
    learn_sigma: bool
    dropped: tuple[str, ...] = ()
    aligned: str = "none"


FORMATS = {
    item.name: item
    for item in (
        Format("sit", reversed=True, convolution=True, learn_sigma=True),
        Format(
            "repa",
            reversed=False,
            convolution=True,
            learn_sigma=False,
            dropped=("projectors.",),
            aligned="dinov2_b",
        ),
        Format(
            "selfflow", reversed=True, convolution=False, learn_sigma=True, dropped=("projector.",)
        ),
    )
}


@dataclass(frozen=True)
class Imported:
    """A backbone in our convention; weights: "ema", "model" or "as published"; dropped:
    keys left out on purpose; said: which of several sets of weights it is, "" of one.
    """

    backbone: SiT
    weights: str
    dropped: list[str]
    said: str


def format_of(name: str) -> Format:
    """A format by its name. Raises ValueError with the choices."""
    if name not in FORMATS:
        raise ValueError(f"format={name} is unknown (choices: {', '.join(FORMATS)})")
    return FORMATS[name]


def import_checkpoint(
    path: Path, format_name: str, size: Size, patch: int = 2, channels: int = 4
) -> Imported:
    """The backbone of a released checkpoint (.pt, or .safetensors).

    The token grid (square) and the number of classes are read from the weights; patch, channels: of
    the data, checked. Raises ValueError for another size, missing or surplus keys (all named),
    pickled code, and a damaged file.
    """
    found = format_of(format_name)
    state, weights, said = read_weights(path)
    try:
        kept, dropped = _plain_names(state, found)
        check_dimensions(kept)
        grid = token_grid(kept, patch, channels)
        check_size(kept, size)
        check_format(kept, found)
        backbone = SiT(grid, size, len(_needed(kept, LABELS)) - 1)
        with torch.no_grad():
            _load(backbone, to_ours(kept, found, grid))
    except ValueError as error:
        raise ValueError(f"{path} as format={format_name}: {error}") from error
    return Imported(backbone.requires_grad_(False), weights, dropped, said)


def _plain_names(state: Mapping[str, Tensor], found: Format) -> tuple[dict[str, Tensor], list[str]]:
    """REPA's legacy `decoder_blocks.i` become `blocks.(i + encoder depth)`;
    training-only keys are set aside.
    """
    encoder_depth = depth_of(state)
    kept: dict[str, Tensor] = {}
    dropped = []
    for key, value in state.items():
        if key.startswith(found.dropped):
            dropped.append(key)
            continue
        legacy = re.fullmatch(r"decoder_blocks\.(\d+)\.(.+)", key) if found.name == "repa" else None
        kept[f"blocks.{int(legacy[1]) + encoder_depth}.{legacy[2]}" if legacy else key] = value
    return kept, dropped


def depth_of(state: Iterable[str]) -> int:
    """Number of `blocks.i` among the keys."""
    return len({match[1] for key in state if (match := re.match(r"blocks\.(\d+)\.", key))})


def _needed(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise ValueError(
            f"{key} is missing, so this is no SiT; it has {', '.join(list(state)[:5])} ..."
        )
    return state[key]


def check_dimensions(state: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a tensor that the rest reads by its shape has too few dimensions,
    or none.
    """
    least = {PATCH: 2, POSITIONS: 2, TIME: 2, LABELS: 2, FINAL[0]: 2, FINAL[1]: 1}
    for key, dimensions in least.items():
        if key in state and (state[key].dim() < dimensions or not state[key].numel()):
            raise ValueError(f"{key} has shape {list(state[key].shape)}, so this is no SiT")


def token_grid(state: Mapping[str, Tensor], patch: int, channels: int) -> TokenGrid:
    """The square grid that the position embedding has rows for.

    Raises ValueError where data and weights do not fit.
    """
    numbers = _needed(state, PATCH)[0].numel()
    if numbers != channels * patch**2:
        raise ValueError(
            f"its tokens have {numbers} numbers, "
            f"the data's {channels * patch**2} ({channels} channels, patch {patch})"
        )
    tokens = _needed(state, POSITIONS).shape[-2]
    side = math.isqrt(tokens)
    if side**2 != tokens:
        raise ValueError(f"its position embedding has {tokens} rows, which is no square grid")
    return TokenGrid((side * patch, side * patch), patch, channels)


def check_size(state: Mapping[str, Tensor], size: Size) -> None:
    """Raise ValueError naming both sizes when depth or width differ."""
    depth, width = depth_of(state), len(_needed(state, PATCH))
    if (depth, width) == (size.depth, size.width):
        return
    known = next(
        (f" (size={s.name})" for s in SIZES.values() if (s.depth, s.width) == (depth, width)), ""
    )
    raise ValueError(
        f"it has {depth} blocks of width {width}{known}, "
        f"but size={size.name} has {size.depth} of width {size.width}: "
        "give the size that it was trained with"
    )


def check_format(state: Mapping[str, Tensor], found: Format) -> None:
    """Raise ValueError where the shapes are another format's: read as this one,
    it would load and give nonsense.
    """
    weight, final = _needed(state, PATCH), state.get(FINAL[1])
    if (weight.dim() == 4) != found.convolution:
        kinds = ("a linear map", "a convolution")
        fitting = ", ".join(
            name for name, other in FORMATS.items() if other.convolution != found.convolution
        )
        raise ValueError(
            f"its patches are embedded by {kinds[not found.convolution]}, those of this format by "
            f"{kinds[found.convolution]}: choose format={fitting.replace(', ', ' or ')}"
        )
    if final is not None and len(final) == 2 * weight[0].numel() and not found.learn_sigma:
        raise ValueError(
            f"its final layer has {len(final)} rows (learn_sigma), "
            "twice as many as models of this format: "
            "is it format=sit?"
        )


def to_ours(state: Mapping[str, Tensor], found: Format, grid: TokenGrid) -> dict[str, Tensor]:
    """A foreign state dict in our convention, float32;
    keys that are not there are left to the strict load.
    """
    ours = {key: value.detach().clone() for key, value in state.items()}
    if PATCH in ours:
        ours[PATCH] = ours[PATCH].flatten(
            1
        )  # a convolution's [W, c, p1, p2] is a linear map of (c, p1, p2)
    for key in FINAL:
        if key in ours:
            rows = velocity_rows(len(ours[key]), grid)
            ours[key] = -ours[key][rows] if found.reversed else ours[key][rows]
    if found.reversed and TIME in ours:
        ours[TIME] = reverse_time(ours[TIME])
    return {key: value.float() for key, value in ours.items()}


def velocity_rows(rows: int, grid: TokenGrid) -> Tensor:
    """Which rows of a final linear in (p1, p2, c) order are the velocity,
    in our order (c, p1, p2); int64 [C].
    """
    p, c = grid.patches[0], grid.channels
    outputs = rows // p**2
    if rows != outputs * p**2 or outputs not in (c, 2 * c):
        raise ValueError(
            f"its final layer has {rows} rows: "
            f"{c * p**2}, or {2 * c * p**2} with learn_sigma, would fit"
        )
    return torch.arange(rows).view(p, p, outputs).permute(2, 0, 1)[:c].reshape(-1)


def reverse_time(weight: Tensor) -> Tensor:
    """The timestep embedder's first weight [W, 256] for 1 - t instead of t: its own inverse;
    float64.
    """
    if weight.shape[1] != 2 * FREQUENCIES:
        raise ValueError(f"{TIME} reads {weight.shape[1]} numbers, not {2 * FREQUENCIES}")
    w = time_frequencies().double()
    cosines, sines = weight.double().chunk(2, dim=1)
    return torch.cat(
        [cosines * w.cos() + sines * w.sin(), cosines * w.sin() - sines * w.cos()], dim=1
    )


def _load(backbone: SiT, state: dict[str, Tensor]) -> None:
    """Strictly: every missing, surplus and misshapen key is named."""
    wanted = backbone.state_dict()
    problems = [f"missing {key}" for key in wanted if key not in state]
    problems += [f"surplus {key}" for key in state if key not in wanted]
    problems += [
        f"{key} is {list(state[key].shape)}, not {list(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if problems:
        raise ValueError(f"{len(problems)} key(s) do not fit: {'; '.join(problems)}")
    backbone.load_state_dict(state)
