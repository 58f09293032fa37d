"""Published numbers, for reading beside measured ones and never mixed in: published.csv and its
schema.

    for row in published("imagenet256"):
        print(row.model, row.method, row.fid, row.source)
    published_metrics("video")[0].value      # other kinds of data, a number a row

Columns (empty: not published, or does not apply):
  task             imagenet256 (class-conditional, 256 px, FID against the training set),
                   imagenet256_rae (the same on latents of a representation autoencoder), or t2i
                   (text to image)
  model, method    as the paper names the backbone; method as this project does (selfflow_*:
                   Self-Flow with one change)
  encoder          the external encoder that is aligned with
  alignment_block  1-based block whose output is aligned
  objective        of the alignment, or of the other extra term
  steps            optimiser steps, of 256 images on ImageNet
  params_m         parameters of the backbone, millions
  cfg              classifier-free guidance: none, or a scale and where it acts
  sampler          sde250 (of bench/core/model/sampling_protocol.py), ode (its steps not published),
                   unknown
  fid, sfid        lower is better; is, precision, recall: higher is better; precision and recall
                   are shares 0..1
  linear_probe     accuracy in percent
  source           paper and table or figure, or the public re-run
  confidence       paper (a table), figure (read off), readme (authors' repository), rerun (somebody
                   else's)
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

PUBLISHED_FILE = Path(__file__).with_name("published.csv")
METRICS_FILE = Path(__file__).with_name("published_metrics.csv")
TASKS = ("imagenet256", "imagenet256_rae", "t2i")
MODALITIES = {"video": "video", "sound": "audio"}
"""The task of published_metrics.csv that a kind of data is of."""
SAMPLERS = ("sde250", "ode", "unknown")
CERTAINTIES = ("paper", "figure", "readme", "rerun")
IMAGES_A_STEP = 256
# Self-Flow with one change, as the column `method` names it -> the arm of this project
ARMS = {
    "selfflow_no_masking": "selfflow(masking=False)",
    "selfflow_near_timestep": "selfflow(near=0.2)",
    "selfflow_l1": "selfflow(similarity=l1)",
    "selfflow_no_rep": "dual_timestep",
}
# column -> least and most that can be meant; a value outside is a slip of the pen
LIMITS: dict[str, tuple[float, float]] = {
    "alignment_block": (1, 100),
    "steps": (1, 1e8),
    "params_m": (1, 1e5),
    "fid": (0, 500),
    "sfid": (0, 500),
    "is": (1, 1000),
    "precision": (0, 1),
    "recall": (0, 1),
    "linear_probe": (0, 100),
}


@dataclass(frozen=True)
class Published:
    """One row; the fields are described at the head of this file (`is_`: Inception score)."""

    task: str
    model: str
    method: str
    encoder: str
    alignment_block: int | None
    objective: str
    steps: int
    params_m: float
    cfg: str
    sampler: str
    fid: float | None
    sfid: float | None
    is_: float | None
    precision: float | None
    recall: float | None
    linear_probe: float | None
    source: str
    confidence: str

    @property
    def arm(self) -> str:
        """What this project calls the arm: "repa/dinov2_b", "selfflow(near=0.2)"."""
        method = ARMS.get(self.method, self.method)
        return f"{method}/{self.encoder}" if self.encoder else method

    @property
    def images(self) -> int | None:
        """Training images seen, where the batch is known: of text to image it is not published."""
        return self.steps * IMAGES_A_STEP if self.task.startswith("imagenet") else None


@dataclass(frozen=True)
class PublishedMetric:
    """A row of published_metrics.csv, one number of other kinds of data than classes of pictures.

    task: of `MODALITIES`, t2i, simpler (RT-1's robot in a simulator) or mixed (one backbone for
    pictures, videos and sounds); steps: of the optimiser, None where it is not said, and the batch
    never is; value: lower is better but of clip_score and success_*, which are shares. The others
    are as in `Published`.
    """

    task: str
    method: str
    encoder: str
    steps: int | None
    metric: str
    value: float
    note: str
    source: str
    confidence: str

    @property
    def arm(self) -> str:
        """What this project calls the arm."""
        return f"{self.method}/{self.encoder}" if self.encoder else self.method

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.metric == "clip_score" or self.metric.startswith("success")


HEADINGS = tuple(field.name.rstrip("_") for field in fields(Published))


def published(task: str | None = None, path: Path = PUBLISHED_FILE) -> list[Published]:
    """The rows (of one task), checked.

    Raises ValueError naming line, column and value of the first that is wrong.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != HEADINGS:
            raise ValueError(
                f"{path.name}: columns are {reader.fieldnames}, expected {', '.join(HEADINGS)}"
            )
        rows = [_row(line, f"{path.name} line {reader.line_num}") for line in reader]
    return [row for row in rows if task is None or row.task == task]


def published_metrics(task: str | None = None, path: Path = METRICS_FILE) -> list[PublishedMetric]:
    """The rows of published_metrics.csv (of one task). Raises ValueError naming the line of one
    that is wrong.
    """
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        for line in reader:
            where, steps = f"{path.name} line {reader.line_num}", line["steps"]
            if line["confidence"] not in CERTAINTIES or not line["source"]:
                raise ValueError(f"{where}: a source, and one of {', '.join(CERTAINTIES)}")
            try:
                of_steps, value = int(steps) if steps else None, float(line["value"])
            except ValueError:
                raise ValueError(f"{where}: steps or value is no number") from None
            texts = {key: line[key] for key in ("task", "method", "encoder", "metric")}
            cited = {key: line[key] for key in ("note", "source", "confidence")}
            rows.append(PublishedMetric(steps=of_steps, value=value, **texts, **cited))
    return [row for row in rows if task is None or row.task == task]


def _row(line: dict[str, str], where: str) -> Published:
    for column, choices in (("task", TASKS), ("sampler", SAMPLERS), ("confidence", CERTAINTIES)):
        if line[column] not in choices:
            raise ValueError(
                f"{where}: {column} is {line[column]!r}, not one of {', '.join(choices)}"
            )
    for column in ("model", "method", "source", "steps", "params_m", "cfg"):
        if not line[column]:
            raise ValueError(f"{where}: {column} is empty; every row has one")
    numbers: dict[str, float | int | None] = {
        column: _number(line[column], column, where) for column in LIMITS
    }
    texts = {column: text for column, text in line.items() if column not in LIMITS}
    values: dict[str, Any] = texts | numbers
    values["is_"] = values.pop("is")
    return Published(**values)


def _number(text: str, column: str, where: str) -> float | int | None:
    if not text:
        return None
    least, most = LIMITS[column]
    try:
        value = int(text) if column in ("steps", "alignment_block") else float(text)
    except ValueError:
        raise ValueError(f"{where}: {column} is {text!r}, not a number") from None
    if not least <= value <= most:
        raise ValueError(f"{where}: {column} is {value}, outside {least:g} to {most:g}")
    return value
