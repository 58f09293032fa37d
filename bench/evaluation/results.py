"""Result files of bench.evaluate: rows with the words that measured them,
beside a description of what they are of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from bench.core.store.environment import environment
from bench.core.store.rows import Row, write_rows
from bench.core.store.runs import Description, is_run, write_description, write_status
from bench.evaluation.subject import Subject
from bench.evaluation.words import has_encoder


def told(rows: Iterable[Row], metric: str, words: dict[str, str]) -> list[Row]:
    """Rows that keep the words that measured them in their details,
    for whoever measures another run alike.
    """
    keys = {"fid": ("reference", "inception"), "probes": ("probe",)}.get(metric, ("reference",))
    kept = {key: words[key] for key in keys if key in words and not metric.startswith("cknna_")}
    kept |= {
        key: value
        for key, value in words.items()
        if key.startswith("encoder.") and has_encoder(metric)
    }
    return [
        replace(row, details=row.details | {"words": {"metrics": metric} | kept}) for row in rows
    ]


def store(
    subject: Subject, words: dict[str, str], kind: str, rows: list[Row], device: torch.device
) -> None:
    """Write the rows and say them."""
    if not is_run(subject.folder):
        describe(subject, words)
    context = subject.context | {"snapshot_sha256": subject.sha256}
    context["environment"] = environment(device, torch.get_num_threads())
    path = write_rows(subject.folder, kind, subject.images, rows, context)
    for row in rows:
        place = "" if row.block is None else f"block {row.block}, t = {row.t:g}"
        value = "missing" if row.value is None else f"{row.value:.5g}"
        print(
            f"  {row.metric:20}{value:12}{'; '.join(part for part in (place, row.note) if part)}".rstrip()
        )
    print(path)


def describe(subject: Subject, words: dict[str, str]) -> None:
    """run.json of an evaluated file, so that its folder is read as a run's is."""
    size = subject.backbone.size
    description = Description(
        arm=Path(words["checkpoint"]).stem,
        method=words["format"],
        encoder=None,
        size=size.name,
        depth=size.depth,
        width=size.width,
        data=words["data"],
        seed=0,
        images=0,
        aligned=subject.aligned,
        argv=[f"{k}={v}" for k, v in words.items()],
    )
    write_description(subject.folder, description)
    write_status(subject.folder, {"state": "complete"})
