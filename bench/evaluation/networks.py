"""The networks of bench.evaluate's metrics: Inception, dgm-eval's DINOv2,
and encoders of the registry.

networks = load_networks(["fid", "fd_local_s"], words, subject, device)     # before sampling: a missing file is told
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bench.core.model.encoder import Encoder
from bench.evaluation.subject import Subject


def cache_of(words: dict[str, str], subject: Subject) -> Path:
    """Where features and statistics are kept."""
    return Path(words["cache"]) if "cache" in words else subject.folder.parent / "cache"


def load_networks(
    metrics: list[str], words: dict[str, str], subject: Subject, device: torch.device
) -> dict[str, Any]:
    """The network of each metric; words: inception=FILE, encoder.KEY=VALUE."""
    from probes.extractors import inception as network_module

    networks = {}
    for metric in metrics:
        if metric == "fid":
            networks[metric] = network_module.load_inception(
                Path(words["inception"]) if "inception" in words else None
            )
        else:
            networks[metric] = _extractor(metric.removeprefix("fd_"), words, subject, device)
    return networks


def reading(network: Any) -> str:
    """What a network is and how it reads pictures:
    the same metric in other features is another measurement.
    """
    return " ".join(
        (getattr(network, "name", "inception"), network.fingerprint, getattr(network, "input", ""))
    )


def _extractor(name: str, words: dict[str, str], subject: Subject, device: torch.device) -> Any:
    """dgm-eval's DINOv2, or an encoder of the registry with its own preprocessing."""
    from bench.config.groups import encoder_option
    from probes.distances.encoder import dgm_dinov2, encoder_extractor

    if name != "dinov2":
        return encoder_extractor(encoder_of(name, words, subject, device), device)
    from bench.core.model.encoder import weights_fingerprint
    from bench.core.store.staging import require
    from methods.encoders.dinov2 import load_network, resources

    staged = resources(encoder_option("dinov2_l").values)
    require(staged, "fd_dinov2", "encoder=dinov2_l")
    code, weights = (resource.found() for resource in staged)
    assert code is not None and weights is not None
    network = load_network(code.parent if code.is_file() else code, "dinov2_vitl14", weights)
    return dgm_dinov2(network, weights_fingerprint(network), device)


def encoder_of(name: str, words: dict[str, str], subject: Subject, device: torch.device) -> Encoder:
    """An encoder of the registry, for the subject's tokens.

    Raises ValueError where something is missing.
    """
    from bench.config.compose import compose
    from bench.config.groups import build

    of_encoder = [f"{key}={value}" for key, value in words.items() if key.startswith("encoder.")]
    node = compose(["method=repa", f"encoder={name}", *of_encoder]).encoder
    if subject.data is None and name.startswith("local_"):
        raise ValueError(
            f"fd_{name} is trained on the data's pictures, which are not here: "
            "choose another encoder"
        )
    parts = {
        "token_grid": subject.backbone.grid,
        "dataset": subject.data,
        "cache": cache_of(words, subject),
    }
    assert node is not None
    return build(node, **parts).to(device)
