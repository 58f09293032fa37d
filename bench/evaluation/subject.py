"""What is measured: a run's snapshot, its rebuilt average, or a released checkpoint.

    subject = run_subject(Path("runs/digits-vanilla-nano-s0-1a2b3c4d"), device)
    subject = released_subject(Path("SiT-XL-2-256.pt"), device, format_name="sit", size="XL", ...)

Each is a backbone with its way to pictures, and with a folder for its results.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from bench.config.compose import TEXT, compose
from bench.config.groups import build, current, encoder_option, locate
from bench.config.identity import is_identity
from bench.config.schema import Option, check_type
from bench.config.words import ImageCount
from bench.core.data.base import DataSet
from bench.core.data.codecs import CHANNELS, StableDiffusion
from bench.core.data.latents import LatentData
from bench.core.model.backbone import SiT
from bench.core.model.conditions import Classes, Prompts
from bench.core.model.encoder import Encoder
from bench.core.model.ports import state_of_part
from bench.core.model.sizes import Size
from bench.core.store import checkpoints, weight_files
from bench.core.store.files import Json, file_hash, read_json
from bench.core.store.runs import (
    COST,
    ENVIRONMENT,
    METRICS_LOG,
    Description,
    find_run,
    is_run,
    read_metrics,
    read_part,
    samples_folder,
    write_description,
    write_status,
)
from bench.core.train.cost import flops_until
from bench.core.train.parts import Turns
from bench.core.train.posthoc import about_average
from bench.evaluation.checkpoint_files import check_finite
from bench.evaluation.released import format_of, import_checkpoint
from bench.training.session import Session


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A backbone, how its tokens become pictures, and where its results go.

    weights: which of its weights, in words; sha256: of their file; decode(tokens, precision) ->
    pixels [n, 1 or 3, H, W], not finite where the tokens are not; decoded_by(): the autoencoder of
    latents, for the record of the samples; data: the data set, None where only its decoder is at
    hand; images: training images seen (0 where that is not known); aligned: family, trained_on and
    labels of the encoder that it was aligned with, which is `encoder` where that is at hand;
    context: for result files; average: a rebuilt EMA's, "-decay0.99", in the names of its files;
    described: run.json of a model that has no run; prompts: what samples are asked for; part: of
    the data that it was trained on, "" where they are of one kind.
    """

    backbone: SiT
    weights: str
    sha256: str
    decode: Callable[[Tensor, str], Tensor]
    decoded_by: Callable[[], dict[str, str]]
    data: DataSet | None
    data_name: str
    prompts: Prompts
    folder: Path
    images: int
    aligned: dict[str, str] | None
    encoder: Encoder | None = None
    context: Json = field(default_factory=dict)
    average: str = ""
    described: Description | None = None
    part: str = ""

    @property
    def shown(self) -> Path:
        """The folder in whose samples/ lie pictures for people: a part's is its own."""
        return samples_folder(self.folder, self.part).parent

    def describe(self) -> None:
        """run.json and status.json of a model that has no run, so that its folder reads as one."""
        if self.described is not None and not is_run(self.folder):
            write_description(self.folder, self.described)
            write_status(self.folder, {"state": "complete"})


# A run ------------------------------------------------------------------------------------------


def snapshot_subject(session: Session, images: int, part: str = "") -> Subject:
    """The snapshot at `images` of a run that is open here, with what it has built already; part: of
    the data.
    """
    path = weight_files.snapshot_path(session.path, images)
    data = session.arm.arms[part].data
    backbone = _backbone(path, data, session.cfg.size, session.processes.device, part)
    environment = read_part(session.path, ENVIRONMENT)
    spent = spent_until(session.path, images) | {"environment": environment}
    spent |= seen_of_parts(session.cfg.to_dict(), images)
    return replace(
        untrained_subject(session, part),
        backbone=backbone,
        sha256=file_hash(path),
        images=images,
        context=spent,
    )


def untrained_subject(session: Session, part: str = "") -> Subject:
    """What a run's snapshots will be, before there is one: for checks, not for numbers."""
    arm = session.arm.arms[part]
    return Subject(
        backbone=arm.backbone(),
        weights="ema",
        sha256="",
        decode=arm.data.decode,
        decoded_by=arm.data.decoded_by,
        data=arm.data,
        data_name=arm.data.fingerprint,
        prompts=arm.data.prompts,
        folder=session.path,
        images=0,
        aligned=session.aligned(part),
        encoder=arm.encoder,
        part=part,
    )


def run_subject(
    folder: Path,
    device: torch.device,
    images: ImageCount | None = None,
    average: Path | None = None,
    data_words: Mapping[str, str] | None = None,
    cache: Path | None = None,
    part: str | None = None,
) -> Subject:
    """A run's snapshot (the newest, or that at `images`), or its rebuilt average in a file.

    data_words: values of data.KEY=VALUE; cache: where decoded pictures may be kept; part: of data
    of several kinds. Raises ValueError where there is none.
    """
    run, there = find_run(folder), weight_files.snapshots(folder)
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

    # which weights
    at = max(there) if images is None else images.images("images", stored["batch"])
    if at not in there:
        raise ValueError(f"images={at}: run={folder} has snapshots at {', '.join(map(str, there))}")
    path, suffix, noted = there[at], "", {}
    if average is not None:
        if images is not None:
            raise ValueError(
                f"images={images.text} does not go with ema=...: the file ends where it says"
            )
        path, noted = average, about_average(folder, average)
        at = int(noted["images"])
        warmed = "-warmup" if noted["warmup"] == "True" else ""
        suffix = f"-decay{float(noted['decay']):g}{warmed}"

    # what they are the weights of
    option = _of_part(folder, current("data", stored["data"]), part)
    data = build(option.changed(**_elsewhere(option, data_words or {})), cache=cache)
    backbone = _backbone(path, data, Size(**stored["size"]), device, part or "")
    context = spent_until(folder, at) | seen_of_parts(stored, at)
    aligned = (run.aligned or {}).get(part) if part else run.aligned
    return Subject(
        backbone=backbone,
        weights=f"ema{suffix}",
        sha256=file_hash(path),
        decode=data.decode,
        decoded_by=data.decoded_by,
        data=data,
        data_name=data.fingerprint,
        prompts=data.prompts,
        folder=folder,
        images=at,
        aligned=aligned,
        context=context | ({"posthoc_ema": noted | {"file": path.name}} if noted else {}),
        average=suffix,
        part=part or "",
    )


def _of_part(folder: Path, option: Option, part: str | None) -> Option:
    """The data of a part, or of all where they are of one kind."""
    parts = option.parts
    if not parts and part is not None:
        raise ValueError(f"part={part}: run={folder} was trained on one kind of data; drop it")
    if parts and part not in parts:
        said = f"part={part} is none of its parts" if part else "say of which it is to be"
        raise ValueError(
            f"run={folder} was trained on several kinds of data: {said}, part={' or '.join(parts)}"
        )
    return parts[part] if part else option


def _backbone(path: Path, data: DataSet, size: Size, device: torch.device, part: str = "") -> SiT:
    """A snapshot, or a rebuilt average. Raises ValueError for one that is damaged, of another size,
    or not finite.
    """
    backbone = SiT(data.grid, size, data.condition).to(device)
    checkpoints.load_snapshot(path, backbone, lambda state: state_of_part(state, part))
    check_finite(backbone.state_dict(), path)
    return backbone.requires_grad_(False)


def spent_until(path: Path, images: int) -> Json:
    """FLOPs and hours of a run's training until `images`.

    Between two lines of metrics.jsonl the hours are linear in the images: a snapshot is seldom at
    the end of a logging interval.
    """
    cost, log = read_part(path, COST), path / METRICS_LOG
    flops = flops_until(cost, images) + cost["encoder_training_flops"] if cost else None
    lines = read_metrics(log) if log.exists() else []
    at = [0, *(line["images"] for line in lines)]
    seconds = [0.0, *(line["time"]["total_seconds"] for line in lines)]
    hours = float(np.interp(images, at, seconds)) / 3600 if lines else None
    return {"flops": flops, "hours": hours}


def seen_of_parts(stored: Json, images: int) -> Json:
    """{"seen": images of each part} among the first so many, {} of data of one kind; stored: a
    configuration.
    """
    data = stored["data"]
    if not (parts := data.get("parts")):
        return {}
    said = data["share"] or dict.fromkeys(parts, 1.0)
    turns = Turns({name: said[name] for name in parts}, stored["seed"], stored["batch"])
    return {"seen": turns.seen(images)}


def _elsewhere(option: Option, words: Mapping[str, str]) -> Json:
    """Values for a run's data set: where it lies and how it is read, never what it is."""
    free = [key for key in option.values if not is_identity(f"data.{key}")]
    for key, text in words.items():
        if key in option.values and key not in free:
            may = f"; {', '.join(f'data.{key}' for key in free)} may" if free else ""
            raise ValueError(
                f"data.{key}={text} would be another data set than the run's, "
                f"and cannot be changed{may}"
            )
    return read_values("data", option, words)


def read_values(group: str, option: Option, words: Mapping[str, str]) -> Json:
    """Values of GROUP.KEY=VALUE words for an option of a group, of its keys' types.

    Raises ValueError.
    """
    values, node = {}, option.values
    for key, text in words.items():
        word = f"{group}.{key}"
        if key not in node:
            raise ValueError(
                f"{word} is no key of {group}={option.name} (it has {', '.join(node)})"
            )
        is_text = isinstance(node[key], str) or word in TEXT
        value = text if is_text else yaml.safe_load(text)
        check_type(word, value, node[key])
        values[key] = value
    return values


# A released checkpoint --------------------------------------------------------------------------


def released_subject(
    path: Path,
    device: torch.device,
    *,
    format_name: str,
    size: str,
    data_name: str,
    data_words: Mapping[str, str],
    out: Path | None = None,
    aligned: str | None = None,
    argv: Sequence[str] = (),
) -> Subject:
    """A released checkpoint on a data set of bench/conf/data.

    Raises ValueError where they do not fit.
    """
    aligned_with = _training_of(aligned or format_of(format_name).aligned)
    words = [f"data.{key}={value}" for key, value in data_words.items()]
    cfg = compose([f"data={data_name}", f"size={size}", *words])

    # the data set; of latents the decoder alone is needed, unless their folder is named
    of_data = cfg.data.values
    only_decoder = locate(cfg.data.target) is LatentData and not of_data["root"]
    data: DataSet | None = None if only_decoder else build(cfg.data)
    channels = CHANNELS if data is None else data.grid.channels

    # the weights
    patch = of_data["patch"] if data is None else data.grid.patches[0]
    imported = import_checkpoint(path, format_name, cfg.size, patch, channels)
    if imported.said:
        print(f"{path.name}: {imported.said}", flush=True)
    backbone = imported.backbone.to(device)
    classes = of_data["classes"] if data is None else data.classes
    told = Classes(classes) if data is None else data.condition
    if backbone.condition != told or (data is not None and backbone.grid != data.grid):
        raise ValueError(
            f"{path} was trained on {int(backbone.null)} classes at "
            f"{'x'.join(map(str, backbone.grid.shape))}, "
            f"data={data_name} has {classes}: choose the data set that it was trained on"
        )

    # its way to pictures
    if data is None:
        decoder = StableDiffusion(of_data["decoder"])
        decoded_by = decoder.record

        def decode(tokens: Tensor, precision: str) -> Tensor:
            return decoder.pixels(backbone.grid.unpatchify(tokens.float()), precision)
    else:
        decode, decoded_by = data.decode, data.decoded_by

    # its folder
    digest = file_hash(path)
    folder = out or Path(f"evaluations/{path.stem}-{digest[:8]}")
    find_run(folder)  # refuses the folder of a newer version
    for result in sorted(folder.glob("results/*.json")):
        if read_json(result).get("snapshot_sha256", digest) != digest:
            raise ValueError(
                f"out={folder} holds results of another checkpoint ({result.name}): "
                "choose another out=DIR"
            )
    return Subject(
        backbone=backbone,
        weights=imported.weights,
        sha256=digest,
        decode=decode,
        decoded_by=decoded_by,
        data=data,
        data_name=data_name if data is None else f"{data_name} ({data.fingerprint})",
        prompts=Prompts.of_classes(classes) if data is None else data.prompts,
        folder=folder,
        images=0,
        aligned=aligned_with,
        context={"flops": None, "hours": None, "checkpoint": path.name, "format": format_name},
        described=Description(
            arm=path.stem,
            method=format_name,
            encoder=None,
            size=cfg.size.name,
            depth=cfg.size.depth,
            width=cfg.size.width,
            data=data_name,
            seed=0,
            images=0,
            aligned=aligned_with,
            argv=list(argv),
        ),
    )


def _training_of(name: str) -> dict[str, str] | None:
    """Family, data and labels of the encoder that a released model was aligned with, for the mark
    on related metrics; none: it was aligned with none.
    """
    if name == "none":
        return None
    node = encoder_option(name).values
    if not node.get("family") or not node.get("trained_on"):
        raise ValueError(
            f"aligned={name} does not say what it was trained on: "
            "name one of bench/conf/encoder that does, or none"
        )
    return {key: node.get(key) or "" for key in ("family", "trained_on", "labels")}
