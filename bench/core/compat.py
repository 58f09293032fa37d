"""What differs between installations and devices: float32 that is float32, numbers of threads,
and torchvision beside another torch.

    with full_float32():                                   # no TF32 inside
        features = network(pictures)
    use_threads(1)                                         # PyTorch, NumPy, SciPy and scikit-learn
    timm = import_vision("timm")

cuDNN rounds the inputs of float32 convolutions to TF32's ten bits unless told otherwise, and users
may have allowed it for matrix products; numbers that are set beside published ones are computed
without.

A CUDA build of torchvision beside a CPU build of torch fails at import with "operator
torchvision::nms does not exist". Declaring the two operators' signatures lets the import go
through; everything but `ops.nms` and `io.read_image` then works. On a healthy installation nothing
is touched.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 in convolutions and matrix products inside;
    what was allowed before is allowed again after.
    """
    kinds: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = False
        yield
    finally:
        for kind, allowed in zip(kinds, before, strict=True):
            kind.allow_tf32 = allowed


def use_threads(count: int) -> None:
    """Compute with so many CPU threads from now on: PyTorch, and the BLAS of NumPy, SciPy and
    scikit-learn, which PyTorch's own setting does not reach. Last digits depend on the number.
    """
    for name in ("numpy.linalg", "scipy.linalg"):  # only a library that is loaded can be told
        importlib.import_module(name)
    torch.set_num_threads(count)
    threadpool_limits(count, user_api="blas")


def buffers_stay() -> dict[str, Any]:
    """What tells DistributedDataParallel that buffers are the same on all processes already: a word
    of PyTorch 2.13, which warns of the earlier one.
    """
    words = inspect.signature(DistributedDataParallel).parameters
    known = "forward_sync_buffers" in words
    return {"forward_sync_buffers" if known else "broadcast_buffers": False}


_libraries: list[torch.library.Library] = []  # a Library's declarations live as long as it does


def import_vision(name: str) -> ModuleType:
    """The module `name` ("timm", "torch_fidelity.metrics", ...), which imports torchvision: that
    comes first, since libraries say of its failure what they like.

    Raises ImportError as an ordinary import does.
    """
    if "torchvision" not in sys.modules and importlib.util.find_spec("torchvision"):
        _import_torchvision()
    return importlib.import_module(name)


def need_transformers(who: str) -> None:
    """Raise ValueError where transformers is not installed; who: what is read through it."""
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(f"{who} (the optional extra text): pip install transformers")


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
        return
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[module]
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
    importlib.import_module("torchvision")
