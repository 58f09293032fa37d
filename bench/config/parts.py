"""What each part of data of several kinds is told: the run's configuration as if the part were
trained alone.

    for name, cfg in part_configs(compose(["data=mixed"])).items():
        cfg.data, cfg.method, cfg.time, cfg.evaluation      # of that part

What nobody said follows from the part as it does where it is the only one: the share of masked
tokens from its modality, p(t) from its recipe, metrics and samples from both.
"""

from __future__ import annotations

import dataclasses

from bench.config.compose import MADE_OF, defaults
from bench.config.identity import option_names
from bench.config.schema import Config, Evaluation
from bench.core.store.files import Json


def part_configs(cfg: Config) -> dict[str, Config]:
    """The configuration of each part by name; of data of one kind itself, under ""."""
    parts = cfg.data.parts
    if not parts:
        return {"": cfg}
    of_all = option_names(cfg)
    usual, found = defaults(of_all), {}
    for name, data in parts.items():
        options = {key: option for key, option in of_all.items() if key != MADE_OF}
        alone = defaults(options | {"data": name})
        found[name] = dataclasses.replace(
            cfg,
            data=data,
            method=cfg.method.of_part(name, parts),
            time=dataclasses.replace(cfg.time, **data.recipe.get("time", {})),
            evaluation=_unless_said(cfg.evaluation, usual, alone),
        )
    return found


def _unless_said(now: Evaluation, usual: Json, alone: Json) -> Evaluation:
    """What is measured of a part: its own where what is said of all parts is the usual."""
    keys = {field.name: f"evaluation.{field.name}" for field in dataclasses.fields(now)}
    own = {
        name: alone[key]
        for name, key in keys.items()
        if key in alone and usual.get(key) == getattr(now, name)
    }
    return dataclasses.replace(now, **own)
