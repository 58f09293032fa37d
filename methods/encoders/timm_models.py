"""Any timm model as an encoder: patch tokens of a vision transformer,
or a feature map of a convolutional network.

The picture is scaled (bicubic, mean and deviation from the model's `pretrained_cfg`) to patch x
token grid pixels, position embeddings are resampled once, at load, and prefix tokens (class,
registers: DINOv3 1 + 4, SigLIP 0, MAE and CLIP 1) are taken off. Weights are looked for in Hugging
Face's cache and in $TORCH_HOME/hub/checkpoints before anything is asked of the network.

    python -m bench.run method=repa encoder=dinov3_b data=cifar10 data.root=cifar10
    python -m bench.run method=repa encoder=timm encoder.name=resnet50.a1_in1k encoder.stride=16
"""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from torch import Tensor, nn

from bench.core.compat import import_vision
from bench.core.model.encoder import EncoderCard, EncoderFeatures
from bench.core.model.tokens import TokenGrid
from bench.core.store.staging import Resource, require, torch_hub
from methods.encoders.base import PatchEncoder, as_input

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

# what reading a damaged or foreign file of weights raises
UNREADABLE = (RuntimeError, OSError, KeyError, TypeError, pickle.UnpicklingError, SafetensorError)
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


def pretrained_config(name: str) -> PretrainedCfg:
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
            "(encoder.name=<a name of timm.list_pretrained()>)"
        )
    config = None
    if "." not in name:
        config = timm.get_pretrained_cfg(plain, allow_unregistered=False)
    elif name in timm.list_pretrained(f"{plain}.*"):
        config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        known = timm.list_pretrained(f"{plain}*") or timm.list_pretrained()
        raise ValueError(f"timm has no pretrained weights of {name!r}{_near(name, known)}")
    return config


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.4)
    return f"; nearest names: {', '.join(near)}" if near else ""


def resources(node: Mapping[str, Any], cache: Path | None = None) -> list[Resource]:
    """The weights' file of a configuration (`model`, `weights`);
    in Hugging Face's cache or in torch.hub's.
    """
    if node["weights"]:
        file = Path(node["weights"]).expanduser()
        return [Resource(f"encoder.weights={node['weights']}", file, "")]
    name = node["model"] or node["name"]
    config, hub = pretrained_config(name), torch_hub() / "checkpoints"
    what = f"the weights of {name}"
    if not config.hf_hub_id:
        url = str(config.url)
        return [Resource(what, hub / url.rsplit("/", 1)[1], url)]
    files = [config.hf_hub_filename] if config.hf_hub_filename else list(HUB_FILES)
    cached = (try_to_load_from_cache(config.hf_hub_id, file) for file in files)
    also = tuple(Path(file) for file in cached if isinstance(file, str))
    place = hub / f"{config.hf_hub_id.rsplit('/', 1)[1]}{Path(files[0]).suffix}"
    url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/{files[0]}"
    return [Resource(what, place, url, also=also)]


class TimmEncoder(PatchEncoder):
    """model: timm's name, null where the card's is it; stride: null for patch tokens, else the
    feature map to read; final_norm: false reads the last block as it is (MAE, CLIP in REPA);
    weights: a local file instead of timm's.

    Of the card, family, trained_on and labels may be null: they are taken from timm's tag, as far
    as it tells.
    """

    not_counted = "the encoder's own pre-training"

    def __init__(
        self,
        card: EncoderCard,
        model: str | None,
        weights: str | None,
        stride: int | None,
        final_norm: bool,
        *,
        token_grid: TokenGrid,
    ):
        super().__init__(card, token_grid)
        name, model = card.name, model or card.name
        config = pretrained_config(model)
        (file,) = resources({"name": name, "model": model, "weights": weights})
        if weights and file.found() is None:
            raise ValueError(
                f"encoder.weights={weights} is not there: "
                f"give the file of {model}'s weights, or leave it out"
            )
        pixels = input_pixels(model, stride, self.patches)
        words = f"encoder={name}" if name != model else f"encoder=timm encoder.name={name}"
        require([file], f"encoder {name}", words)
        network, width = create(model, stride, pixels, file.found())
        if not final_norm and stride is None:
            network.norm = nn.Identity()
        self.take(network, width, stride, pixels, config)

    def take(
        self,
        network: nn.Module,
        width: int,
        stride: int | None,
        pixels: tuple[int, int],
        config: PretrainedCfg,
    ) -> None:
        """Read pictures by this network; config: timm's, with its mean and deviation."""
        self.network, self.width, self.stride, self.pixels = network, width, stride, pixels
        self.mean, self.std = tuple(config.mean), tuple(config.std)
        card = self.card
        self.card = replace(
            card,
            family=card.family or ("vit" if stride is None else "convnet"),
            trained_on=card.trained_on or known_data(config) or config.tag or "unknown",
            labels=known_labels(config) if card.labels is None else card.labels,
        )
        what = "tokens" if stride is None else f"stride {stride}"
        norm = "without" if isinstance(getattr(network, "norm", None), nn.Identity) else "with"
        self.reading = (
            f"{pixels[0]}x{pixels[1]} pixels, {what} {norm} final norm, "
            f"{self.grid[0]}x{self.grid[1]} tokens, resize {card.resize}"
        )
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        x = as_input(images, self.pixels, self.mean, self.std)
        network: Any = self.network
        cls = None
        if self.stride is None:
            tokens = network.forward_features(x).float()
            cls = tokens[:, 0] if getattr(network, "cls_token", None) is not None else None
            patches = tokens[:, network.num_prefix_tokens :]
        else:
            maps = network(x)[0].float()
            if maps.shape[1] != self.width:  # some give channels last
                maps = maps.movedim(-1, 1)
            patches = maps.flatten(2).transpose(1, 2)
        rows, columns = self.patches
        if patches.shape[1] != rows * columns:
            raise ValueError(
                f"encoder {self.name} gives {patches.shape[1]} tokens, not {rows}x{columns}: "
                "another encoder.stride"
            )
        return EncoderFeatures(self.on_grid(patches), cls, self.grid)


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
) -> tuple[nn.Module, int]:
    """(network, width); file: its weights, None for random ones.

    Raises ValueError for weights that do not fit.
    """
    timm = import_vision("timm")
    missing: list[str] = []
    weights: dict[str, Any] = {"pretrained": file is not None}
    if file:
        weights["pretrained_cfg_overlay"] = {"file": str(file)}
    try:
        if stride is None:
            with _loaded(missing):
                network = timm.create_model(model, num_classes=0, img_size=pixels, **weights)
            width = int(network.num_features)
        else:
            index, width = _level(timm, model, stride)
            weights |= {"features_only": True, "out_indices": (index,)}
            with _loaded(missing):
                network = timm.create_model(model, **weights)
    except UNREADABLE as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(
            f"timm's {model} cannot be made with {file or 'random weights'} ({first}): "
            "delete that file and fetch it again"
        ) from error
    if missing:
        raise ValueError(
            f"{file} is not a file of timm's {model}: "
            f"it lacks {missing[0]} and {len(missing) - 1} more tensors"
        )
    return network, width


@contextmanager
def _loaded(missing: list[str]) -> Iterator[None]:
    """Collects the tensors that a file does not have: timm loads leniently where it takes a
    classifier off.
    """
    load = nn.Module.load_state_dict

    def collecting(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        result = load(self, *args, **kwargs)
        classifier = (getattr(self, "pretrained_cfg", None) or {}).get("classifier")
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
        # the classifier's tensors are not read
        missing.extend(key for key in result.missing_keys if not key.startswith(heads))
        return result

    nn.Module.load_state_dict = collecting  # type: ignore[method-assign]
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


def known_data(config: PretrainedCfg) -> str:
    """The data that a timm name speaks of, spelled as the presets spell it;
    "" where it says none.
    """
    name = f"{config.architecture or ''}.{config.tag or ''}"
    return next((data for part, data in DATA.items() if part in name), "")


def known_labels(config: PretrainedCfg) -> str:
    """Whose labels a timm tag speaks of: "ImageNet-1k", "ImageNet-22k" or "" (none, or text)."""
    tag = config.tag or ""
    if "in1k" in tag and config.num_classes == 1000:
        return "ImageNet-1k"
    return "ImageNet-22k" if config.num_classes > 10_000 else ""
