"""float32 that is float32 on a GPU as well, where a definition says so.

    with full_float32():
        features = network(pictures)

cuDNN rounds the inputs of float32 convolutions to TF32's ten bits unless told otherwise, and users may have allowed it
for matrix products; numbers that are set beside published ones are computed without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_float32() -> Iterator[None]:
    """No TF32 in convolutions and matrix products inside; what was allowed before is allowed again after."""
    kinds: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kinds]
    try:
        for kind in kinds:
            kind.allow_tf32 = False
        yield
    finally:
        for kind, allowed in zip(kinds, before, strict=True):
            kind.allow_tf32 = allowed
