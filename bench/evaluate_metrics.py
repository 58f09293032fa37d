"""Rows of a finished file of samples: the FID family from one pass of Inception, and distances in encoders' features.

measure = measurement(subject, ["fid"], {"reference": "reference.npz"}, "cuda", key)     # before sampling
measure(samples, record)                                                                # after it
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

from bench.core import results
from bench.core.environment import environment
from bench.core.results import Row
from bench.evaluate_reference import check_reference, is_adm_file, pictures_of_reference, reference_of
from bench.evaluate_subjects import describe


def measurement(subject: Any, metrics: list[str], words: dict[str, str], device: Any, key: str) -> Any:
    """(samples, their record) -> rows in results/, one file a protocol, reference, set of metrics and their networks.

    Everything that could be missing is looked for here, before anything is sampled.
    """
    cache = Path(words["cache"]) if "cache" in words else subject.folder.parent / "cache"
    reference = reference_of(words, subject)
    for metric, why in check_reference(reference, metrics).items():
        print(f"  {metric:20}{why}")
    networks = load_networks(metrics, words, subject, cache, device)
    kind = "-".join(
        ("evaluate", key, _digest(words["reference"]), *metrics, _digest(*map(_reading, networks.values())))
    )

    def measure(samples: Any, record: dict[str, Any]) -> None:
        rows = measured_rows(subject, samples, record, networks, reference, cache, device)
        if not (subject.folder / "run.json").exists():
            describe(subject, words)
        context = subject.context | {"snapshot_sha256": subject.sha256}
        context["environment"] = environment(device, torch.get_num_threads())
        path = results.write(subject.folder, kind, subject.images, rows, context)
        for row in rows:
            value = "missing" if row.value is None else f"{row.value:.5g}"
            print(f"  {row.metric:20}{value:12}{row.note}")
        print(path)

    return measure


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


def _reading(network: Any) -> str:
    """What a network is and how it reads pictures: the same metric in other features is another measurement."""
    return " ".join((getattr(network, "name", "inception"), network.fingerprint, getattr(network, "input", "")))


def load_networks(metrics: list[str], words: dict[str, str], subject: Any, cache: Path, device: Any) -> dict[str, Any]:
    """The network of each metric; words: inception=FILE, encoder.KEY=VALUE.

    Called before the sampling, so that a missing file is told hours earlier.
    """
    from probes import inception as network_module

    networks = {}
    for metric in metrics:
        if metric == "fid":
            networks[metric] = network_module.load_inception(Path(words["inception"]) if "inception" in words else None)
        else:
            of_encoder = [f"{key}={value}" for key, value in words.items() if key.startswith("encoder.")]
            networks[metric] = _extractor(metric.removeprefix("fd_"), of_encoder, subject, cache, device)
    return networks


def measured_rows(
    subject: Any,
    samples: Any,
    record: dict[str, Any],
    networks: dict[str, Any],
    reference: Any,
    cache: Path,
    device: Any,
) -> list[Row]:
    """Rows of all metrics that `networks` are for.

    reference: an .npz, a folder, or a data set (its training split; held-out pictures are measured beside).
    """
    from probes.encoder_distance import measure_encoder_distance
    from probes.image_sources import DatasetImages, NpzImages

    pictures = NpzImages(samples.path)
    common: dict[str, Any] = {"sampling": record, "aligned": subject.aligned, "not_finite": samples.not_finite()}
    common["progress"] = sys.stderr.isatty()
    rows: list[Row] = []
    for metric, network in networks.items():
        if metric == "fid":
            rows += _fid_family(network, pictures, reference, cache, device, common)
            continue
        heldout = None if isinstance(reference, Path) else DatasetImages(reference, "heldout")
        rows.append(
            measure_encoder_distance(
                network,
                pictures,
                pictures_of_reference(reference),
                cache,
                data=subject.data_name,
                heldout=heldout,
                **common,
            )
        )
    return rows


def _fid_family(
    network: Any, pictures: Any, reference: Any, cache: Path, device: Any, common: dict[str, Any]
) -> list[Row]:
    from probes.fid import measure_fid_family
    from probes.fid_reference import adm_reference, image_reference
    from probes.image_sources import DatasetImages

    heldout = None
    if is_adm_file(reference):
        side = adm_reference(network, reference, cache, device, common["progress"])
    else:
        side = image_reference(network, pictures_of_reference(reference), cache, device, common["progress"])
        if not isinstance(reference, Path):
            heldout = image_reference(network, DatasetImages(reference, "heldout"), cache, device, common["progress"])
    return measure_fid_family(network, pictures, side, heldout=heldout, device=device, **common)


def _extractor(name: str, words: list[str], subject: Any, cache: Path, device: Any) -> Any:
    """dgm-eval's DINOv2, or an encoder of the registry with its own preprocessing."""
    from bench.configuration import build, compose
    from probes.encoder_distance import dgm_dinov2, encoder_extractor

    if name == "dinov2":
        from bench.core.staging import require
        from methods.encoders.base import weights_fingerprint
        from methods.encoders.dinov2 import load_network, resources

        staged = resources(compose(["method=repa", "encoder=dinov2_l"])["encoder"])
        require(staged, "fd_dinov2", "encoder=dinov2_l")
        code, weights = (resource.found() for resource in staged)
        assert code is not None and weights is not None
        network = load_network(code.parent if code.is_file() else code, "dinov2_vitl14", weights)
        return dgm_dinov2(network, weights_fingerprint(network), device)
    node = compose(["method=repa", f"encoder={name}", *words])["encoder"]
    if subject.data is None and name.startswith("local_"):
        raise ValueError(f"fd_{name} is trained on the data's pictures, which are not here: choose another encoder")
    encoder = build(node, token_grid=subject.backbone.grid, dataset=subject.data, cache=cache)
    return encoder_extractor(encoder.to(device), device)
