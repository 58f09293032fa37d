"""An encoder's patch tokens over a whole split, computed once.

Pictures without augmentation need no second look. Memory-mapped float32 [n, N, width] under the
fingerprints of encoder and data set; memory holds one batch at a time.

    python -m bench.run method=repa encoder=local_m compute.cache_features=true
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bench.core.data.base import DataSet, read_by_encoder
from bench.core.model.encoder import Encoder
from bench.core.store.cache import cached_folder
from bench.core.store.files import new_array

_VERSION = 2


def patch_tokens(
    encoder: Encoder,
    dataset: DataSet,
    split: str,
    cache: Path,
    batch: int = 64,
    progress: bool = False,
) -> np.ndarray:
    """float32 [n, N, width] of all pictures of a split in their order, memory-mapped.

    Computed on the encoder's device, once however many processes ask, from those of its `source`
    where it has one. Raises OSError when the disk has no room.
    """
    n, tokens = dataset.size(split), math.prod(encoder.grid)
    of_encoder = f"{encoder.name}-{encoder.fingerprint}-{tokens}"
    of_data = f"{dataset.name}-{dataset.fingerprint}-{split}"
    device = next(encoder.parameters()).device
    source = encoder.source
    given = np.empty(0)
    if source is not None:
        given = patch_tokens(source.encoder, dataset, split, cache, batch, progress)

    def make(folder: Path) -> None:
        what = f"compute.cache_features=true of {encoder.name} over {dataset.name} {split}"
        file = new_array(folder / "tokens.npy", (n, tokens, encoder.width), np.float32, what)
        title = f"{encoder.name} {split}"
        for start in tqdm(range(0, n, batch), desc=title, disable=not progress, leave=False):
            rows = slice(start, min(n, start + batch))
            if source is None:
                read = read_by_encoder(dataset, encoder.hears, split, rows)
                found = encoder(read.to(device)).patches
            else:
                found = source.changed(torch.from_numpy(given[rows].copy()).to(device))
            file[rows] = found.cpu().numpy()
        file.flush()

    key = f"{of_encoder}-{of_data}-tokens-v{_VERSION}"
    folder = cached_folder(Path(cache) / "features" / key, make)
    return np.load(folder / "tokens.npy", mmap_mode="r")
