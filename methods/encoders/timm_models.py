"""Any timm model as an encoder: patch tokens of a vision transformer,
or a feature map of a convolutional network.

The picture is scaled (bicubic, mean and deviation from the model's `pretrained_cfg`) to patch x
token grid pixels, position embeddings are resampled once, at load, and prefix tokens (class,
registers: DINOv3 1 + 4, SigLIP 0, MAE and CLIP 1) are taken off. Weights are looked for in Hugging
Face's cache and in $TORCH_HOME/hub/checkpoints before anything is asked of the network.

    python -m bench.run method=repa encoder=dinov3_b data=cifar10 data.root=cifar10
    python -m bench.run method=repa encoder=timm encoder.name=resnet50.a1_in1k encoder.stride=16 data=cifar10
"""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from bench.core.compat import import_vision
from bench.core.data.base import DataSet
from bench.core.model.encoder import Encoder, EncoderFeatures
from bench.core.model.tokens import TokenGrid
from bench.core.store.staging import Resource, require, torch_hub
from methods.encoders.base import as_input, on_grid, patch_grid

HUB_FILES = ("model.safetensors", "pytorch_model.bin")


# In timm's names -> as the presets of bench/conf/encoder say it, for the mark on related metrics.
# First match wins.
DATA = {
    "lvd142m": "LVD-142M",
    "lvd1689m": "LVD-1689M",
    "webli": "WebLI",
    ".openai": "WIT-400M",
    "_pe_": "PE-5.4B",
    ".mae": "ImageNet-1k",
    "in22k": "ImageNet-22k",
    "in21k": "ImageNet-22k",
    "in12k": "ImageNet-22k",
    "in1k": "ImageNet-1k",
}


def pretrained_config(name: str) -> Any:
    """timm's PretrainedCfg of a model.

    Raises ValueError with the nearest names for one it does not know.
    """
    if name == "timm":  # the option's own name
        raise ValueError(
            "encoder=timm needs a model: encoder.name=vit_base_patch16_dinov3.lvd1689m, or any of "
            "timm.list_pretrained()"
        )
    timm = import_vision("timm")
    plain = name.split(".")[0]
    if not timm.is_model(plain):
        raise ValueError(
            f"timm has no model {name!r}{_near(name, timm.list_pretrained())} "
            "(encoder.name=<a name of "
            "timm.list_pretrained()>)"
        )
    config = (
        timm.get_pretrained_cfg(plain, allow_unregistered=False)
        if "." not in name
        else _tagged(timm, name)
    )
    if config is None or not config.has_weights:
        raise ValueError(
            "timm has no pretrained weights of "
            f"{name!r}{_near(name, timm.list_pretrained(f'{plain}*') or timm.list_pretrained())}"
        )
    return config


def _tagged(timm: Any, name: str) -> Any:
    return (
        timm.get_pretrained_cfg(name)
        if name in timm.list_pretrained(f"{name.split('.')[0]}.*")
        else None
    )


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.4)
    return f"; nearest names: {', '.join(near)}" if near else ""


def resources(node: Mapping[str, Any], cache: Path | None = None) -> list[Resource]:
    """The weights' file of a configuration (`model`, `weights`);
    in Hugging Face's cache or in torch.hub's.
    """
    if node["weights"]:
        return [
            Resource(f"encoder.weights={node['weights']}", Path(node["weights"]).expanduser(), "")
        ]
    name = node["model"] or node["name"]
    config = pretrained_config(name)
    if not config.hf_hub_id:
        return [
            Resource(
                f"the weights of {name}",
                torch_hub() / "checkpoints" / config.url.rsplit("/", 1)[1],
                config.url,
            )
        ]
    from huggingface_hub import try_to_load_from_cache

    files = [config.hf_hub_filename] if config.hf_hub_filename else list(HUB_FILES)
    cached = (try_to_load_from_cache(config.hf_hub_id, file) for file in files)
    place = (
        torch_hub() / "checkpoints" / f"{config.hf_hub_id.rsplit('/', 1)[1]}{Path(files[0]).suffix}"
    )
    url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{files[0]}"
    return [
        Resource(
            f"the weights of {name}",
            place,
            url,
            also=tuple(Path(c) for c in cached if isinstance(c, str)),
        )
    ]


class TimmEncoder(Encoder):
    """name, model: timm's name (model null: `name` is it); stride: null for patch tokens,
    else the feature map to read.

    final_norm: false reads the last block as it is (MAE, CLIP in REPA); weights: a local file
    instead of timm's; family, trained_on, labels: null are taken from timm's tag, as far as it
    tells.
    """

    not_counted = "the encoder's own pre-training"

    def __init__(
        self,
        name: str,
        model: str | None,
        weights: str | None,
        stride: int | None,
        final_norm: bool,
        patch_grid: int | None,
        resize: str,
        family: str | None,
        trained_on: str | None,
        labels: str | None,
        *,
        token_grid: TokenGrid,
        dataset: DataSet | None = None,
        cache: Path | None = None,
    ):
        super().__init__()
        self.name, self.resize, self.token_grid, self.stride = name, resize, token_grid.grid, stride
        self.patches = _patch_grid(name, token_grid.grid, patch_grid, resize)
        model = model or name
        config = pretrained_config(model)
        (file,) = resources({"name": name, "model": model, "weights": weights})
        if weights and file.found() is None:
            raise ValueError(
                f"encoder.weights={weights} is not there: "
                f"give the file of {model}'s weights, or leave it out"
            )
        self.pixels = input_pixels(model, stride, self.patches)
        require(
            [file],
            f"encoder {name}",
            f"encoder={name}" if name != model else f"encoder=timm encoder.name={name}",
        )
        self.network, self.width = create(model, stride, self.pixels, file.found())
        if not final_norm and stride is None:
            self.network.norm = nn.Identity()
        self._finish(config.mean, config.std, family, trained_on, labels, config)

    def _finish(
        self,
        mean: Any,
        std: Any,
        family: str | None,
        trained_on: str | None,
        labels: str | None,
        config: Any,
    ) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        self.family = family or ("convnet" if self.stride else "vit")
        self.trained_on = trained_on or known_data(config) or config.tag or "unknown"
        self.labels = known_labels(config) if labels is None else labels
        same = self.resize == "none"
        self.grid = self.patches if same else (int(self.token_grid[0]), int(self.token_grid[1]))
        norm = "without" if isinstance(getattr(self.network, "norm", None), nn.Identity) else "with"
        self.reading = (
            f"{self.pixels[0]}x{self.pixels[1]} pixels, "
            f"{'tokens' if self.stride is None else f'stride {self.stride}'} "
            f"{norm} final norm, {self.grid[0]}x{self.grid[1]} tokens, resize {self.resize}"
        )
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        x = as_input(images, self.pixels, self.mean, self.std)
        cls = None
        if self.stride is None:
            tokens = self.network.forward_features(x).float()
            prefix = self.network.num_prefix_tokens
            cls = tokens[:, 0] if getattr(self.network, "cls_token", None) is not None else None
            patches = tokens[:, prefix:]
        else:
            maps = self.network(x)[0].float()
            maps = (
                maps if maps.shape[1] == self.width else maps.movedim(-1, 1)
            )  # some give channels last
            patches = maps.flatten(2).transpose(1, 2)
        if patches.shape[1] != self.patches[0] * self.patches[1]:
            raise ValueError(
                f"encoder {self.name} gives {patches.shape[1]} tokens, "
                f"not {self.patches[0]}x{self.patches[1]}: "
                "another encoder.stride"
            )
        return EncoderFeatures(
            on_grid(patches, self.patches, self.token_grid, self.resize, self.name), cls, self.grid
        )


def input_pixels(model: str, stride: int | None, patches: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the input that gives this patch grid.

    Raises ValueError for a model or stride without one.
    """
    timm = import_vision("timm")
    if stride is not None:
        _level(timm, model, stride)
        return stride * patches[0], stride * patches[1]
    with torch.device("meta"):
        try:
            shape = timm.create_model(model, num_classes=0)
        except RuntimeError:  # some read numbers while they are built
            with torch.device("cpu"):
                shape = timm.create_model(model, num_classes=0)
    if not hasattr(shape, "num_prefix_tokens"):
        strides = sorted({level["reduction"] for level in getattr(shape, "feature_info", [])})
        raise ValueError(
            f"timm's {model} gives no patch tokens: choose a feature map, "
            f"encoder.stride={' or '.join(map(str, strides)) or 16}"
        )
    patch = int(shape.patch_embed.patch_size[0])
    return patch * patches[0], patch * patches[1]


def create(
    model: str, stride: int | None, pixels: tuple[int, int], file: Path | None
) -> tuple[Any, int]:
    """(network, width); file: its weights, None for random ones.

    Raises ValueError for weights that do not fit.
    """
    timm = import_vision("timm")
    missing: list[str] = []
    weights = (
        {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
        if file
        else {"pretrained": False}
    )
    try:
        if stride is None:
            with _loaded(missing):
                network = timm.create_model(model, num_classes=0, img_size=pixels, **weights)
            width = int(network.num_features)
        else:
            index, width = _level(timm, model, stride)
            with _loaded(missing):
                network = timm.create_model(
                    model, features_only=True, out_indices=(index,), **weights
                )
    except (
        RuntimeError,
        OSError,
        KeyError,
        TypeError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(
            f"timm's {model} cannot be made with {file or 'random weights'} ({first}): "
            "delete that file and fetch "
            "it again"
        ) from error
    if missing:
        raise ValueError(
            f"{file} is not a file of timm's {model}: "
            f"it lacks {missing[0]} and {len(missing) - 1} more tensors"
        )
    return network, width


@contextmanager
def _loaded(missing: list[str]) -> Iterator[None]:
    """Collects the tensors that a file does not have:
    timm loads leniently where it takes a classifier off.
    """
    load = nn.Module.load_state_dict

    def strictly_told(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = load(self, *args, **kwargs)
        classifier = (getattr(self, "pretrained_cfg", None) or {}).get(
            "classifier"
        ) or "no classifier"
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        missing.extend(
            key for key in result.missing_keys if not key.startswith(heads)
        )  # the head is not read
        return result

    nn.Module.load_state_dict = strictly_told  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.load_state_dict = load  # type: ignore[method-assign]


def _level(timm: Any, model: str, stride: int) -> tuple[int, int]:
    """Index and channels of the deepest feature map with that stride."""
    levels = timm.create_model(model, features_only=True).feature_info.info
    wanted = [i for i, level in enumerate(levels) if level["reduction"] == stride]
    if not wanted:
        strides = ", ".join(str(level["reduction"]) for level in levels)
        raise ValueError(
            f"encoder.stride={stride}: timm's {model} has feature maps at strides {strides}"
        )
    return wanted[-1], int(levels[wanted[-1]]["num_chs"])


def known_data(config: Any) -> str:
    """The data that a timm name speaks of, spelled as the presets spell it;
    "" where it says none.
    """
    name = f"{config.architecture or ''}.{config.tag or ''}"
    return next((data for part, data in DATA.items() if part in name), "")


def known_labels(config: Any) -> str:
    """Whose labels a timm tag speaks of: "ImageNet-1k", "ImageNet-22k" or "" (none, or text)."""
    tag = config.tag or ""
    if "in1k" in tag and config.num_classes == 1000:
        return "ImageNet-1k"
    return "ImageNet-22k" if config.num_classes > 10_000 else ""


_patch_grid = patch_grid  # the constructor's parameter has the same name
