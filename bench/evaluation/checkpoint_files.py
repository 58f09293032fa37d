"""Reading files of weights that others published: tensors alone,
nothing is unpickled that could run.

state, weights = read_weights(Path("SiT-XL-2-256.pt"))
"""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint and which weights they are:
    EMA before model before state_dict before bare.

    Nothing is unpickled but tensors, containers and the argparse.Namespace of SiT's and REPA's
    training checkpoints.
    """
    content = _read_file(Path(path))
    for key in ("ema", "model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content, weights = content[key], "model" if key == "state_dict" else key
            break
    else:
        weights = "as published"
    odd = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if odd or not content:
        raise ValueError(
            f"{path} holds no state dict (not tensors: {', '.join(odd) or 'nothing at all'}): "
            "give a model's checkpoint"
        )
    return {str(key).removeprefix("module."): value for key, value in content.items()}, weights


def _read_file(path: Path) -> Mapping[str, Any]:
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
    with torch.serialization.safe_globals([argparse.Namespace]):
        # a training checkpoint holds four copies of the weights: mapped, only the one that is used
        # is read
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
