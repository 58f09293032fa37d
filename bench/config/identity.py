"""What a run is: the keys that change its numbers, their hash,
and the names of its folder and its arm.

run_id(cfg) == "digits-vanilla-nano-s0-5e639187"
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from bench.config.compose import MADE_OF, OF, defaults
from bench.config.groups import GROUPS, made_of_parts, options, values_before
from bench.config.schema import Config, of_any_part
from bench.core.store.files import flatten, short_hash
from bench.core.store.runs import CONFIGURATION, is_run, read_part

# Never compute, paths, logging or evaluation; images only where the learning rate `has_length`.
IDENTITY = (
    "method",
    "size",
    "encoder",
    "data",
    "batch",
    "label_drop",
    "precision",
    "deterministic",
    "time",
    "optimizer",
    "ema",
    "init_weights",
)
NOT_IDENTITY = (
    "data.recipe",
    "data.modality",
    "data.licence",
    "data.root",
    "data.in_memory",
    "data.download",
    "data.decoder",
    *(f"{of}.{key}" for of in ("encoder", OF) for key in ("path", "source", "weights")),
    *(f"{g}.target" for g in (*GROUPS, OF)),
)


# Of a part of the data its p(t) is the recipe's, as there is no key of all parts for it.
OF_PART = re.compile(r"data\.parts\.[^.]+\.recipe\.time(\.|$)")
OF_FLOPS = "-flops"  # ends the name of a run whose number of images its cost decides


def is_identity(key: str) -> bool:
    """Whether a key, "optimizer.lr", is part of what a run is;
    any other may differ between two starts of it.
    """
    if OF_PART.match(key):
        return True
    key = of_any_part(key)
    parts = [key[:end] for end in (*(i for i, c in enumerate(key) if c == "."), len(key))]
    return any(part in ("seed", *IDENTITY) for part in parts) and not any(
        part in NOT_IDENTITY for part in parts
    )


def option_names(cfg: Config) -> dict[str, str]:
    """The options of the groups that say what a run is, by name; of data of several kinds that
    they are, whatever they are called.
    """
    chosen = {"method": cfg.method, "size": cfg.size, "encoder": cfg.encoder, "data": cfg.data}
    groups = {group: option.name for group, option in chosen.items() if option is not None}
    if cfg.encoder and cfg.encoder.inner:
        groups |= {"encoder": str(cfg.encoder.values["name"]), OF: cfg.encoder.inner.name}
    if parts := cfg.data.parts:
        option = next(name for name in options("data") if made_of_parts(name))
        groups |= {"data": option, MADE_OF: f"[{','.join(parts)}]"}
    return groups


def before_options(cfg: Config) -> dict[str, object]:
    """The values, {"method.head_init": "torch"}, of a run whose folder lacks the keys."""
    options = {"method": cfg.method, "data": cfg.data}
    return {
        f"{group}.{key}": value
        for group, option in options.items()
        for key, value in values_before(option).items()
    }


def identity(cfg: Config) -> dict[str, Any]:
    """What makes a run's numbers: the groups' options, the seed, and values that are not theirs, or
    not those of runs made before the key was there.
    """
    groups, before = option_names(cfg), before_options(cfg)
    usual = defaults(groups)
    changed = {
        key: value
        for key, value in flatten(cfg.to_dict()).items()
        if is_identity(key) and not usual.get(key) == value == before.get(key, value)
    }
    by_cost = (cfg.name or "").endswith(OF_FLOPS)
    if cfg.optimizer.has_length and cfg.images != usual["images"] and not by_cost:
        changed["images"] = cfg.images
    return groups | {"seed": cfg.seed} | changed


def run_hash(cfg: Config) -> str:
    """8 hexadecimal digits of the identity; a key that came later counts where its value is another
    than that of the runs before, which so keep their hashes.
    """
    return _hash(cfg)


def _hash(cfg: Config, without: str = "") -> str:
    before, told = before_options(cfg), identity(cfg)
    return short_hash(
        {
            key: value
            for key, value in told.items()
            if key != without and (key not in before or before[key] != value)
        }
    )


def arm_name(cfg: Config) -> str:
    """What a report calls the arm: "repa/averaged(local_m)", "selfflow(similarity=l1)"."""
    usual = defaults(option_names(cfg))
    own = [
        f"{key.partition('.')[2]}={value}"
        for key, value in sorted(identity(cfg).items())
        if key.startswith("method.") and usual.get(key) != value
    ]
    name = cfg.method.name + (f"({','.join(own)})" if own else "")
    return f"{name}/{cfg.encoder.name}" if cfg.encoder else name


def run_name(cfg: Config) -> str:
    """The readable half of the folder's name."""
    if cfg.name:
        return str(cfg.name)
    encoder = [cfg.encoder.name] if cfg.encoder else []
    parts = [
        cfg.data.name,
        cfg.method.name,
        *encoder,
        cfg.size.name,
        f"s{cfg.seed}",
    ]
    # timm's names of models on a hub have a slash, encoders made of others have brackets
    return re.sub(r"[/(]", "-", "-".join(parts)).replace(")", "")


def run_id(cfg: Config) -> str:
    """The name of the run's folder, `<name>-<hash8>`."""
    return f"{run_name(cfg)}-{run_hash(cfg)}"


def found_id(cfg: Config, runs: Path) -> str:
    """`run_id`, or the name that the same run had before lengths were told apart where its folder
    is in `runs`: of as many images, and of no other.
    """
    here = run_id(cfg)
    before = f"{run_name(cfg)}-{_hash(cfg, without='images')}"
    if before == here or is_run(runs / here) or not is_run(runs / before):
        return here
    same = read_part(runs / before, CONFIGURATION).get("images") == cfg.images
    return before if same else here


def earlier_id(cfg: Config) -> str:
    """The folder that the same words named before options were added whose default is another now;
    `run_id` where there is no such option.
    """
    usual = defaults(option_names(cfg))
    before = {
        key: value
        for key, value in values_before(cfg.method).items()
        if usual.get(f"method.{key}") == cfg.method.values[key]
    }
    return run_id(dataclasses.replace(cfg, method=cfg.method.changed(**before)))
