"""The bridge to torch-fidelity: our extractors registered with it, and feature passes made by it.

torch-fidelity reads the pictures and runs the network; the distances are our own
(`probes.distances.frechet` and the others), because its precision and recall, inception score and
covariance conventions differ from the ADM evaluator's. A test holds its own Frechet distance of the
same pictures against ours.

    name = register(local_extractor(dataset, cache))
    features, logits = features_and_logits(name, images)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.compat import import_vision

LAYERS = ("features", "logits")


class Pictures(torch.utils.data.Dataset):
    """uint8 images [n, 3, H, W] as torch-fidelity wants them:
    items are single uint8 tensors [3, H, W]; sounds [n, bands, frames] and videos [n, 3, T, H, W]
    alike.
    """

    def __init__(self, images: Any):
        self.images = torch.as_tensor(images)
        axes = self.images.ndim - 2
        colour = axes == 1 or (axes in (2, 3) and self.images.shape[1] == 3)
        if self.images.dtype != torch.uint8 or not colour:
            raise ValueError(
                "images are uint8 [n, 3, H, W], [n, 3, T, H, W] or [n, bands, frames], not "
                f"{self.images.dtype} {tuple(self.images.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def register(network: nn.Module) -> str:
    """Register a network (uint8 [B, 3, H, W] -> features [B, d],
    logits [B, k]) and return its name there.

    The name holds the hash of the weights, since torch-fidelity's own caches know extractors by
    name alone.
    """
    import_vision("torch_fidelity")
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    name = f"{network.name}-{network.fingerprint}"
    if name in FEATURE_EXTRACTORS_REGISTRY:
        return name

    class Registered(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: Any):
            super().__init__(name, features_list)
            self.network = network

        def forward(self, input: Tensor) -> tuple[Tensor, ...]:
            outputs = dict(zip(LAYERS, self.network(input), strict=True))
            return tuple(outputs[layer] for layer in self.features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return LAYERS

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> Tensor:
            return torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    register_feature_extractor(name, Registered)
    return name


def features_and_logits(
    name: str, images: Any, batch: int = 256, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, d] and logits [n, k], float32,
    of uint8 images [n, 3, H, W] by the registered extractor `name`.
    """
    import_vision("torch_fidelity")
    from torch_fidelity.utils import create_feature_extractor, get_featuresdict_from_dataset

    extractor = create_feature_extractor(name, list(LAYERS), cuda=False, verbose=False)
    # save_cpu_ram: read in this process; torch-fidelity would otherwise start eight workers for a
    # tensor in memory.
    found = get_featuresdict_from_dataset(
        Pictures(images), extractor, batch, cuda=False, save_cpu_ram=True, verbose=progress
    )
    return found["features"].numpy(), found["logits"].numpy()
