"""Features of a snapshot over blocks x timesteps, computed in one pass and kept on disk.

Features are the mean over tokens of a block's output, of the EMA weights, with the null label, at a
stated noise level and with noise that is the same for every arm, snapshot and level. They are
written as they are computed into one memory-mapped float16 file a block, level and split, so that
50,000 images x 12 blocks x 5 levels pass through a few hundred megabytes; a store is found again by
the hash of its snapshot and of everything else that made it.

    grid = FeatureGrid(blocks=(2, 4), times=(0.1, 0.5))
    store = feature_store(net, dataset, grid, snapshot_hash, Path("cache"))
    store.features("heldout", block=4, t=0.5)      # [n, W], memory-mapped
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.core.data.base import DataSet, read_by_encoder
from bench.core.model.backbone import SiT
from bench.core.model.encoder import Encoder
from bench.core.model.flow import interpolate
from bench.core.model.streams import generator
from bench.core.store.cache import cached_folder
from bench.core.store.files import check_room, new_array
from probes.metric import STATED, Inputs, Told

SPLITS = ("train", "heldout")
PROBE_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
# for protocols
BLOCK_FEATURES = {
    "of": "EMA weights, mean over tokens of the block's output",
    "label": "null",
    "noise": "fixed, 64 images a generator, purpose 'probe <split>'",
    "stored": "float16",
}
PATCH_FEATURES = "mean over patch tokens, stored as float16"
PIXEL_FEATURES = "raw pixels, 2 x 2 averages until at most 1,024 numbers"
OF_FEATURES = {"data": STATED, "features": STATED, "n_train": STATED, "n_heldout": STATED}
NOISE_BLOCK = 64  # images that share a noise generator, whatever the batch
VERSION = 1
MOST_IMAGES = 50_000
_ENCODED = 64  # at once by an encoder


@dataclass(frozen=True)
class FeatureGrid:
    """Where features are read: 1-based blocks, noise levels in [0, 1],
    and at most so many images of a split.
    """

    blocks: tuple[int, ...]
    times: tuple[float, ...]
    most_images: int = MOST_IMAGES
    seed: int = 0


@dataclass(frozen=True)
class FeatureStore:
    """Features of one snapshot on disk."""

    folder: Path
    grid: FeatureGrid

    def features(self, split: str, block: int, t: float) -> np.ndarray:
        """float16 [n, W], memory-mapped."""
        return np.load(self.folder / _file(split, block, t), mmap_mode="r")

    def labels(self, split: str) -> np.ndarray:
        """int64 [n]."""
        return np.load(self.folder / f"{split}-labels.npy")


def _file(split: str, block: int, t: float) -> str:
    return f"{split}-block{block:03d}-t{t:.4f}.npy"


def probe_blocks(depth: int) -> tuple[int, ...]:
    """All blocks of a shallow backbone, every other one of a deep one (the last always)."""
    return tuple(range(1, depth + 1)) if depth <= 12 else tuple(range(2, depth + 1, 2))


def most_images(settings: Told) -> int:
    """At most so many pictures of a split are probed."""
    return int(settings.get("probe_images", MOST_IMAGES))


def store_of(inputs: Inputs) -> FeatureStore:
    """The features that every metric of features reads: `probe_blocks` at `PROBE_TIMES`."""
    backbone = inputs.backbone
    grid = FeatureGrid(probe_blocks(backbone.size.depth), PROBE_TIMES, most_images(inputs.settings))
    return feature_store(
        backbone, inputs.data_here, grid, inputs.sha256, inputs.cache, inputs.device,
        progress=inputs.progress,
    )  # fmt: skip


def feature_passes(n_train: int, n_heldout: int, settings: Told) -> int:
    """Pictures that go through a backbone for its features."""
    most = most_images(settings)
    return (min(n_train, most) + min(n_heldout, most)) * len(PROBE_TIMES)


def subset(n: int, most: int) -> Tensor:
    """Indices of all n images, or of `most` of them drawn once for all (int64, ascending)."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=generator(0, "probe subset", n))[:most].sort().values


def probe_noise(
    seed: int, split: str, first: int, count: int, token_shape: tuple[int, ...]
) -> Tensor:
    """Noise [count, N, C] of the split's images from `first` (a multiple of 64) on;
    the same for any batch size.
    """
    assert first % NOISE_BLOCK == 0
    blocks = range(first, first + count, NOISE_BLOCK)
    draws = [
        torch.randn(NOISE_BLOCK, *token_shape, generator=generator(seed, f"probe {split}", b))
        for b in blocks
    ]
    return torch.cat(draws)[:count]


def feature_store(
    net: SiT,
    dataset: DataSet,
    grid: FeatureGrid,
    snapshot_hash: str,
    cache: Path,
    device: torch.device | str = "cpu",
    batch: int = 256,
    progress: bool = False,
) -> FeatureStore:
    """The store of a snapshot, computed unless it is in the cache.

    net: an EMA backbone (`bench.core.model.backbone.SiT`); snapshot_hash: of its weights; batch: a
    multiple of 64. Raises ValueError for blocks or times that the backbone does not have.
    """
    depth = net.size.depth
    wrong = [block for block in grid.blocks if not 1 <= block <= depth]
    if wrong or not grid.blocks:
        raise ValueError(
            f"blocks {wrong or grid.blocks} cannot be probed; this backbone has blocks 1 to {depth}"
        )
    if not grid.times or not all(0 <= t <= 1 for t in grid.times):
        raise ValueError(f"times {grid.times} cannot be probed; noise levels lie within 0 and 1")
    assert batch % NOISE_BLOCK == 0
    description = {
        "snapshot": snapshot_hash,
        "data": dataset.fingerprint,
        "version": VERSION,
    } | asdict(grid)
    key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        (folder / "made_from.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
        net.to(device)
        for split in SPLITS:
            _fill(folder, split, net, dataset, grid, device, batch, progress)

    return FeatureStore(cached_folder(Path(cache) / "features" / f"snapshot-{key}", make), grid)


@torch.no_grad()
def _fill(
    folder: Path,
    split: str,
    net: SiT,
    dataset: DataSet,
    grid: FeatureGrid,
    device: torch.device | str,
    batch: int,
    progress: bool,
) -> None:
    indices = subset(dataset.n_train if split == "train" else dataset.n_heldout, grid.most_images)
    labels = np.asarray(dataset.labels(split, indices), dtype=np.int64)
    np.save(folder / f"{split}-labels.npy", labels)
    shape, places = (
        (len(indices), net.size.width),
        [(block, t) for block in grid.blocks for t in grid.times],
    )
    check_room(
        folder, 2 * shape[0] * shape[1] * len(places), f"the features of {dataset.name} {split}"
    )
    files = {
        (block, t): new_array(folder / _file(split, block, t), shape, np.float16)
        for block, t in places
    }
    starts = tqdm(
        range(0, len(indices), batch), desc=f"features {split}", disable=not progress, leave=False
    )
    for start in starts:
        x0 = torch.as_tensor(dataset.tokens(split, indices[start : start + batch]))
        noise = probe_noise(grid.seed, split, start, len(x0), tuple(x0.shape[1:])).to(device)
        x0 = x0.to(device)
        null = net.null.expand(len(x0), *net.null.shape)
        for t in grid.times:
            level = torch.full((len(x0),), t, device=device)
            x_t = interpolate(x0, noise, level)
            _, taps = net(x_t, level, null, taps=grid.blocks, stop_after=max(grid.blocks))
            for block in grid.blocks:
                files[block, t][start : start + len(x0)] = (
                    taps[block].float().mean(dim=1).cpu().numpy()
                )
    for file in files.values():
        file.flush()


def encoder_features(
    encoder: Encoder,
    dataset: DataSet,
    split: str,
    cache: Path,
    most_images: int = MOST_IMAGES,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Means over patches [n, width] (float16, memory-mapped) of a frozen encoder over a split,
    computed once under the hashes of its weights and the data.
    """
    indices = subset(dataset.n_train if split == "train" else dataset.n_heldout, most_images)
    of_data = f"{dataset.name}-{dataset.fingerprint[:16]}-{split}-{len(indices)}"
    key = f"{encoder.name}-{encoder.fingerprint}-{of_data}-v{VERSION}"

    @torch.no_grad()
    def make(folder: Path) -> None:
        of = f"the features of {dataset.name} {split} by {encoder.name}"
        shape = (len(indices), encoder.width)
        file, done = new_array(folder / "features.npy", shape, np.float16, of), 0
        for part in indices.split(_ENCODED):
            read = read_by_encoder(dataset, encoder.hears, split, part)
            values = encoder(read.to(device)).patches.float().mean(dim=1)
            file[done : done + len(part)] = values.cpu().numpy()
            done += len(part)
        file.flush()

    folder = cached_folder(Path(cache) / "features" / key, make)
    return np.load(folder / "features.npy", mmap_mode="r")
