"""Reading files of weights that others published: nothing is unpickled that could run.

A training checkpoint holds several sets of weights under names of its own, wrapped by what trained
them. `read_weights` takes the EMA where there is one, and says which of them it took.

    found = read_weights(Path("SiT-XL-2-256.pt"))
    found.state, found.weights, found.said       # {name: tensor}, "ema", "taken is 'ema'; ..."
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from bench.core.store.plain_types import plain_types

Content: TypeAlias = Mapping[str, Any]  # of a file: tensors, and whatever lies beside them
EMA, MODEL = "ema", "model"
# Names of the model itself in training checkpoints and wrappers, in order of preference: of
# DistributedDataParallel, of Lightning and its relatives, of latent-diffusion.
MODELS = (
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "net",
    "network",
    "params",
    "weights",
    "diffusion_model",
)
# Inside an EMA's own object: where its copy of the weights is.
WITHIN_EMA = ("state_dict", "shadow", "module", "model", "params", "ema_model", "ema")
# What torch.compile, FSDP and activation checkpoints put into names, at any level.
INSERTED = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.?")
# Of latent-diffusion's LitEma: its settings, and its own name in one word with an average's.
LIT_EMA = ("decay", "num_updates")
IN_ONE_WORD = re.compile(r"((?:[a-z]+_)?ema)_?(\w+)", re.IGNORECASE)


class Weights(NamedTuple):
    """A set of weights. weights: "ema", "model" or "as published"; said: which of several was
    taken, "" where there was no choice.
    """

    state: dict[str, Tensor]
    weights: str
    said: str


def read_weights(path: Path) -> Weights:
    """The tensors of a checkpoint: an EMA before the model before a bare state dict, without the
    names of wrappers.

    Nothing is unpickled but tensors, containers and `plain_types`. Raises ValueError for a file
    without weights, with an EMA in a form that is not known, or with weights that are not finite.
    """
    path = Path(path)
    content, weights, said = _read_file(path), "as published", list[str]()
    while sets := _sets(content):
        taken = min(sets, key=lambda name: _rank(name, len(sets[name])))
        if _kind(taken) == EMA or weights == "as published":
            # a prefix of a bare state dict's names says nothing of which weights they are
            weights = EMA if _kind(taken) == EMA else MODEL if _is_nested(content) else weights
        others = [name for name in sets if name != taken]
        if not _is_nested(content):  # such as a loss's own weights
            heads = {_head(key) for key in content}
            others += [one for one in heads if not (_kind(one) or IN_ONE_WORD.fullmatch(one))]
        if others:
            said.append(f"taken is {taken!r} and not {', '.join(map(repr, others))}")
        content = sets[taken]
        if _kind(taken) == EMA:
            models = [of_model for name, of_model in sets.items() if _kind(name) == MODEL]
            content, own = _with_dots(_copy(content), models)
            if own:
                what = f"{len(own)} tensor(s) without an average, {own[0]} first"
                said.append(f"{what}, are the model's")
    odd = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if odd or not content:
        raise ValueError(
            f"{path} holds no state dict (not tensors: {', '.join(odd) or 'nothing at all'}): "
            "give a model's checkpoint"
        )
    state = {INSERTED.sub("", str(key)): value for key, value in content.items()}
    check_finite(state, path)
    return Weights(state, weights, "; ".join(said))


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise ValueError naming the weights that are not numbers: what they would make is not
    finite either, after hours.
    """
    odd = {
        key: int((~torch.isfinite(value)).sum())
        for key, value in state.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    }
    if odd:
        first = next(iter(odd))
        raise ValueError(
            f"{path} has {sum(odd.values())} weight(s) that are not finite, in {len(odd)} of "
            f"{len(state)} tensors ({first} first): its training had diverged, give an earlier one"
        )


# Sets of weights --------------------------------------------------------------------------------


def _kind(name: str) -> str:
    """Whether a key names an EMA, the model itself, or something else ("")."""
    if "ema" in re.split(r"[^a-z]+", name.lower()):
        return EMA
    return MODEL if name.lower() in MODELS else ""


def _rank(name: str, size: int) -> tuple[bool, int, int]:
    """An EMA first, of several the largest; then models in the order of their names."""
    if _kind(name) == EMA:
        return False, 0, -size
    return True, MODELS.index(name.lower()), 0


def _sets(content: Content) -> dict[str, Content]:
    """Sets of weights in a mapping, by name: mappings under such a name, or tensors whose names
    begin with one ("model.blocks.0..."). {} where it is a state dict itself.
    """
    if _is_nested(content):
        return {
            str(key): value
            for key, value in content.items()
            if isinstance(value, Mapping) and _kind(str(key)) and _holds_tensors(value)
        }
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        name, rest = _head(key), INSERTED.sub("", str(key)).partition(".")[2]
        if rest and _kind(name):
            found.setdefault(name, {})[rest] = value
    flat = {name for of_model in found.values() for name in _without_dots(of_model)}
    for key, value in content.items():
        one = IN_ONE_WORD.fullmatch(INSERTED.sub("", str(key)))
        if one and one[2] in flat:
            found.setdefault(one[1], {})[one[2]] = value
    return dict(found)


def _is_nested(content: Content) -> bool:
    """Whether it is a training checkpoint, and not a state dict."""
    return not all(isinstance(value, Tensor) for value in content.values())


def _head(key: object) -> str:
    return INSERTED.sub("", str(key)).partition(".")[0]


def _holds_tensors(value: object) -> bool:
    """Whether there are weights anywhere in it, and not settings alone."""
    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_tensors, value))
    return isinstance(value, Tensor)


def _copy(average: Content) -> Content:
    """The weights of an EMA that was saved with its settings: {"shadow": {...}, "decay": ...}."""
    if not _is_nested(average):
        return average
    return next(
        (average[name] for name in WITHIN_EMA if isinstance(average.get(name), Mapping)), average
    )


def _with_dots(average: Content, models: Sequence[Content]) -> tuple[Content, list[str]]:
    """The average of latent-diffusion's LitEma under the model's own names, whose dots it leaves
    out ("blocks0attnqkvweight"), and the names of what is not trained and so has no average:
    that is the model's. Any other average as it is.
    """
    averages = {
        INSERTED.sub("", str(key)): value for key, value in average.items() if key not in LIT_EMA
    }
    for outer in models:
        model = outer
        while model:
            names = _without_dots(model)
            if averages.keys() <= names.keys() and averages.keys() - {*names.values()}:
                dotted = {names[key]: value for key, value in averages.items()}
                return {**model, **dotted}, [str(key) for key in model if key not in dotted]
            inner = [one for name, one in _sets(model).items() if _kind(name) == MODEL]
            model = inner[0] if inner else {}
    return average, []


def _without_dots(model: Content) -> dict[str, str]:
    return {INSERTED.sub("", str(key)).replace(".", ""): str(key) for key in model}


# Files ------------------------------------------------------------------------------------------


def _read_file(path: Path) -> Content:
    if not path.is_file():
        raise ValueError(
            f"there is no checkpoint {path}: "
            "see docs/released_checkpoints.md for where to fetch one"
        )
    if path.suffix != ".safetensors" and not _is_torch_file(
        path
    ):  # a web page in the file's place, for one
        raise ValueError(
            f"{path} is no checkpoint of torch, neither an archive nor a pickle: fetch it again"
        )
    try:
        content = _tensors(path)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({name[1]})" if name else ""
        raise ValueError(
            f"{path} holds pickled code{what} and was not loaded: only files of weights are read"
        ) from error
    except (
        Exception
    ) as error:  # each kind of damage has an exception of its own in torch and safetensors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({reason}): fetch it again"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__} and no state dict: give a model's checkpoint"
        )
    return content


def _is_torch_file(path: Path) -> bool:
    """Whether it is an archive, as torch.save writes, or the bare pickle that it wrote before."""
    with open(path, "rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == pickle.PROTO


def _tensors(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    with torch.serialization.safe_globals(plain_types()):
        # a training checkpoint holds four copies of the weights: mapped, only the one that is used
        # is read
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
