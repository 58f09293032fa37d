"""Import torchvision, timm or torch_fidelity, also where torchvision's operators do not fit the torch installed.

A CUDA build of torchvision beside a CPU build of torch fails at import with "operator torchvision::nms does not exist".
Declaring the two operators' signatures lets the import go through; everything but `ops.nms` and `io.read_image` then
works. On a healthy installation nothing is touched.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_libraries: list[torch.library.Library] = []  # a Library's declarations live as long as it does


def import_vision(name: str) -> ModuleType:
    """The module `name` ("timm", "torch_fidelity.metrics", ...). Raises ImportError as an ordinary import does."""
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for module in [m for m in sys.modules if m.split(".")[0] in ("torchvision", name.split(".")[0])]:
        del sys.modules[module]
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
    return importlib.import_module(name)
