"""What a run is told, as types: `Config` and its parts, with choices and ranges on the fields.

    cfg = compose(["method=selfflow", "size=L"])       # bench.config.compose
    cfg.optimizer.lr, cfg.size.depth, cfg.method.name, cfg.data.values["patch"]

Hydra reads the types from `hydra_schema`. The options of the groups method, encoder and data are an
`Option` each: a class by name and its arguments, checked against the class when it is built.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.core.model.sizes import Size
from bench.core.ranges import check_range
from bench.core.train.settings import Compute, Settings, one_of, within

CHECKED_WHEN_BUILT = (
    "method",
    "size",
    "encoder",
    "data",
    "compute",
)  # groups; their YAML has the types


@dataclass(frozen=True)
class Option:
    """An option of a group as its YAML says it; values: the arguments of the class `target` names.

    recipe: what a data set's option proposes for the rest of the configuration; modality: the kind
    of data that it is, a key of bench/conf/modalities.yaml; licence: of a data set, in words, ""
    where the file says none, and no part of a run.
    """

    target: str
    values: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    modality: str = ""
    licence: str = ""

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Option:
        """From YAML's mapping."""
        apart = ("target", "recipe", "modality", "licence")
        values = {key: value for key, value in node.items() if key not in apart}
        said = (node.get("recipe", {}), node.get("modality", ""), node.get("licence", ""))
        return cls(node["target"], values, *said)

    @property
    def name(self) -> str:
        """What the option calls itself; timm models, folders and data sets may be renamed.

        Of one that is made of another, both: "averaged(dinov2_b)".
        """
        own = str(self.values["name"])
        return f"{own}({self.inner.name})" if self.inner else own

    @property
    def parts(self) -> dict[str, Option]:
        """The options that a data set is made of, by name: its key `parts`."""
        nodes = self.values.get("parts")
        return {name: Option.of(node) for name, node in nodes.items()} if nodes else {}

    def of_part(self, part: str, parts: Collection[str]) -> Option:
        """A method as it is for one of these parts of the data: values that are said by part,
        {digits: 0.25, notes: 0.5}, are that part's. Raises ValueError where it is left out.
        """
        own = dict(self.values)
        for key, value in self.values.items():
            if part and isinstance(value, Mapping) and set(value) & set(parts):
                if set(value) != set(parts):
                    raise ValueError(
                        f"method.{key} is said of {', '.join(value)}, and the parts of the data "
                        f"are {', '.join(parts)}: say one value for all, or one for each"
                    )
                own[key] = value[part]
        return dataclasses.replace(self, values=own)

    @property
    def inner(self) -> Option | None:
        """The option that this one is made of, its key `of`."""
        node = self.values.get("of")
        return Option.of(node) if isinstance(node, Mapping) else None

    def changed(self, **values: Any) -> Option:
        """The option with other values."""
        return dataclasses.replace(self, values={**self.values, **values})

    def to_dict(self) -> dict[str, Any]:
        """As YAML's mapping."""
        name = {"name": self.values["name"]} if "name" in self.values else {}
        recipe = {"recipe": dict(self.recipe)} if self.recipe else {}
        modality = {"modality": self.modality} if self.modality else {}
        return {**name, "target": self.target, **modality, **self.values, **recipe}


@dataclass(frozen=True)
class Evaluation:
    """What is measured after training, and how samples are made; docs/metrics.md."""

    metrics: list[str] = field(default_factory=list)
    reference: str = "train"
    settings: dict[str, Any] = field(default_factory=dict)
    snapshots: str = one_of("all", "last", "unsampled")
    protocol: str = "ode50"
    samples: int = 1200
    guidance: float = within(1.0, "[0, inf)")
    shift: float = within(1.0, "(0, inf)")
    labels: str = one_of("random", "balanced")
    encoders: list[str] = field(default_factory=list)
    probe_images: int = within(50_000, "[100, inf)")
    seed: int = within(0, "[0, inf)")


@dataclass(frozen=True)
class Cluster(Compute):
    """compute=slurm: what a job asks the cluster for, see bench/conf/compute/slurm.yaml."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int = 240
    signal: int = 120
    nodes: int = 1
    processes: int = 1
    gpus: int = 1
    cpus: int = 4
    memory: float | None = None
    parallel: int = 16
    setup: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Everything a run is told; bench/conf/config.yaml has values and meanings."""

    method: Option
    size: Size
    encoder: Option | None
    data: Option
    name: str | None = None
    init: str | None = None
    init_weights: str | None = None
    tracking: str = "none"
    measure: str = one_of("full", "quick", "none")
    evaluation: Evaluation = field(default_factory=Evaluation)
    runs: str = "runs"
    cache: str = "runs/cache"
    anyway: bool = False

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> Config:
        """From a resolved configuration whose values were checked. Raises ValueError for a size."""
        compute: type[Compute] = Cluster if node["compute"]["name"] == "slurm" else Compute
        parts: dict[str, Any] = {
            "method": Option.of(node["method"]),
            "size": Size(**node["size"]),
            "encoder": Option.of(node["encoder"]) if node["encoder"] else None,
            "data": Option.of(node["data"]),
            "compute": compute(**node["compute"]),
        }
        types = typing.get_type_hints(cls)
        for key, value in node.items():
            if key not in parts:
                parts[key] = types[key](**value) if dataclasses.is_dataclass(types[key]) else value
        return cls(**parts)

    def to_dict(self) -> dict[str, Any]:
        """As the nested mapping that config.json and --cfg job show, groups first."""
        groups = {key: getattr(self, key) for key in CHECKED_WHEN_BUILT}
        rest = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {key: _plain(value) for key, value in (groups | rest).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Option):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value


def hydra_schema(of: type = Config) -> type:
    """The types of a configuration as Hydra wants them: not frozen, and groups open."""
    types = typing.get_type_hints(of)
    fields: list[tuple[str, Any, Any]] = []
    for f in dataclasses.fields(of):
        if f.name in CHECKED_WHEN_BUILT:
            fields.append((f.name, Any, None))
        elif dataclasses.is_dataclass(types[f.name]):
            part = hydra_schema(types[f.name])
            fields.append((f.name, part, field(default_factory=part)))
        elif f.default_factory is not dataclasses.MISSING:
            fields.append((f.name, types[f.name], field(default_factory=f.default_factory)))
        else:
            fields.append((f.name, types[f.name], f.default))
    return dataclasses.make_dataclass(of.__name__, fields)


def _constraints(of: type, name: str, prefix: str = "") -> dict[str, Any]:
    """{"optimizer.lr": "(0, inf)"}: what the fields of a configuration say under a name."""
    found: dict[str, Any] = {}
    types = typing.get_type_hints(of)
    for f in dataclasses.fields(of):
        if name in f.metadata:
            found[prefix + f.name] = f.metadata[name]
        elif isinstance(part := types[f.name], type) and dataclasses.is_dataclass(part):
            found |= _constraints(part, name, f"{prefix}{f.name}.")
    return found


_CHOICES: dict[str, tuple[str, ...]] = _constraints(Config, "choices")
# Intervals as one writes them: ( and ) leave the end out, [ and ] take it in. null is allowed.
_RANGES: dict[str, str] = _constraints(Config, "range") | {
    "data.patch": "[1, inf)",
    "data.size": "[1, inf)",
    "data.heldout": "(0, 1)",
}
NULLABLE = {
    "compute.threads": int,
    "data.in_memory": bool,
    "time.low_snr": float,
}  # kinds of keys whose default is null
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    list: "a list [a, b]",
}


def of_any_part(key: str) -> str:
    """The key that a part's key would be of data that are no part: data.parts.notes.root ->
    data.root.
    """
    return re.sub(r"^data\.parts\.[^.]+\.", "data.", key)


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean a, b?", or nothing where no known name is near."""
    near = difflib.get_close_matches(word, list(dict.fromkeys(known)), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""


def check_type(key: str, value: Any, default: Any) -> None:
    """Raise ValueError where a value is not of the default's kind; null,
    and whole numbers for numbers, are.
    """
    unknown = default is None and of_any_part(key) not in NULLABLE
    if value is None or unknown or isinstance(value, dict):
        return
    if of_any_part(key) == "data.patch" and isinstance(value, list) and value:  # by axis
        for one in value:
            check_type(key, one, 1)
        return
    kind = NULLABLE.get(of_any_part(key), type(default))
    if type(value) is not kind and not (kind is float and type(value) is int):
        alike = "" if default is None else f", as {default!r} is"
        raise ValueError(f"{key}={value} is not {_KINDS[kind]}{alike}")


def check_values(flat: Mapping[str, Any]) -> None:
    """Raise ValueError for the first value that no run could use; flat: {"a.b": value}."""
    for key, choices in _CHOICES.items():
        if flat[key] not in choices:
            near = nearest(str(flat[key]), choices)
            raise ValueError(f"{key}={flat[key]} is unknown{near} (choices: {', '.join(choices)})")
    for key, value in flat.items():
        if (of_all := of_any_part(key)) in _RANGES or type(value) is float:
            for one in value if isinstance(value, list) else (value,):  # a patch's size by axis
                check_range(key, one, _RANGES.get(of_all, "(-inf, inf)"))
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
    if flat["compute.graphs"] and not flat["compute.compile"]:
        raise ValueError(
            "compute.graphs=true replays what compute.compile=true compiles: say that too"
        )
    if flat["compute.graphs"] and flat["compute.shard"]:
        raise ValueError(
            "compute.graphs=true does not go with compute.shard=true: weights that come from "
            "other processes lie elsewhere in every step, and a graph reads them where they were"
        )
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
