"""Files of published networks: read without running what is in them, their tensors under the names
that transformers has.

    (file,) = published_files(metric, clap_files(metric), "CLAP")    # or what fetches them
    with holding(file.path, "CLAP", metric):
        state = transformers_names(published_tensors(file.path), {".norm1.": ".before."})
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bench.core.compat import need_transformers
from bench.core.store.plain_types import plain_types
from bench.core.store.staging import Resource, require

# What PyTorch and a network that is given other tensors say of a file that is something else.
_UNREADABLE = (OSError, RuntimeError, KeyError, TypeError, AttributeError, EOFError)


def published_files(metric: str, files: Sequence[Resource], network: str) -> Sequence[Resource]:
    """The files of a metric's network. Raises ValueError where they or transformers are not here,
    with what brings them.
    """
    need_transformers(f"metrics={metric} reads {network} through transformers")
    require(files, f"metrics={metric}", f"metrics={metric}")
    return files


@contextlib.contextmanager
def holding(file: Path, network: str, metric: str) -> Iterator[None]:
    """What is done with a file that holds a network's weights. Raises ValueError where it holds
    something else.
    """
    try:
        yield
    except (*_UNREADABLE, pickle.UnpicklingError) as error:
        raise ValueError(
            f"{file} does not hold {network}'s weights ({str(error).splitlines()[0]}): remove it "
            f"and fetch it again, python -m bench.prepare metrics={metric}"
        ) from error


def published_tensors(file: Path, *inside: str) -> dict[str, Tensor]:
    """The tensors of a file, which lie in the first of `inside` that it has, beside numbers of its
    training, NumPy's among them; or in the file itself.
    """
    with torch.serialization.safe_globals(plain_types()):
        content = torch.load(file, map_location="cpu", weights_only=True)
    return next((content[key] for key in inside if key in content), content)


def transformers_names(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors whose names have `names` replaced in turn; query, key and value apart."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for old, new in names.items():
            name = name.replace(old, new)
        if ".qkv." in name:
            for part, of_part in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[name.replace("qkv", part)] = of_part
        else:
            found[name] = tensor
    return found
