"""What files of weights from elsewhere may hold beside tensors: settings and NumPy's numbers.

with torch.serialization.safe_globals(plain_types()):
    torch.load(path, weights_only=True)        # and nothing in the file is run
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np


def plain_types() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What a checkpoint may hold beside tensors and containers: settings (argparse.Namespace,
    paths), and NumPy's numbers and arrays. None of them runs anything when it is made.
    """
    # NumPy 2 moved its core, and a file has the names of the NumPy that wrote it
    core = importlib.import_module(
        "numpy._core.multiarray"
        if np.lib.NumpyVersion(np.__version__) >= "2.0.0"
        else "numpy.core.multiarray"
    )
    of_numpy = [
        (getattr(core, name), f"numpy.{place}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for place in ("core", "_core")
    ]
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"] if code != "O"}
    # a path of the other system cannot be made here, and what it says is the same
    paths = [
        (cls, f"{module}.{name}")
        for cls, names in (
            (pathlib.PurePosixPath, ("PosixPath", "PurePosixPath")),
            (pathlib.PureWindowsPath, ("WindowsPath", "PureWindowsPath")),
        )
        for name in names
        for module in ("pathlib", "pathlib._local")
    ]
    encode = (importlib.import_module("_codecs").encode, "_codecs.encode")
    return [
        *(argparse.Namespace, list, dict, set, int, float, np.ndarray, np.dtype, encode),
        (_as_dict, "collections.defaultdict"),
        *dtypes,
        *of_numpy,
        *paths,
    ]


def _as_dict(*_: object) -> dict[object, object]:
    """In a defaultdict's place, which torch makes and then does not fill."""
    return {}
