"""Types, choices and ranges of a configuration: what no run could use is refused in one sentence.

    check_values(flatten(cfg))

Hydra reads the types from `Schema`; keys of the groups (size, data, compute, encoder) have the
types of their YAML, and a method's are checked against its class.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.core.ranges import check_range


@dataclass
class Time:
    kind: str = "uniform"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0


@dataclass
class Optimizer:
    lr: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    warmup_steps: int = 0
    schedule: str = "constant"


@dataclass
class Ema:
    decay: float = 0.9999
    warmup: bool = False


@dataclass
class Evaluation:
    snapshots: str = "all"
    protocol: str = "ode50"
    samples: int = 1200
    guidance: float = 1.0
    encoders: list[str] = field(default_factory=list)
    probe_images: int = 50_000
    seed: int = 0


@dataclass
class Schema:
    """Types of the top level; values and their meaning are in conf/config.yaml,
    groups bring their own keys.
    """

    method: Any = None
    size: Any = None
    encoder: Any = None
    data: Any = None
    compute: Any = None
    name: str | None = None
    seed: int = 0
    images: int = 0
    batch: int = 0
    micro_batch: int | None = None
    label_drop: float = 0.1
    precision: str = "auto"
    deterministic: bool = False
    time: Time = field(default_factory=Time)
    optimizer: Optimizer = field(default_factory=Optimizer)
    ema: Ema = field(default_factory=Ema)
    snapshots: int = 8
    checkpoint_images: int | None = None
    checkpoint_minutes: float = 15.0
    log_images: int = 0
    diagnostics_images: int | None = None
    tracking: str = "none"
    measure: str = "full"
    evaluation: Evaluation = field(default_factory=Evaluation)
    runs: str = "runs"
    cache: str = "runs/cache"


CHOICES = {
    "precision": ("auto", "float32", "bf16"),
    "measure": ("full", "quick", "none"),
    "optimizer.schedule": ("constant", "cosine"),
    "time.kind": ("uniform", "logit_normal"),
    "evaluation.snapshots": ("all", "last"),
}
# Intervals as one writes them: ( and ) leave the end out, [ and ] take it in. null is always
# allowed.
RANGES = {
    "seed": "[0, inf)",
    "micro_batch": "[1, inf)",
    "label_drop": "[0, 1]",
    "time.mean": "(-inf, inf)",
    "time.std": "(0, inf)",
    "time.shift": "(0, inf)",
    "optimizer.lr": "(0, inf)",
    "optimizer.beta1": "[0, 1)",
    "optimizer.beta2": "[0, 1)",
    "optimizer.eps": "(0, inf)",
    "optimizer.weight_decay": "[0, inf)",
    "optimizer.clip": "(0, inf)",
    "optimizer.warmup_steps": "[0, inf)",
    "ema.decay": "[0, 1)",
    "snapshots": "[0, inf)",
    "checkpoint_minutes": "(0, inf)",
    "evaluation.guidance": "[0, inf)",
    "evaluation.probe_images": "[100, inf)",
    "evaluation.seed": "[0, inf)",
    "data.patch": "[1, inf)",
    "data.size": "[1, inf)",
    "data.heldout": "(0, 1)",
    "compute.threads": "[1, 1024]",
    "compute.data_workers": "[0, inf)",
}
NULLABLE = {"compute.threads": int, "data.in_memory": bool}  # kinds of keys whose default is null
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    list: "a list [a, b]",
}


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean a, b?", or nothing where no known name is near."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""


def check_type(key: str, value: Any, default: Any) -> None:
    """Raise ValueError where a value is not of the default's kind; null,
    and whole numbers for numbers, are.
    """
    if value is None or (default is None and key not in NULLABLE) or isinstance(value, dict):
        return
    kind = NULLABLE.get(key, type(default))
    if type(value) is not kind and not (kind is float and type(value) is int):
        alike = "" if default is None else f", as {default!r} is"
        raise ValueError(f"{key}={value} is not {KINDS[kind]}{alike}")


def check_values(flat: Mapping[str, Any]) -> None:
    """Raise ValueError for the first value that no run could use; flat: {"a.b": value}."""
    for key, choices in CHOICES.items():
        if flat[key] not in choices:
            near = nearest(str(flat[key]), choices)
            raise ValueError(f"{key}={flat[key]} is unknown{near} (choices: {', '.join(choices)})")
    for key, value in flat.items():
        if key in RANGES or type(value) is float:
            check_range(key, value, RANGES.get(key, "(-inf, inf)"))
    batch, images, micro = flat["batch"], flat["images"], flat["micro_batch"]
    if batch < 1 or images < batch:
        raise ValueError(
            f"images={images} with batch={batch}: "
            "a run needs at least one step, images >= batch >= 1"
        )
    if images % batch:
        near = max(1, round(images / batch)) * batch
        raise ValueError(f"images={images} is no multiple of batch={batch}: images={near} would be")
    if micro is not None and batch % micro:
        raise ValueError(f"micro_batch={micro} does not divide batch={batch}: choose a divisor")
    for key in ("name", "data.name"):
        name = flat[key]
        if name is not None and (not name or name.startswith(".") or "/" in name or "\\" in name):
            raise ValueError(
                f"{key}={name} is no folder's name: "
                "leave out slashes and a leading dot (runs=DIR says where)"
            )
    for key in ("runs", "cache"):
        if not flat[key]:
            raise ValueError(f"{key}= names no folder: give one, {key}=DIR")
