"""From `key=value` words to one resolved, checked configuration.

Hydra composes the YAML groups of bench/conf; this file adds what it leaves out: counts
(`64Ki`, `400Ksteps`), the data's recipe choosing size and encoder, any text as a path, nearest
names for unknown keys and options, one sentence for every mistake.

    >>> compose(["method=selfflow", "images=64Ki"]).images
    65536
"""

from __future__ import annotations

import copy
import difflib
import functools
import os
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.config.beginning import begun_from
from bench.config.checks import check_method, check_metrics, check_settings
from bench.config.groups import (
    CONF,
    GROUPS,
    as_written,
    build,
    check_made_of,
    check_unused,
    encoder_option,
    locate,
    made_of_parts,
    modalities,
    options,
)
from bench.config.schema import (
    Config,
    check_type,
    check_values,
    hydra_schema,
    nearest,
    of_any_part,
)
from bench.config.words import parse_count, split_word
from bench.core.model.sampling_protocol import sampling_protocol
from bench.core.model.sizes import SIZES
from bench.core.store.files import Json, flatten

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Keys that would say another thing than the option of their group, which has been chosen by then.
CHOSEN_BY = {
    **{f"{group}.name": group for group in ("method", "size", "compute")},
    **{f"data.recipe.{group}": group for group in ("size", "encoder")}, "data.recipe": "data",
    "data.modality": "data", "data.recipe.parts": "data.parts",
}  # fmt: skip
OF_BATCH = ("batch", "data.recipe.batch")
WARMUPS = ("optimizer.warmup_steps", "optimizer.warmup_share")  # the same thing, said in two ways
# Keys whose value is any text, though their default is null; where the default is text it is text
# as well.
TEXT = (
    *("name", "data.root", "init"),
    *(f"{of}.{key}" for of in ("encoder", "encoder.of") for key in ("path", "weights", "model")),
)
OF = "encoder.of"
"""Chooses an option of the group encoder, as `encoder` does: what that one is made of."""
MADE_OF = "data.parts"
"""Chooses options of the group data, [digits,notes]: what data of several kinds are made of."""
BY_PART = ("share", "weights")  # of data of several kinds


def _is_count(key: str, value: str) -> bool:
    """Whether a key counts images or samples:
    `64Ki` may be said for it. A mapping by size holds plain numbers.
    """
    return (
        (key.endswith("images") or key == "evaluation.samples")
        and value != "null"
        and not value.startswith("{")
    )


def _of_recipe(key: str, otherwise: object = None, *, _root_: Json) -> object:
    """What `${recipe:key,otherwise}` stands for: what the data's recipe says, else what follows
    from their modality, else the last.

    Of data of several kinds {part: value} of what follows from a modality; else the last, which is
    of the parts whose recipe does not say it (`bench.config.parts`).
    """
    return _of_data(_root_["data"], key, otherwise)


def _of_data(data: Json, key: str, otherwise: object) -> object:
    from omegaconf import OmegaConf

    said = OmegaConf.select(data["recipe"], key)
    if said is not None:
        return said
    if parts := data.get("parts"):
        if not all(key in one for one in modalities().values()):
            return otherwise
        return {name: _of_data(part, key, otherwise) for name, part in parts.items()}
    kind = data.get("modality", "picture")
    if kind not in modalities():
        raise ValueError(f"modality={kind} of the data is unknown ({', '.join(modalities())})")
    return modalities()[kind].get(key, otherwise)


@functools.cache
def _unresolved(choices: tuple[str, ...]) -> DictConfig:
    """What Hydra makes of options of groups, "method=selfflow", before anything is resolved.

    Kept, since it reads thirty files each time and a study's plan asks for the same options again
    and again.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("recipe", _of_recipe, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=hydra_schema())
    for size in SIZES.values():
        store.store(group="size", name=size.name, node=asdict(size))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra_compose("config", overrides=list(choices))


@functools.cache
def _resolved(choices: tuple[str, ...], words: tuple[str, ...] = ()) -> dict[str, Any]:
    """The resolved configuration of options of groups, with words of Hydra's grammar applied as
    Hydra applies them: `key=value`, `~key`, `+key=value`. Not to be changed.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import ConfigCompositionException
    from omegaconf import OmegaConf, open_dict

    cfg = copy.deepcopy(_unresolved(choices)) if words else _unresolved(choices)
    for said in OverridesParser.create().parse_overrides(list(words)):
        key = said.key_or_group
        if said.is_sweep_override():
            raise ConfigCompositionException(f"{said.input_line} is several values: write one")
        if said.is_delete():
            section, _, last = key.rpartition(".")
            parent = OmegaConf.select(cfg, section)
            with open_dict(cfg):
                if OmegaConf.get_type(parent) is dict:
                    del parent[last]
                else:  # a dataclass keeps its fields: one that is a mapping is emptied
                    parent[last] = {}
        else:
            OmegaConf.update(cfg, key, said.value(), force_add=said.is_add())
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def _split(overrides: Iterable[str]) -> dict[str, str]:
    """The words as key -> value, the last of a key winning, every group's choice checked."""
    chosen: dict[str, str] = {}
    for word in overrides:
        key, value = split_word(word, GROUPS)
        if key in ("size", "encoder", OF) and value == "null":
            continue  # the data's recipe chooses, as it does where nothing is said
        if key == "init_weights":
            raise ValueError(f"{word}: {key} follows from the run that is begun from: say init=DIR")
        if (group := CHOSEN_BY.get(key)) is not None:
            raise ValueError(
                f"{word}: {key} follows from the option of the group: say {group}=NAME"
            )
        if key == MADE_OF:
            _named_parts(value)
        if key in GROUPS and value not in options(key):
            names = ", ".join(options(key))
            raise ValueError(
                f"{key}={value} is unknown{nearest(value, options(key))} (choices: {names})"
            )
        chosen[key] = value
    both = [f"{key}={chosen[key]}" for key in WARMUPS if chosen.get(key, "null") != "null"]
    if len(both) == len(WARMUPS):
        raise ValueError(f"{' and '.join(both)} are both said: leave one of them")
    return chosen


def _named_parts(value: str) -> list[str]:
    """The options that `data.parts=[digits,notes]` names. Raises ValueError for what is none."""
    names = [name.strip() for name in value.strip().removeprefix("[").removesuffix("]").split(",")]
    known = [name for name in options("data") if not made_of_parts(name)]
    for name in names:
        if name not in known:
            said = f"names {name}, which is unknown" if name else "names nothing"
            if made_of_parts(name):
                said = f"names {name}, which is itself made of parts"
            raise ValueError(
                f"{MADE_OF}={value} {said}{nearest(name, known)} (choices: {', '.join(known)})"
            )
        if names.count(name) > 1:
            raise ValueError(f"{MADE_OF}={value} names {name} twice: leave one of them")
    return names


def _parts(chosen: dict[str, str], data: Json) -> dict[str, str]:
    """What the data's own option is made of, as a choice; {} where of nothing."""
    proposed = data["recipe"].get("parts")
    if proposed is None:
        if MADE_OF in chosen:
            raise ValueError(
                f"{MADE_OF}={chosen[MADE_OF]}: data={data['name']} is of one kind; "
                "drop it, or choose data=mixed"
            )
        return {}
    return {
        MADE_OF: f"[{','.join(_named_parts(chosen[MADE_OF]) if MADE_OF in chosen else proposed)}]"
    }


def uses_encoder(method: str) -> bool:
    """Whether a method, an option of the group, is given an external encoder."""
    return "clean" in locate(as_written("method", method)["target"]).needs


def _choices(chosen: dict[str, str]) -> dict[str, str]:
    """The options of every group, in one order: what the user chose, then what the data's recipe
    says.
    """
    # of each group by itself, and of these only the data's need what Hydra makes of its file
    usual = _resolved(())
    data = _resolved((f"data={chosen['data']}",))["data"] if "data" in chosen else usual["data"]
    method, compute = (
        as_written(group, chosen[group]) if group in chosen else usual[group]
        for group in ("method", "compute")
    )
    groups = {
        "method": method["name"],
        "size": chosen.get("size", data["recipe"]["size"]),
        "data": chosen.get("data", data["name"]),
        "compute": compute["name"],
    } | _parts(chosen, data)
    if uses_encoder(method["name"]):
        groups["encoder"] = chosen.get("encoder", data["recipe"]["encoder"])
        if OF in chosen:
            groups[OF] = chosen[OF]
    elif said := [key for key in ("encoder", OF) if key in chosen]:
        raise ValueError(
            f"{said[0]}={chosen[said[0]]}: method={method['name']} uses no encoder; "
            "drop it, or choose method=repa"
        )
    return groups


def _choosing(group: str, name: str) -> list[str]:
    """Hydra's words for an option of a group; one that another is made of lies in its node."""
    if group == MADE_OF:
        return [f"+data@{MADE_OF}.{part}={part}" for part in _named_parts(name)]
    return [f"+encoder@{OF}={name}" if group == OF else f"{group}={name}"]


def _compose(groups: dict[str, str], values: dict[str, str]) -> dict[str, Any]:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    choices = tuple(word for group, name in groups.items() for word in _choosing(group, name))
    known = flatten(_resolved(choices))
    sections = {key.rsplit(".", 1)[0] for key in known if "." in key}
    for key, value in values.items():
        if key not in known and key not in sections:
            raise ValueError(
                f"{key}={value}: there is no key '{key}'{_nearest_keys(key, known)} (see --cfg job)"
            )
    said = tuple(word for key, value in values.items() for word in _hydra_words(key, value, known))
    try:
        cfg = copy.deepcopy(_resolved(choices, said))
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        raise ValueError(_plain(str(cause), values)) from error
    flat = flatten(cfg)
    for key in (key for key in values if key in flat):
        if not key.startswith(
            "method."
        ):  # the class knows better: a block is a number, a fraction or "last"
            check_type(key, flat[key], known.get(key))
    return cfg


def _hydra_words(key: str, value: str, known: dict[str, Any]) -> list[str]:
    """A word as Hydra's grammar wants it: text quoted; a mapping by size or by part of the data
    replaced and not merged.

    A method's block may be text, a number or a mapping, whatever its default is.
    """
    of_method = key.startswith("method.")
    may_be_text = not (of_method and re.match(r"[-+.\d{]", value))
    is_text = of_any_part(key) in TEXT or isinstance(known.get(key), str)
    if is_text and value != "null" and may_be_text:
        doubled = re.sub(
            r"(\\+)(?='|$)", r"\1\1", value
        )  # a backslash counts where a quote follows it
        return [f"{key}='{doubled.replace(chr(39), chr(92) + chr(39))}'"]
    mapping = value.startswith("{") and (of_method or key.startswith("data."))
    if isinstance(known.get(key), dict) or mapping or (of_method and key not in known):
        return [f"~{key}", f"+{key}={value}"]
    return [f"{key}={value}"]


def _nearest_keys(key: str, known: Iterable[str]) -> str:
    """Suggestions for a mistyped key.

    Groups, whole keys, and keys whose last part is near (`weigth` for `method.weight`).
    """
    candidates = [*GROUPS, *known]
    leaves = {name.rsplit(".", 1)[-1] for name in candidates}
    near_leaves = difflib.get_close_matches(key.rsplit(".", 1)[-1], sorted(leaves), n=2, cutoff=0.7)
    by_leaf = [
        name for leaf in near_leaves for name in candidates if name.rsplit(".", 1)[-1] == leaf
    ]
    return f"; did you mean {', '.join(by_leaf[:3])}?" if by_leaf else nearest(key, candidates)


def _plain(message: str, values: dict[str, str]) -> str:
    """Hydra's error as one sentence that names the word it is about."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    where = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key")), ""
    )
    word = f"{where}={values[where]}: " if where in values else ""
    return word + lines[0]


def compose(overrides: Iterable[str] = ()) -> Config:
    """The checked configuration of a list of `key=value` words. Raises ValueError, one sentence."""
    chosen = _split(overrides)
    groups = _choices(chosen)
    if "encoder" in groups:
        check_made_of(groups["encoder"], groups.get(OF))
    values = {key: value for key, value in chosen.items() if key not in (*GROUPS, OF, MADE_OF)}
    if MADE_OF in chosen:  # what is said of the usual parts says nothing of others
        data = _compose(groups, {})["data"]
        others = [key for key in BY_PART if set(data[key] or data["parts"]) != set(data["parts"])]
        values = {f"data.{key}": "null" for key in others} | values
    counts = {key: values.pop(key) for key, value in chosen.items() if _is_count(key, value)}
    # what a step has decides what 400Ksteps are; few words say it, so that it is composed once
    of_batch = {key: value for key, value in values.items() if key in OF_BATCH}
    batch = int(_compose(groups, of_batch)["batch"])
    values |= {key: str(parse_count(key, text, batch)) for key, text in counts.items()}
    node = _compose(groups, values)
    check_values(flatten(node))
    _check_times(node["data"].get("parts", {}), values)
    usual = _compose(groups, {})["method"]
    check_unused(locate(usual["target"]), node["method"], usual)
    paths = {key: os.path.expanduser(node[key]) for key in ("runs", "cache", "init") if node[key]}
    return begun_from(check(Config.of(node | paths)))


def _check_times(parts: Json, said: Iterable[str]) -> None:
    """Raise ValueError for a word on p(t) that a part's recipe has answered already."""
    for key in (key for key in said if key.startswith("time.")):
        for name, part in parts.items():
            if key.removeprefix("time.") in part["recipe"].get("time", {}):
                raise ValueError(
                    f"{key} is of parts whose recipe does not say it, and that of {name} does: "
                    f"say {MADE_OF}.{name}.recipe.{key}=VALUE"
                )


def check(cfg: Config) -> Config:
    """Raise ValueError for values that no run could use; returns the configuration."""
    parts = cfg.data.parts
    for part in parts or ("",):
        check_method(build(cfg.method.of_part(part, parts)), cfg)
    for name in cfg.evaluation.encoders:
        encoder_option(name)
    check_metrics("evaluation.metrics", cfg.evaluation.metrics, of_run=True)
    check_settings("evaluation.settings", cfg.evaluation.settings)
    sampling_protocol(cfg.evaluation.protocol, shift=cfg.evaluation.shift)
    return cfg


def defaults(groups: dict[str, str]) -> dict[str, Any]:
    """The configuration of these options of the groups and nothing else, flat.

    Options of no file are left out.
    """
    known = {
        group: name
        for group, name in groups.items()
        if group == MADE_OF or name in options("encoder" if group == OF else group)
    }
    return dict(_defaults(tuple(known.items())))


@functools.cache
def _defaults(known: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Kept: a run's name is what differs from them, and asked for again and again."""
    return flatten(_compose(_choices(dict(known)), {}))
