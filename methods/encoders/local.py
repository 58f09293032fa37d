"""local_s/m/l: small encoders that the harness trains itself, without labels, in seconds.

They need nothing from outside and make a ladder. A convolutional network with the token grid as its
output is trained on the training split to tell pictures apart: two views (shifted, with noise and a
square blanked out) of one picture must find each other among the batch's (SimCLR's NT-Xent, arXiv
2002.05709). Seeded, cached, and stored with its held-out probe accuracy, its interval, and the raw
pixels' beside it.

    python -m bench.run method=repa encoder=local_m
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.core.data.base import DataSet
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.tokens import TokenGrid
from bench.core.numbers import wilson
from bench.core.store.cache import cached_folder
from methods.encoders.base import fitting_grids

_VERSION = 2
_SEED = 7041
_LARGEST_SIDE = 64


class LocalEncoder(Encoder):
    """Convolutions at full size, a patch embedding to the token grid,
    and a mixing convolution there.
    """

    heldout_probe: Mapping[str, Any]  # accuracy, its interval, and the raw pixels'

    def __init__(
        self,
        card: EncoderCard,
        width: int,
        layers: int,
        grid: tuple[int, int],
        patch: tuple[int, int],
    ):
        super().__init__(card)
        self.width, self.grid, self.patch = width, grid, patch
        hidden = max(8, width // 2)
        body: list[nn.Module] = [
            nn.Conv2d(3, hidden, 3, padding=1),
            nn.GroupNorm(4, hidden),
            nn.GELU(),
        ]
        body += [nn.Conv2d(hidden, width, patch, stride=patch), nn.GroupNorm(4, width), nn.GELU()]
        for _ in range(layers - 2):
            body += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.GELU()]
        self.body = nn.Sequential(*body, nn.Conv2d(width, width, 1))

    def maps(self, x: Tensor) -> Tensor:
        """Float pictures [B, 3, H, W] in -1..1 -> [B, width, h, w]."""
        return self.body(x)

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        maps = self.maps(self.prepare(images))
        return EncoderFeatures(maps.flatten(2).transpose(1, 2), maps.mean(dim=(2, 3)), self.grid)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 -> float32 in -1..1, at patch x grid pixels (antialiased
        bilinear where the size differs).
        """
        x = images.float() / 127.5 - 1
        size = [g * p for g, p in zip(self.grid, self.patch, strict=True)]
        return (
            x
            if list(x.shape[2:]) == size
            else F.interpolate(x, size=size, mode="bilinear", antialias=True)
        )


def view(x: Tensor, draw: torch.Generator) -> Tensor:
    """A random view: shifted by up to an eighth of the side, a square blanked out,
    contrast changed, noise added.
    """
    n, _, height, width = x.shape
    most = max(1, height // 8)
    padded = F.pad(x, (most,) * 4, mode="replicate")
    top, left = torch.randint(0, 2 * most + 1, (2, n), generator=draw)
    picture = torch.arange(n)[:, None, None]
    rows, columns = top[:, None] + torch.arange(height), left[:, None] + torch.arange(width)
    x = padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )
    side = max(1, height // 3)
    inside = []
    for size in (height, width):
        corner = torch.randint(0, max(1, size - side + 1), (n, 1), generator=draw)
        inside.append((torch.arange(size) >= corner) & (torch.arange(size) < corner + side))
    hole = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    contrast = 0.7 + 0.6 * torch.rand(n, 1, 1, 1, generator=draw)
    noise = torch.randn(x.shape, generator=draw)
    return torch.where(hole, torch.zeros(()), x * contrast) + 0.1 * noise


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two views' projections [B, d]:
    each must find its partner among the other 2B - 1.
    """
    z = F.normalize(torch.cat([a, b]), dim=1)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    n = len(a)
    partner = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return F.cross_entropy(similarity, partner)


@contextmanager
def seeded() -> Iterator[None]:
    """Initial weights from the recipe's seed, whatever was drawn before;
    the caller's random state stays as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread: sums of floats depend on how many there are, and the encoder must not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pretrain(
    encoder: LocalEncoder, dataset: DataSet, steps: int, batch: int, learning_rate: float
) -> float:
    """Train in place (CPU, own random streams); returns the FLOPs spent."""
    draw = torch.Generator().manual_seed(_SEED)
    with seeded():
        head = nn.Sequential(
            nn.Linear(encoder.width, encoder.width), nn.GELU(), nn.Linear(encoder.width, 64)
        )
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    flops = 0.0
    for step in range(steps):
        index = torch.randint(0, dataset.n_train, (batch,), generator=draw)
        x = encoder.prepare(torch.as_tensor(dataset.images("train", index)))
        counter = FlopCounterMode(display=False) if step == 0 else None
        if counter:
            counter.__enter__()
        views = [head(encoder.maps(view(x, draw)).mean(dim=(2, 3))) for _ in range(2)]
        loss = nt_xent(*views, temperature=0.2)
        optimiser.zero_grad()
        loss.backward()
        if counter:
            counter.__exit__(None, None, None)
            flops = float(counter.get_total_flops()) * steps
        optimiser.step()
        schedule.step()
    return flops


def probe(encoder: LocalEncoder, dataset: DataSet) -> dict[str, Any]:
    """Held-out accuracy of logistic regression on mean patch features with its 95 % interval,
    and the raw pixels'; in double precision, as probes are fitted: one strength, one number.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pictures = {
        split: torch.as_tensor(dataset.images(split, slice(0, 10_000)))
        for split in ("train", "heldout")
    }
    labels = {split: np.asarray(dataset.labels(split, slice(0, 10_000))) for split in pictures}

    def accuracy(features: dict[str, np.ndarray]) -> float:
        features = {split: of_split.astype(np.float64) for split, of_split in features.items()}
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        return float(
            model.fit(features["train"], labels["train"]).score(
                features["heldout"], labels["heldout"]
            )
        )

    read = {
        s: torch.cat([encoder(part).patches.mean(dim=1) for part in x.split(256)]).numpy()
        for s, x in pictures.items()
    }
    pixels = {
        s: F.adaptive_avg_pool2d(x.float(), 16).flatten(1).numpy()
        if x.shape[-1] > 16
        else x.float().flatten(1).numpy()
        for s, x in pictures.items()
    }
    value, n = accuracy(read), len(labels["heldout"])
    return {
        "accuracy": value,
        "interval_95": list(wilson(round(value * n), n)),
        "n": n,
        "raw_pixels": accuracy(pixels),
    }


def local(
    card: EncoderCard,
    width: int,
    layers: int,
    steps: int,
    batch: int,
    learning_rate: float,
    *,
    token_grid: TokenGrid,
    dataset: DataSet | None,
    cache: Path,
) -> LocalEncoder:
    """The encoder of this data set from the cache, trained first if it is not there,
    once however many ask.
    """
    if dataset is None:
        raise ValueError(
            f"{card.name} is trained on the data's pictures, which are not here: "
            "choose another encoder"
        )
    _, grid = fitting_grids(card, token_grid.grid)
    # at most 64 pixels a side are read, as whole patches of the token grid
    sides = dataset.images("train", slice(0, 1)).shape[2:]
    height, across = (
        max(1, min(side, _LARGEST_SIDE) // n) for side, n in zip(sides, grid, strict=True)
    )
    patch = height, across
    card = replace(card, family="convnet", trained_on=f"{dataset.name}-train", labels="")
    recipe = {
        "version": _VERSION,
        "seed": _SEED,
        "name": card.name,
        "width": width,
        "layers": layers,
        "steps": steps,
        "batch": batch,
        "learning_rate": learning_rate,
        "grid": list(grid),
        "patch": list(patch),
        "data": dataset.fingerprint,
    }

    def build() -> LocalEncoder:
        with seeded():
            return LocalEncoder(card, width, layers, grid, patch)

    def make(folder: Path) -> None:
        with one_thread():
            encoder = build()
            flops = pretrain(encoder, dataset, steps, batch, learning_rate)
        encoder.freeze()
        save_file(encoder.state_dict(), folder / "weights.safetensors")
        known = {
            "recipe": recipe,
            "heldout_probe": probe(encoder, dataset),
            "training_flops": flops,
        }
        (folder / "card.json").write_text(json.dumps(known, indent=1), encoding="utf-8")

    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    folder = cached_folder(Path(cache) / "encoders" / f"{card.name}-{dataset.name}-{key}", make)
    return _load(folder, build())


def _load(folder: Path, encoder: LocalEncoder) -> LocalEncoder:
    try:
        encoder.load_state_dict(load_file(folder / "weights.safetensors"))
        known = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        encoder.training_flops = known["training_flops"]
        encoder.heldout_probe = known["heldout_probe"]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"the cached encoder {folder} is damaged ({error}): "
            "delete that folder, it is trained again"
        ) from error
    encoder.freeze()
    return encoder
