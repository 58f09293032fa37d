"""The local extractor: a small network trained with labels on the training split.

It stands where Inception was not made for the data.

Its 64 features give `fd_local` (never called FID) with precision and recall; its reading of a
sample against the class that was asked for gives `label_agreement`. It is trained once for a data
set, with a fixed seed, and kept in a cache with its held-out accuracy; the hash of its weights is
part of every protocol that uses it.

    extractor = local_extractor(dataset, Path("cache"))
    extractor.accuracy          # about 0.98 on digits
    features, logits = extractor(dataset.images("heldout", range(600)))
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.data.base import DataSet
from bench.core.data.translate import translated
from bench.core.numbers import wilson
from bench.core.store.cache import cached_folder
from bench.core.store.waiting import counted, foreseen

FAMILY = "convnet"
LARGEST_SIDE = 64


@dataclass(frozen=True)
class Recipe:
    """How the extractor is trained; part of its cache key,
    so a changed recipe is another extractor.
    """

    version: int = 1
    widths: tuple[int, ...] = (32, 64, 64)
    steps: int = 600  # at least; more where `epochs` of the training split are longer
    epochs: int = 10
    batch: int = 128  # or all training data, where they are fewer
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    shift: int = 1  # pixels of random translation for every 8 pixels of side
    seed: int = 20260

    def steps_on(self, dataset: DataSet) -> int:
        """As many as a data set takes."""
        batch = min(self.batch, dataset.n_train)
        return max(self.steps, self.epochs * dataset.n_train // batch)


class LocalExtractor(nn.Module):
    """Three convolutions, the mean over places, one linear layer.

    channels, axes: of what it reads, 3 and 2 of a picture, 3 and 3 of a video; a sound's bands are
    its channels, and it has one axis, time. family, trained_on, labels: for
    `probes.metric.related`; accuracy: share of held-out images that are read right; fingerprint: 16
    hexadecimal digits of the weights' SHA-256.
    """

    name = "local"
    family = FAMILY

    def __init__(self, classes: int, recipe: Recipe, channels: int = 3, axes: int = 2):
        super().__init__()
        layers: list[nn.Module] = []
        previous, convolve = channels, (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        for i, width in enumerate(recipe.widths):
            # A first one at full size would be nine tenths of a video's cost.
            stride = 2 if i or axes == 3 else 1
            # Group norm: no running statistics, so training and use compute the same thing.
            convolution = convolve(previous, width, 3, stride=stride, padding=1)
            layers += [convolution, nn.GroupNorm(8, width), nn.ReLU()]
            previous = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(previous, classes)
        self.width = previous
        self.trained_on = self.labels = self.fingerprint = ""
        self.accuracy = float("nan")
        self.n_heldout = 0

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, 64] and logits [B, classes], float32, of uint8 images [B, channels, ...]."""
        return self.read(prepare(images))

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As forward, from prepared float images."""
        features = self.body(x).flatten(2).mean(dim=2)
        return features, self.head(features)


def untrained(dataset: DataSet, recipe: Recipe) -> LocalExtractor:
    """An untrained extractor with the recipe's seed;
    the caller's random streams are left as they were.
    """
    channels, *axes = dataset.images("train", torch.arange(1)).shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LocalExtractor(dataset.classes, recipe, channels, len(axes))


def prepare(images: Tensor) -> Tensor:
    """uint8 [B, channels, ...] -> float32 within -1..1,
    larger pictures, and frames, reduced to 64 pixels with antialiasing.
    """
    if images.dtype != torch.uint8:
        raise ValueError(
            f"the extractor reads uint8 images, not {images.dtype}; "
            "bench.core.data.base.pictures_of converts"
        )
    x = images.float() / 127.5 - 1
    if x.ndim == 3 or max(x.shape[-2:]) <= LARGEST_SIDE:
        return x
    frames = x.flatten(1, -3)  # a picture's channels, or those of all frames
    size = (LARGEST_SIDE, LARGEST_SIDE)
    small = F.interpolate(frames, size=size, mode="bilinear", antialias=True)
    return small.reshape(*x.shape[:-2], *size)


def train(dataset: DataSet, recipe: Recipe, most: int | None = None) -> LocalExtractor:
    """Train on the training split (CPU, own random streams); most: of the steps, to time them."""
    network = untrained(dataset, recipe)
    draw = torch.Generator().manual_seed(recipe.seed)
    groups = [
        {
            "params": [p for p in network.parameters() if p.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    batch = min(recipe.batch, dataset.n_train)
    steps = recipe.steps_on(dataset)
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=steps
    )
    order = torch.empty(0, dtype=torch.int64)
    for _ in counted(f"training an extractor on {dataset.name}, once", range(steps)[:most], steps):
        if len(order) < batch:
            order = torch.randperm(dataset.n_train, generator=draw)
        indices, order = order[:batch], order[batch:]
        x = prepare(torch.as_tensor(dataset.images("train", indices)))
        x = translated(x, recipe.shift * (min(x.shape[2:]) // 8), draw)
        labels = torch.as_tensor(dataset.labels("train", indices))
        loss = F.cross_entropy(network.read(x)[1], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def read_images(
    extractor: nn.Module, images: Tensor, batch: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, d] and logits [n, classes] (float32) of images, uint8 [n, channels, ...]."""
    parts = [
        extractor(torch.as_tensor(images[i : i + batch])) for i in range(0, len(images), batch)
    ]
    return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1] for p in parts]).numpy()


def heldout_accuracy(network: LocalExtractor, dataset: DataSet, batch: int = 512) -> float:
    """Share (0..1) of the held-out images that the network reads as their label."""
    right = 0
    for start in range(0, dataset.n_heldout, batch):
        indices = torch.arange(start, min(start + batch, dataset.n_heldout))
        _, logits = read_images(network, dataset.images("heldout", indices))
        right += int((logits.argmax(1) == np.asarray(dataset.labels("heldout", indices))).sum())
    return right / dataset.n_heldout


def local_extractor(dataset: DataSet, cache: Path, recipe: Recipe | None = None) -> LocalExtractor:
    """The extractor of a data set from the cache folder, trained first if it is not there."""
    recipe = recipe or Recipe()
    folder = _folder(dataset, cache, recipe)
    cached_folder(folder, lambda place: _make(place, dataset, recipe))
    return _load(folder, dataset, recipe)


def seconds_to_extractor(dataset: DataSet, cache: Path) -> float:
    """What training the extractor of a data set will take here, 0 where the cache has it."""
    recipe = Recipe()
    if _folder(dataset, cache, recipe).is_dir():
        return 0.0
    return foreseen(lambda most: train(dataset, recipe, most), recipe.steps_on(dataset))


def _folder(dataset: DataSet, cache: Path, recipe: Recipe) -> Path:
    said = f"{dataset.fingerprint}/{json.dumps(dataclasses.asdict(recipe))}"
    key = hashlib.sha256(said.encode()).hexdigest()[:12]
    return Path(cache) / "extractors" / f"{dataset.name}-{key}"


def _make(folder: Path, dataset: DataSet, recipe: Recipe) -> None:
    from safetensors.torch import save_file

    network = train(dataset, recipe)
    save_file(network.state_dict(), folder / "weights.safetensors")
    accuracy = heldout_accuracy(network, dataset)
    low, high = wilson(round(accuracy * dataset.n_heldout), dataset.n_heldout)
    card = {
        "trained_on": f"{dataset.name}-train",
        "labels": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        "heldout": {"accuracy": accuracy, "interval_95": [low, high], "n": dataset.n_heldout},
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")


def _load(folder: Path, dataset: DataSet, recipe: Recipe) -> LocalExtractor:
    from safetensors.torch import load

    try:
        weights = (folder / "weights.safetensors").read_bytes()
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        network = untrained(dataset, recipe)
        network.load_state_dict(load(weights))
    except Exception as error:
        raise ValueError(
            f"the cached extractor {folder} is damaged ({error}); delete that folder"
        ) from error
    network.trained_on, network.labels = card["trained_on"], card["labels"]
    network.fingerprint = hashlib.sha256(weights).hexdigest()[:16]
    network.accuracy, network.n_heldout = card["heldout"]["accuracy"], card["heldout"]["n"]
    return network.eval().requires_grad_(False)


def label_agreement(logits: np.ndarray, intended: Sequence[int] | np.ndarray) -> float:
    """Share (0..1) of samples that the extractor reads
    (logits [n, classes]) as the class asked for [n].
    """
    return float((logits.argmax(axis=1) == np.asarray(intended)).mean())
