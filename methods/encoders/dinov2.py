"""DINOv2 (arXiv 2304.07193) with and without registers, through torch.hub's folder,
read as REPA reads it.

Pixels / 255, ImageNet mean and deviation, bicubic to 14 x token grid (224 for 16x16),
`x_norm_patchtokens`. The position embedding is resampled once, at load, to that grid with timm's
`resample_abs_pos_embed`, after which the hub's own interpolation does nothing. Code and weights lie
in $TORCH_HOME/hub and $TORCH_HOME/hub/checkpoints; nothing is asked of the network when they are
there.

    python -m bench.prepare encoder=dinov2_b
    python -m bench.run method=repa encoder=dinov2_b data=imagenet256 data.root=latents
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.compat import import_vision
from bench.core.model.encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EncoderCard,
    EncoderFeatures,
    weights_fingerprint,
)
from bench.core.model.tokens import TokenGrid
from bench.core.store.staging import Resource, require, torch_hub
from methods.encoders.base import PatchEncoder, as_input

_PATCH = 14
CODE_URL = "https://github.com/facebookresearch/dinov2"
WEIGHTS_URL = "https://dl.fbaipublicfiles.com/dinov2"
MEGABYTES = {
    "dinov2_vits14": 84,
    "dinov2_vitb14": 331,
    "dinov2_vitl14": 1161,
    "dinov2_vitg14": 4337,
}


def resources(node: Mapping[str, Any], cache: Path | None = None) -> list[Resource]:
    """Code and weights of a configuration (`model`, `ref`, `source`, `path`).

    Raises ValueError for an unknown model or source.
    """
    model, source = node["model"], node["source"]
    plain = model.removesuffix("_reg")
    if plain not in MEGABYTES:
        raise ValueError(
            f"encoder.model={model} is no DINOv2 of the hub "
            f"(choices: {', '.join(MEGABYTES)}, each also with _reg)"
        )
    file = f"{plain}_reg4_pretrain.pth" if model.endswith("_reg") else f"{plain}_pretrain.pth"
    if source == "local":
        if not node["path"]:
            raise ValueError(
                "encoder.source=local needs encoder.path=DIR with the repository's hubconf.py and "
                + file
            )
        folder = Path(node["path"]).expanduser()
        code, weights, main = folder, folder / file, ()
    elif source == "hub":
        hub = torch_hub()
        code, weights = hub / f"facebookresearch_dinov2_{node['ref']}", hub / "checkpoints" / file
        main = (hub / "facebookresearch_dinov2_main" / "hubconf.py",)
    else:
        raise ValueError(f"encoder.source={source} is unknown (choices: hub, local)")
    return [
        Resource(
            "the code of DINOv2",
            code,
            f"{CODE_URL}/archive/{node['ref']}.zip",
            4,
            archive=True,
            also=main,
        ),
        Resource(
            f"the weights of {model}", weights, f"{WEIGHTS_URL}/{plain}/{file}", MEGABYTES[plain]
        ),
    ]


class DINOv2(PatchEncoder):
    """A DINOv2 of the hub.

    model: its name there; ref: commit of its code; source: hub, or local (`path`, never the
    network).
    """

    attends = True
    not_counted = "DINOv2's own pre-training"

    def __init__(
        self,
        card: EncoderCard,
        model: str,
        ref: str,
        source: str,
        path: str | None,
        *,
        token_grid: TokenGrid,
    ):
        super().__init__(card, token_grid)
        rows, columns = self.patches
        if rows != columns:
            raise ValueError(
                f"encoder {card.name} reads square pictures, not {rows}x{columns} patches: "
                "set encoder.patch_grid and encoder.resize=features"
            )
        code, weights = resources({"model": model, "ref": ref, "source": source, "path": path})
        staged = f"encoder {card.name}", f"encoder={card.name}"
        require([code, weights], *staged, download=source == "hub")
        self.network = load_network(_code_folder(code), model, _found(weights))
        self.network.pos_embed = nn.Parameter(_resampled(self.network.pos_embed, self.patches))
        self.width = int(self.network.embed_dim)
        grid = f"{self.grid[0]}x{self.grid[1]} tokens"
        self.reading = f"{_PATCH * rows} pixels, {grid}, resize {card.resize}"
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor, attention_of: Sequence[int] = ()) -> EncoderFeatures:
        """attention_of: 0-based layers whose attention logits are wanted, from the same pass."""
        with self._queries_and_keys(attention_of) as kept:
            found = self.network.forward_features(self._input(images))
        patches = self.on_grid(found["x_norm_patchtokens"].float())
        attention = tuple(self._logits(layer, kept[layer].float()) for layer in attention_of)
        return EncoderFeatures(patches, found["x_norm_clstoken"].float(), self.grid, attention)

    def _input(self, images: Tensor) -> Tensor:
        size = (_PATCH * self.patches[0], _PATCH * self.patches[1])
        return as_input(images, size, IMAGENET_MEAN, IMAGENET_STD)

    @contextmanager
    def _queries_and_keys(self, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """Keeps the outputs of the layers' qkv projections while it lasts."""
        depth = len(self.network.blocks)
        if wrong := [layer for layer in layers if not 0 <= layer < depth]:
            raise ValueError(f"encoder {self.name} has layers 0 to {depth - 1}, not {wrong}")
        if layers and self.patches != self.grid:
            raise ValueError(
                f"attention maps of {self.name} cannot be resized: leave encoder.patch_grid out"
            )
        kept: dict[int, Tensor] = {}

        def keep(layer: int, out: Tensor) -> None:
            kept[layer] = out

        hooks = [
            self.network.blocks[layer].attn.qkv.register_forward_hook(
                lambda _m, _i, out, layer=layer: keep(layer, out)
            )
            for layer in layers
        ]
        try:
            yield kept
        finally:
            for hook in hooks:
                hook.remove()

    def _logits(self, layer: int, qkv: Tensor) -> Tensor:
        """q k^T / sqrt(d_head) [B, heads, N, N] among patch tokens alone, which come last."""
        n, heads = self.patches[0] * self.patches[1], self.network.blocks[layer].attn.num_heads
        q, k, _ = qkv[:, -n:].unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        return q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5


def load_network(folder: Path, model: str, weights: Path) -> Any:
    """The hub's module with its weights, strictly loaded.

    Raises ValueError for code or weights that do not fit.
    """
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"{weights} is not a file of weights ({str(error).splitlines()[0]}): "
            "delete it and fetch it again"
        ) from error
    with _without_xformers():
        try:
            network: Any = torch.hub.load(str(folder), model, source="local", pretrained=False)
            network.load_state_dict(state)
        except (OSError, ImportError, RuntimeError, TypeError, AttributeError) as error:
            first = " ".join(str(error).split())[:300]
            raise ValueError(
                f"the code in {folder} and {weights} do not make a {model} "
                f"({first}): fetch both again"
            ) from error
    return network


def hub_network(node: Mapping[str, Any]) -> nn.Module:
    """The hub's module of an encoder's YAML as its authors publish it, with its own interpolation
    of positions, for metrics that read it as others do; its weights' hash is `.fingerprint`.

    Raises ValueError saying what is missing.
    """
    staged = resources(node)
    require(staged, f"the published {node['model']}", f"encoder={node['name']}")
    code, weights = staged
    network = load_network(_code_folder(code), node["model"], _found(weights))
    network.fingerprint = weights_fingerprint(network)
    return network


@contextmanager
def _without_xformers() -> Iterator[None]:
    before = os.environ.get("XFORMERS_DISABLED")
    os.environ["XFORMERS_DISABLED"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="xFormers")
            yield
    finally:
        if before is None:
            del os.environ["XFORMERS_DISABLED"]
        else:
            os.environ["XFORMERS_DISABLED"] = before


def _found(resource: Resource) -> Path:
    place = resource.found()
    assert place is not None
    return place


def _code_folder(code: Resource) -> Path:
    place = _found(code)
    folder = place.parent if place.is_file() else place
    if not (folder / "hubconf.py").is_file():
        raise ValueError(
            f"{folder} has no hubconf.py: it is not the code of DINOv2; "
            "remove it and run python -m bench.prepare"
        )
    return folder


def _resampled(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    resample = import_vision("timm.layers").resample_abs_pos_embed
    return resample(
        positions.detach(), list(grid), num_prefix_tokens=1, interpolation="bicubic", antialias=True
    )
