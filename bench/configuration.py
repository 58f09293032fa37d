"""From `key=value` words to one resolved, checked configuration, and from that to a run's identity.

Hydra composes the YAML groups of bench/conf; this file adds what it leaves out: counts (`64Ki`, `400Ksteps`), the
data's recipe choosing size and encoder, nearest names for unknown keys and options, one sentence for every mistake,
and the hash.

    >>> cfg = compose(["method=selfflow", "images=64Ki"])
    >>> run_id(cfg)
"""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.core.protocols import sampling_protocol
from bench.core.sizes import SIZES

CONF = Path(__file__).parent / "conf"
GROUPS = ("method", "size", "encoder", "data", "compute")
COUNTS = ("images", "checkpoint_images", "log_images", "diagnostics_images", "evaluation.samples")


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
    seed: int = 0


@dataclass
class Schema:
    """Types of the top level; values and their meaning are in conf/config.yaml, groups bring their own keys."""

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


def options(group: str) -> list[str]:
    """The choices of a group, sizes in order and the rest by name."""
    return list(SIZES) if group == "size" else sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean a, b?", or nothing where no known name is near."""
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""


_COUNT = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?)(Ki|Mi|Gi|K|M|G|k)?(steps)?")
_FACTOR = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}


def parse_count(key: str, text: str, batch: int) -> int:
    """Images from `65536`, `64Ki`, `1e6` or `400Ksteps` (times the batch). Raises ValueError for anything else."""
    match = _COUNT.fullmatch(text)
    try:
        if not match or not math.isfinite(float(match[1])):
            raise ValueError
        count = float(match[1]) * _FACTOR[match[2] or ""] * (batch if match[3] else 1)
    except ValueError:
        raise ValueError(f"{key}={text} is not a count: write it like 65536, 64Ki, 1e6 or 400Ksteps") from None
    if count != int(count) or count < 1:
        raise ValueError(f"{key}={text} makes {count:g}: a count is a whole number of at least 1")
    return int(count)


@functools.cache
def _hydra_compose(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The resolved configuration of these words.

    Kept, since a study's plan asks for the same defaults again and again.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    store = ConfigStore.instance()
    store.store(name="schema", node=Schema)
    for size in SIZES.values():
        store.store(group="size", name=size.name, node=asdict(size))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra_compose("config", overrides=list(overrides))
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def _split(overrides: Iterable[str]) -> dict[str, str]:
    """The words as key -> value, the last of a key winning, every group's choice checked."""
    chosen: dict[str, str] = {}
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"'{word}' is not KEY=VALUE{nearest(word, GROUPS)} (see --help)")
        if key in GROUPS and key != "compute" and value == "null":
            continue
        if key in GROUPS and value not in options(key):
            names = ", ".join(options(key))
            raise ValueError(f"{key}={value} is unknown{nearest(value, options(key))} (choices: {names})")
        chosen[key] = value
    return chosen


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of nested mappings; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.") or {f"{prefix}{key}": value}
        else:
            flat[prefix + str(key)] = value
    return flat


def locate(target: str) -> Any:
    """The object named "package.module:Name"."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"target '{target}' cannot be imported ({error}): write it as package.module:Name") from error


def build(node: Any, **extra: Any) -> Any:
    """The object that a group's YAML describes.

    Its `target` called with its other keys, types checked against the class.

    extra: arguments that no YAML can hold (a token grid, a data set). Raises ValueError for unknown keys and wrong
    types.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    values = dict(node)
    factory = locate(values.pop("target"))
    values.pop("recipe", None)
    if hasattr(factory, "__dataclass_fields__"):
        try:
            typed = OmegaConf.merge(OmegaConf.structured(factory), values)
            values: dict[str, Any] = OmegaConf.to_container(typed, throw_on_missing=True)  # type: ignore[no-redef]
        except OmegaConfBaseException as error:
            raise ValueError(f"{values.get('name', factory.__name__)}: {str(error).splitlines()[0]}") from error
    return factory(**values, **extra)


def _choices(chosen: dict[str, str]) -> dict[str, str]:
    """The options of every group: what the user chose, then what the data's recipe says."""
    groups = {group: chosen[group] for group in GROUPS if group in chosen}
    base = _hydra_compose(tuple(f"{group}={name}" for group, name in groups.items()))
    recipe = base["data"]["recipe"]
    groups.setdefault("size", recipe["size"])
    needs_encoder = "image" in locate(base["method"]["target"]).needs
    if needs_encoder:
        groups.setdefault("encoder", recipe["encoder"])
    elif "encoder" in groups:
        name = base["method"]["name"]
        raise ValueError(f"encoder={groups['encoder']}: method={name} uses no encoder; drop it, or choose method=repa")
    return groups


def _compose(groups: dict[str, str], values: dict[str, str]) -> dict[str, Any]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    words = tuple(f"{group}={name}" for group, name in groups.items())
    known = flatten(_hydra_compose(words))
    sections = {key.rsplit(".", 1)[0] for key in known if "." in key}
    for key, value in values.items():
        if key not in known and key not in sections:
            raise ValueError(f"{key}={value}: there is no key '{key}'{_nearest_keys(key, known)} (see --cfg job)")
    try:
        return copy.deepcopy(_hydra_compose((*words, *(f"{key}={value}" for key, value in values.items()))))
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        raise ValueError(_plain(str(cause), values)) from error


def _nearest_keys(key: str, known: Iterable[str]) -> str:
    """Suggestions for a mistyped key.

    Groups, whole keys, and keys whose last part is near (`weigth` for `method.weight`).
    """
    candidates = [*GROUPS, *known]
    leaves = {name.rsplit(".", 1)[-1] for name in candidates}
    near_leaves = difflib.get_close_matches(key.rsplit(".", 1)[-1], sorted(leaves), n=2, cutoff=0.7)
    by_leaf = [name for leaf in near_leaves for name in candidates if name.rsplit(".", 1)[-1] == leaf]
    return f"; did you mean {', '.join(by_leaf[:3])}?" if by_leaf else nearest(key, candidates)


def _plain(message: str, values: dict[str, str]) -> str:
    """Hydra's error as one sentence that names the word it is about."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    where = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key")), "")
    word = f"{where}={values[where]}: " if where in values else ""
    return word + lines[0]


def compose(overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The resolved configuration (plain nested dict) of a list of `key=value` words.

    Raises ValueError, one sentence.
    """
    chosen = _split(overrides)
    groups = _choices(chosen)
    values = {key: value for key, value in chosen.items() if key not in GROUPS}
    counts = {key: values.pop(key) for key in COUNTS if key in values and values[key] != "null"}
    batch = int(_compose(groups, values)["batch"])
    values |= {key: str(parse_count(key, text, batch)) for key, text in counts.items()}
    return check(_compose(groups, values))


def check(cfg: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError for values that no run could use; returns the configuration."""
    for key, choices in (
        ("precision", ("auto", "float32", "bf16")),
        ("measure", ("full", "quick", "none")),
        ("optimizer.schedule", ("constant", "cosine")),
        ("time.kind", ("uniform", "logit_normal")),
        ("evaluation.snapshots", ("all", "last")),
    ):
        value = flatten(cfg)[key]
        if value not in choices:
            raise ValueError(f"{key}={value} is unknown{nearest(str(value), choices)} (choices: {', '.join(choices)})")
    build(cfg["method"])
    sampling_protocol(cfg["evaluation"]["protocol"])
    if cfg["batch"] < 1 or cfg["images"] < cfg["batch"]:
        raise ValueError(
            f"images={cfg['images']} with batch={cfg['batch']}: a run needs at least one step, images >= batch >= 1"
        )
    if cfg["images"] % cfg["batch"]:
        near = max(1, round(cfg["images"] / cfg["batch"])) * cfg["batch"]
        raise ValueError(f"images={cfg['images']} is no multiple of batch={cfg['batch']}: images={near} would be")
    if cfg["micro_batch"] is not None and (cfg["micro_batch"] < 1 or cfg["batch"] % cfg["micro_batch"]):
        raise ValueError(f"micro_batch={cfg['micro_batch']} does not divide batch={cfg['batch']}: choose a divisor")
    if not 0 <= cfg["label_drop"] <= 1:
        raise ValueError(f"label_drop={cfg['label_drop']} is no probability: choose a value from 0 to 1")
    if not cfg["optimizer"]["lr"] > 0:
        raise ValueError(f"optimizer.lr={cfg['optimizer']['lr']} must be above 0")
    if not 0 <= cfg["ema"]["decay"] < 1:
        raise ValueError(f"ema.decay={cfg['ema']['decay']} must be at least 0 and below 1")
    return cfg


def defaults(groups: dict[str, str]) -> dict[str, Any]:
    """The configuration of these options of the groups and nothing else, flat; options of no file are left out."""
    return flatten(_compose(_choices({group: name for group, name in groups.items() if name in options(group)}), {}))
