"""An encoder's patch tokens over a whole split, computed once:
pictures without augmentation need no second look.

Memory-mapped float32 [n, N, width] under the fingerprints of encoder and data set; memory holds one
batch at a time.

    python -m bench.run method=repa encoder=local_m compute.cache_features=true
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bench.core.data.base import DataSet
from bench.core.model.encoder import Encoder
from bench.core.store.cache import cached_folder
from bench.core.store.files import new_array

VERSION = 2


def patch_tokens(
    encoder: Encoder,
    dataset: DataSet,
    split: str,
    cache: Path,
    batch: int = 64,
    progress: bool = False,
) -> np.ndarray:
    """float32 [n, N, width] of all pictures of a split in their order, memory-mapped.

    Computed on the encoder's device, once however many processes ask. Raises OSError when the disk
    has no room.
    """
    n, tokens = dataset.size(split), encoder.grid[0] * encoder.grid[1]
    key = f"{encoder.name}-{encoder.fingerprint}-{tokens}-{dataset.name}-{dataset.fingerprint}-{split}-tokens-v{VERSION}"
    device = next(encoder.parameters()).device

    def make(folder: Path) -> None:
        what = f"compute.cache_features=true of {encoder.name} over {dataset.name} {split}"
        file = new_array(folder / "tokens.npy", (n, tokens, encoder.width), np.float32, what)
        starts = tqdm(
            range(0, n, batch), desc=f"{encoder.name} {split}", disable=not progress, leave=False
        )
        for start in starts:
            images = torch.as_tensor(dataset.images(split, slice(start, start + batch)))
            file[start : start + len(images)] = encoder(images.to(device)).patches.cpu().numpy()
        file.flush()

    return np.load(
        cached_folder(Path(cache) / "features" / key, make) / "tokens.npy", mmap_mode="r"
    )
