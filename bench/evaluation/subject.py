"""What bench.evaluate evaluates: a run's snapshot or a released checkpoint,
each with its way to pictures.

subject = run_subject({"run": "runs/digits-vanilla-nano-s0-1a2b3c4d"}, "cpu")
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from bench.config.compose import compose, parse_count
from bench.config.groups import build, current, encoder_option
from bench.config.identity import is_identity
from bench.config.schema import Option, check_type
from bench.core.data.base import DataSet
from bench.core.data.latents import CHANNELS, Decoder
from bench.core.model.backbone import SiT
from bench.core.model.sizes import Size
from bench.core.store import checkpoints
from bench.core.store.files import file_hash, read_json
from bench.core.store.runs import find_run
from bench.core.train.posthoc import about_average
from bench.evaluation.measure import spent_until
from bench.evaluation.released import format_of, import_checkpoint


@dataclass
class Subject:
    """What is evaluated: a backbone, how its tokens become pictures, and where its results go.

    decode(tokens, precision) -> pixels [n, 1 or 3, H, W], not finite where the tokens are not;
    data: the data set, None where only its decoder is at hand; decoded_by(): the autoencoder of
    latents, for the record of the samples; images: training images seen
    (0 where that is not known); context: for result files; average: a rebuilt EMA's, "-decay0.99",
    in the names of its files.
    """

    backbone: SiT
    decode: Callable[[Tensor, str], Tensor]
    decoded_by: Callable[[], dict[str, str]]
    data: DataSet | None
    data_name: str
    folder: Path
    images: int
    weights: str
    sha256: str
    aligned: dict[str, str] | None
    context: dict[str, Any]
    average: str = ""


def run_subject(words: dict[str, str], device: torch.device) -> Subject:
    """A run's snapshot, or its rebuilt EMA. Raises ValueError where there is none."""
    folder = Path(words["run"])
    run = find_run(folder)
    there = checkpoints.snapshots(folder)
    stored = run.configuration if run else {}
    if run is None or not stored:
        raise ValueError(
            f"run={folder} is no folder of a run (no config.json and run.json): give one of runs/*"
        )
    if not there:
        raise ValueError(
            f"run={folder} has no snapshot yet: "
            f"train it first, python -m bench.run {shlex.join(run.argv)}"
        )
    images = (
        parse_count("images", words["images"], stored["batch"]) if "images" in words else max(there)
    )
    if images not in there:
        raise ValueError(
            f"images={images}: run={folder} has snapshots at {', '.join(map(str, there))}"
        )
    path, average, noted = there[images], "", {}
    if "ema" in words:
        if "images" in words:
            raise ValueError(
                f"images={words['images']} does not go with ema=...: the file ends where it says"
            )
        path = Path(words["ema"])
        noted = about_average(folder, path)
        images = int(noted["images"])
        average = f"-decay{float(noted['decay']):g}" + (
            "-warmup" if noted["warmup"] == "True" else ""
        )
    option = current("data", stored["data"])
    data = build(option.changed(**_elsewhere(option, words)))
    backbone = SiT(data.grid, Size(**stored["size"]), data.classes).to(device)
    checkpoints.load_snapshot(path, backbone)
    backbone.requires_grad_(False)
    digest = file_hash(path)
    return Subject(
        backbone,
        data.decode,
        data.decoded_by,
        data,
        data.fingerprint,
        folder,
        images,
        f"ema{average}",
        digest,
        run.aligned,
        spent_until(folder, images)
        | ({"posthoc_ema": noted | {"file": path.name}} if noted else {}),
        average,
    )


def _elsewhere(option: Option, words: dict[str, str]) -> dict[str, Any]:
    """Values of `data.KEY=` words for a run's data set: where it lies and how it is read,
    never what it is.
    """
    node = option.values
    free = [key for key in node if not is_identity(f"data.{key}")]
    found = {}
    for word, text in words.items():
        group, _, key = word.partition(".")
        if group != "data" or not key:
            continue
        if key not in node:
            raise ValueError(f"{word} is no key of data={option.name} (it has {', '.join(node)})")
        if key not in free:
            may = f"; {', '.join(f'data.{key}' for key in free)} may" if free else ""
            raise ValueError(
                f"{word}={text} would be another data set than the run's, "
                f"and cannot be changed{may}"
            )
        value = text if isinstance(node[key], str | None) else yaml.safe_load(text)
        check_type(word, value, node[key])
        found[key] = value
    return found


def checkpoint_subject(words: dict[str, str], device: torch.device) -> Subject:
    """A released checkpoint on a data set of bench/conf/data.

    Raises ValueError where they do not fit.
    """
    format_of(words["format"])
    aligned = aligned_with(words)
    of_data = [f"{key}={value}" for key, value in words.items() if key.startswith("data.")]
    cfg = compose([f"data={words['data']}", f"size={words['size']}", *of_data])
    # of latents the decoder alone is needed, unless their folder is named
    data = None if "decoder" in cfg.data.values and not cfg.data.values["root"] else build(cfg.data)
    channels = CHANNELS if data is None else data.grid.channels
    path = Path(words["checkpoint"])
    found = import_checkpoint(path, words["format"], cfg.size, cfg.data.values["patch"], channels)
    backbone = found.backbone.to(device)
    classes = cfg.data.values["classes"] if data is None else data.classes
    if backbone.classes != classes or (data is not None and backbone.grid != data.grid):
        raise ValueError(
            f"{path} was trained on {backbone.classes} classes at "
            f"{'x'.join(map(str, backbone.grid.shape))}, "
            f"data={words['data']} has {classes}: choose the data set that it was trained on"
        )
    if data is None:
        decoder = Decoder(cfg.data.values["decoder"])
        decoded_by = decoder.record

        def decode(tokens: Tensor, precision: str) -> Tensor:
            return decoder.pixels(backbone.grid.unpatchify(tokens.float()), precision)
    else:
        decode, decoded_by = data.decode, data.decoded_by
    digest = file_hash(path)
    folder = Path(words.get("out", f"evaluations/{path.stem}-{digest[:8]}"))
    for result in sorted(folder.glob("results/*.json")):
        if read_json(result).get("snapshot_sha256", digest) != digest:
            raise ValueError(
                f"out={folder} holds results of another checkpoint ({result.name}): "
                "choose another out=DIR"
            )
    name = f"{words['data']} ({data.fingerprint})" if data is not None else words["data"]
    context = {"flops": None, "hours": None, "checkpoint": path.name, "format": words["format"]}
    return Subject(
        backbone, decode, decoded_by, data, name, folder, 0, found.weights, digest, aligned, context
    )


def aligned_with(words: dict[str, str]) -> dict[str, str] | None:
    """Family, data and labels of the encoder that a released model was aligned with,
    for the mark on related metrics.

    aligned=ENCODER|none; without the word DINOv2-B for REPA's format, whose released models were
    aligned with it.
    """
    name = words.get("aligned", "dinov2_b" if words["format"] == "repa" else "none")
    if name == "none":
        return None
    node = encoder_option(name).values
    if not node.get("family") or not node.get("trained_on"):
        raise ValueError(
            f"aligned={name} does not say what it was trained on: "
            "name one of bench/conf/encoder that does, or none"
        )
    return {key: node.get(key) or "" for key in ("family", "trained_on", "labels")}
