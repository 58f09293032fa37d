"""Rows of a finished file of samples: the FID family from one pass of Inception,
and distances in encoders' features.

measure = measurement(subject, ["fid"], {"reference": "reference.npz"}, "cuda", key)     # before sampling
measure(samples, record)                                                                # after it
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from bench.core.store.files import short_hash
from bench.core.store.rows import Row
from bench.evaluation.networks import cache_of, load_networks, reading
from bench.evaluation.reference import (
    check_reference,
    is_adm_file,
    pictures_of_reference,
    reference_of,
)
from bench.evaluation.results import store, told
from bench.evaluation.subject import Subject


def measurement(
    subject: Subject, metrics: list[str], words: dict[str, str], device: torch.device, key: str
) -> Any:
    """(samples, their record) -> rows in results/, one file a protocol, reference,
    set of metrics and their networks.

    Everything that could be missing is looked for here, before anything is sampled.
    """
    cache = cache_of(words, subject)
    reference = reference_of(words, subject)
    for metric, why in check_reference(reference, metrics).items():
        print(f"  {metric:20}{why}")
    networks = load_networks(metrics, words, subject, device)
    against, by = (
        short_hash([words["reference"]]),
        short_hash(list(map(reading, networks.values()))),
    )
    kind = "-".join(("evaluate", key, against, *metrics, by))

    def measure(samples: Any, record: dict[str, Any]) -> None:
        rows = measured_rows(subject, samples, record, networks, reference, cache, device, words)
        store(subject, words, kind, rows, device)

    return measure


def measured_rows(
    subject: Subject,
    samples: Any,
    record: dict[str, Any],
    networks: dict[str, Any],
    reference: Any,
    cache: Path,
    device: torch.device,
    words: dict[str, str],
) -> list[Row]:
    """Rows of all metrics that `networks` are for, with the words that asked for them.

    reference: an .npz, a folder, or a data set (its training split; held-out pictures are measured
    beside).
    """
    from probes.distances.encoder import measure_encoder_distance
    from probes.distances.images import DatasetImages, NpzImages

    pictures = NpzImages(samples.path)
    common: dict[str, Any] = {
        "sampling": record,
        "aligned": subject.aligned,
        "not_finite": samples.not_finite(),
    }
    common["progress"] = sys.stderr.isatty()
    rows: list[Row] = []
    for metric, network in networks.items():
        if metric == "fid":
            rows += told(
                _fid_family(network, pictures, reference, cache, device, common), metric, words
            )
            continue
        heldout = None if isinstance(reference, Path) else DatasetImages(reference, "heldout")
        theirs = pictures_of_reference(reference)
        row = measure_encoder_distance(
            network, pictures, theirs, cache, data=subject.data_name, heldout=heldout, **common
        )
        rows += told([row], metric, words)
    return rows


def _fid_family(
    network: Any,
    pictures: Any,
    reference: Any,
    cache: Path,
    device: torch.device,
    common: dict[str, Any],
) -> list[Row]:
    from probes.distances.fid import measure_fid_family
    from probes.distances.images import DatasetImages
    from probes.distances.reference import adm_reference, image_reference

    heldout = None
    if is_adm_file(reference):
        side = adm_reference(network, reference, cache, device, common["progress"])
    else:
        side = image_reference(
            network, pictures_of_reference(reference), cache, device, common["progress"]
        )
        if not isinstance(reference, Path):
            heldout = image_reference(
                network, DatasetImages(reference, "heldout"), cache, device, common["progress"]
            )
    return measure_fid_family(network, pictures, side, heldout=heldout, device=device, **common)
