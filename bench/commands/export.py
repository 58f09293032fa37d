"""What bench.export does: write a run's model in one of four forms, and say how it is loaded."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.config.groups import current
from bench.config.words import ImageCount
from bench.core.data.latents import LatentData
from bench.core.store.rows import kind_of_part
from bench.core.store.runs import CONFIGURATION, read_part
from bench.evaluation.exporters import export_checkpoint, heads_of
from bench.evaluation.sharing import share
from bench.evaluation.subject import run_subject

UNKNOWN = "not known to this program: it is that of the pictures that you trained on"


def export(
    run: Path,
    format: str,
    out: Path | None,
    images: ImageCount | None,
    ema: Path | None,
    licence: str | None,
    part: str | None,
) -> None:
    """Write the model, and name what was written."""
    subject = run_subject(run, torch.device("cpu"), images, average=ema, part=part)
    stem = kind_of_part(f"{format}-{subject.images:012d}{subject.average}", subject.part)
    default = run / "exported" / (stem if format == "diffusers" else f"{stem}.pt")
    path = out or default
    if format == "diffusers":
        option = current("data", read_part(run, CONFIGURATION)["data"])
        said = licence or (option.parts[part] if part else option).licence or UNKNOWN
        decoder = subject.data.decoder if isinstance(subject.data, LatentData) else None
        share(subject, path, said, decoder)
        print(f"{path}: a folder for diffusers, with a model card (licence of the data: {said})")
        print(f'  DiffusionPipeline.from_pretrained("{path}", trust_remote_code=True)')
        return
    heads, why_not = heads_of(run, format)
    export_checkpoint(subject.backbone, path, format, heads)
    print(f"{path}: {subject.weights} after {subject.images} images, as format={format}")
    if heads is None:
        print(f"  without a projection head ({why_not}): load it with strict=False")
