"""The groups of bench/conf: which options there are,
and the object that an option's YAML describes.

options("encoder")                    # ["clip_l", "dinov2_b", ...]
method = build(cfg.method)             # its class, called with its values
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.schema import Option, nearest
from bench.core.model.sizes import SIZES
from bench.core.ranges import check_range
from bench.core.store.files import Json

CONF = Path(__file__).parents[1] / "conf"
CARD = "bench.core.model.encoder:EncoderCard"  # by name, since it imports PyTorch
GROUPS = ("method", "size", "encoder", "data", "compute")


def options(group: str) -> list[str]:
    """The choices of a group, sizes in order and the rest by name."""
    if group == "size":
        return list(SIZES)
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def choosing(name: str) -> list[str]:
    """The words that choose an option of this name, ["method=selfflow"]."""
    return [f"{group}={name}" for group in GROUPS if name in options(group)]


def encoder_option(name: str) -> Option:
    """An encoder as its YAML says, for `build`; "averaged(dinov2_b)" is one made of another.

    Raises ValueError for an unknown one.
    """
    of_another = re.fullmatch(r"(\w+)\((.+)\)", name)
    if of_another and of_another[1] in options("encoder"):
        outer, inner = of_another.groups()
        check_made_of(outer, inner)
        return Option.of(as_written("encoder", outer) | {"of": as_written("encoder", inner)})
    if name not in options("encoder"):
        raise ValueError(f"encoder {name} is unknown{nearest(name, options('encoder'))}")
    return Option.of(as_written("encoder", name))


def made_of_another(encoder: str) -> bool:
    """Whether an encoder of the group is made of another one, which encoder.of names."""
    return "of" in as_written("encoder", encoder)


def made_of_parts(data: str) -> bool:
    """Whether a data set of the group is made of others, which data.parts names."""
    return data in options("data") and "parts" in as_written("data", data)


def check_made_of(encoder: str, of: str | None) -> None:
    """Raise ValueError unless an encoder of the group may be made of `of`, None where it is of
    none.
    """
    plain = [name for name in options("encoder") if not made_of_another(name)]
    outer = [name for name in options("encoder") if name not in plain]
    if of is None:
        if encoder in outer:
            raise ValueError(
                f"encoder={encoder} is made of another encoder: say of which, encoder.of=NAME "
                f"(choices: {', '.join(plain)})"
            )
        return
    if encoder not in outer:
        raise ValueError(
            f"encoder.of={of}: encoder={encoder} is made of no other; "
            f"drop it, or choose encoder={' or '.join(outer)}"
        )
    if of in outer:
        raise ValueError(
            f"encoder.of={of} is itself made of another encoder: name one that reads pictures, "
            "as encoder.of=dinov2_b"
        )
    if of not in plain:
        raise ValueError(
            f"encoder.of={of} is unknown{nearest(of, plain)} (choices: {', '.join(plain)})"
        )


def current(group: str, node: Mapping[str, Any]) -> Option:
    """A stored option of a group as today's files would build it: its values, the class by name.

    Run folders outlive moves of files, so a stored `target` says only which class it was. Raises
    ValueError where no option of the group has it any more.
    """
    if parts := node.get("parts"):
        now = {name: current(group, one) for name, one in parts.items()}
        of_parts = {name: one.to_dict() | {"licence": one.licence} for name, one in now.items()}
        node = {**node, "parts": of_parts}
    stored = node["target"].rpartition(":")[2]
    names = sorted(options(group), key=lambda name: name != node.get("name"))  # its own name first
    for name in names:
        target = as_written(group, name)["target"]
        if target.rpartition(":")[2] == stored:
            return Option.of(
                {**node, "target": target, "licence": as_written(group, name).get("licence", "")}
            )
    raise ValueError(f"{group} of the class {stored} is unknown here (choices: {', '.join(names)})")


@functools.cache
def modalities() -> dict[str, Json]:
    """What follows from the kind of data, by its name: bench/conf/modalities.yaml."""
    import yaml

    return yaml.safe_load((CONF / "modalities.yaml").read_text(encoding="utf-8"))


def as_written(group: str, name: str) -> dict[str, Any]:
    """An option as its file has it, with nothing resolved."""
    return copy.deepcopy(_read(group, name))


@functools.cache
def _read(group: str, name: str) -> dict[str, Any]:
    """Kept: a plan asks for the same files hundreds of times."""
    import yaml

    return yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))


def locate(target: str) -> Any:
    """The object named "package.module:Name"."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"target '{target}' cannot be imported ({error}): write it as package.module:Name"
        ) from error


def build(option: Option, **extra: Any) -> Any:
    """The object that an option describes: its class called with its values, types checked.

    An encoder's class takes the keys that all encoders share as its card, and the encoder that it
    is made of built. extra: arguments that no YAML can hold (a token grid, a data set), given where
    the class takes them. Raises ValueError for unknown keys and wrong types.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    factory = locate(option.target)
    values: Any = dict(option.values)
    if hasattr(factory, "__dataclass_fields__"):
        try:
            typed = OmegaConf.merge(OmegaConf.structured(factory), values)
            values = OmegaConf.to_container(typed, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise ValueError(
                f"{values.get('name', factory.__name__)}: {str(error).splitlines()[0]}"
            ) from error
        check_fields(factory, values)
    takes = inspect.signature(factory).parameters
    if option.parts:
        values["parts"] = {
            name: _build_part(name, one, extra) for name, one in option.parts.items()
        }
    if "of" in values:
        if option.inner is None:
            check_made_of(option.name, None)
        assert option.inner is not None, "refused above"
        # one that shows the other something else than it is shown says what
        for_inner = getattr(factory, "for_inner", dict)
        values["of"] = build(option.inner, **for_inner(**extra))
    if "card" in takes:
        card = locate(CARD)
        own = {f.name: values.pop(f.name) for f in dataclasses.fields(card) if f.name in values}
        extra["card"] = card(**own | {"name": option.name})
    return factory(**values, **{key: part for key, part in extra.items() if key in takes})


def _build_part(name: str, option: Option, extra: Json) -> object:
    """A data set that another is made of; what it lacks is said with the keys that it has there."""
    try:
        return build(option, **extra)
    except ValueError as error:
        said = re.sub(r"\bdata\.(?=\w+=)", f"data.parts.{name}.", str(error))
        raise ValueError(f"data.parts, {name}: {said}") from error


def values_before(option: Option) -> dict[str, object]:
    """What runs had that were made before an option of its class was there.

    Such an option, and no other, has a default in the class; the YAML says today's.
    """
    parameters = inspect.signature(locate(option.target)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {key: value for key, value in defaults.items() if key in option.values}


def check_fields(method: type, values: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of a method's class that its field's metadata does not allow.

    "range": an interval; "choices": words; "only_if": as `check_unused` says.
    """
    for option in dataclasses.fields(method):
        key, value, allowed = option.name, values[option.name], option.metadata
        if value not in allowed.get("choices", (value,)):
            choices = ", ".join(allowed["choices"])
            raise ValueError(f"method.{key}={value} is unknown (choices: {choices})")
        if "range" in allowed:
            check_range(f"method.{key}", value, allowed["range"])
    name = values["name"]
    said = as_written("method", name) if name in options("method") else {}
    # what follows from the data, "${recipe:...}", compose knows
    usual = {key: value for key, value in said.items() if not str(value).startswith("${")}
    check_unused(method, values, usual)


def check_unused(of: type, values: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Raise ValueError for an option of one's own that does nothing beside the others: one whose
    field has "only_if": (option, value), where that option has another value.

    usual: what is said where nobody says anything.
    """
    for option in dataclasses.fields(of):
        key, value = option.name, values[option.name]
        other, needed = option.metadata.get("only_if", (key, value))
        if values[other] != needed and value != usual.get(key, value):
            now, then = (str(v).lower() for v in (values[other], needed))
            raise ValueError(
                f"method.{key}={value} says nothing: method.{other}={now}, "
                f"and it is of method.{other}={then} alone; drop it"
            )
