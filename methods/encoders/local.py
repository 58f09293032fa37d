"""local_s/m/l: small encoders that the harness trains itself, without labels, in seconds.

They need nothing from outside and make a ladder. A convolutional network with the token grid as its
output is trained on the training split to tell pictures, sounds or videos apart: two views
(shifted, with noise and a block blanked out) of one must find each other among the batch's
(SimCLR's NT-Xent, arXiv 2002.05709). Of a sound it is a network along time, to which the bands are
channels, of a video one over rows, columns and time. Seeded, cached, and stored with its held-out
probe accuracy, its interval, and the raw pixels' beside it.

    python -m bench.run method=repa encoder=local_m
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
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

from bench.core.data.base import DataSet, shown
from bench.core.data.translate import translated
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.model.tokens import TokenGrid
from bench.core.numbers import wilson
from bench.core.store.cache import cached_folder
from bench.core.store.waiting import counted

_VERSION = 2
_SEED = 7041
_LARGEST_SIDE = 64


class LocalEncoder(Encoder):
    """Convolutions at full size, at half of it of videos, a patch embedding to the token grid,
    and a mixing convolution there.
    """

    heldout_probe: Mapping[str, Any]  # accuracy, its interval, and the raw pixels'

    def __init__(
        self,
        card: EncoderCard,
        width: int,
        layers: int,
        channels: int,
        grid: tuple[int, ...],
        patch: tuple[int, ...],
    ):
        super().__init__(card)
        self.width, self.grid, self.patch = width, grid, patch
        hidden = max(8, width // 2)
        convolve: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(grid) - 1]
        # of a video at full size it would cost more than the rest and the backbone
        stride = tuple(2 if len(grid) == 3 and cells % 2 == 0 else 1 for cells in patch)
        body: list[nn.Module] = [
            convolve(channels, hidden, 3, padding=1, stride=stride),
            nn.GroupNorm(4, hidden),
            nn.GELU(),
        ]
        left = tuple(cells // step for cells, step in zip(patch, stride, strict=True))
        body += [convolve(hidden, width, left, stride=left), nn.GroupNorm(4, width), nn.GELU()]
        for _ in range(layers - 2):
            body += [convolve(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.GELU()]
        self.body = nn.Sequential(*body, convolve(width, width, 1))

    def maps(self, x: Tensor) -> Tensor:
        """Float data [B, channels, *axes] in -1..1 -> [B, width, *grid]."""
        return self.body(x)

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        maps = self.maps(self.prepare(images)).flatten(2)
        return EncoderFeatures(maps.transpose(1, 2), maps.mean(dim=2), self.grid)

    def prepare(self, images: Tensor) -> Tensor:
        """uint8 -> float32 in -1..1, at patch x grid cells (antialiased bilinear where the size
        differs); an encoder of pictures reads a sound as its spectrogram is drawn.
        """
        x = (images if images.ndim == len(self.grid) + 2 else shown(images)).float() / 127.5 - 1
        size = [g * p for g, p in zip(self.grid, self.patch, strict=True)]
        if list(x.shape[2:]) == size:
            return x
        return scaled(x, size)


def scaled(x: Tensor, size: Sequence[int]) -> Tensor:
    """x [B, c, *axes] at another size of its 1 to 3 axes, bilinear with antialias; the frames of a
    video after rows and columns.
    """
    rows, columns = size[-2] if len(size) > 1 else 1, size[-1]
    flat = x.flatten(1, -3) if x.ndim > 3 else x[:, :, None]  # a sound: a picture of one row
    flat = F.interpolate(flat, size=[rows, columns], mode="bilinear", antialias=True)
    if len(size) == 3:  # frames as rows
        flat = flat.reshape(*x.shape[:3], rows * columns)
        to = [size[0], rows * columns]
        flat = F.interpolate(flat, size=to, mode="bilinear", antialias=True)
    return flat.reshape(*x.shape[:2], *size)


def view(x: Tensor, draw: torch.Generator) -> Tensor:
    """A random view of x [B, c, *axes]: shifted by up to an eighth of the first axis along each, a
    block of a third of it blanked out, contrast changed, noise added.
    """
    n, _, *sizes = x.shape
    x = translated(x, max(1, sizes[0] // 8), draw)
    hole = torch.ones(n, *(1,) * (1 + len(sizes)), dtype=torch.bool)
    side = max(1, sizes[0] // 3)
    for axis, size in enumerate(sizes, start=2):
        corner = torch.randint(0, max(1, size - side + 1), (n, 1), generator=draw)
        inside = (torch.arange(size) >= corner) & (torch.arange(size) < corner + side)
        hole = hole & inside.reshape(n, *(1,) * (axis - 1), size, *(1,) * (x.ndim - axis - 1))
    contrast = 0.7 + 0.6 * torch.rand(n, *(1,) * (x.ndim - 1), generator=draw)
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
    what = f"training encoder {encoder.name} on {dataset.name}, once"
    for step in counted(what, range(steps), steps):
        index = torch.randint(0, dataset.n_train, (batch,), generator=draw)
        x = encoder.prepare(torch.as_tensor(dataset.images("train", index)))
        counter = FlopCounterMode(display=False) if step == 0 else None
        if counter:
            counter.__enter__()
        views = [head(encoder.maps(view(x, draw)).flatten(2).mean(dim=2)) for _ in range(2)]
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
    pixels = {s: _few_pixels(x).flatten(1).numpy() for s, x in pictures.items()}
    value, n = accuracy(read), len(labels["heldout"])
    return {
        "accuracy": value,
        "interval_95": list(wilson(round(value * n), n)),
        "n": n,
        "raw_pixels": accuracy(pixels),
    }


def _few_pixels(x: Tensor) -> Tensor:
    """Data uint8 as so many numbers that a probe of them takes seconds: pictures of 16 x 16, four
    frames of 8 x 8 of a video.
    """
    if x.ndim == 5:
        return F.adaptive_avg_pool3d(x.float(), (min(4, x.shape[2]), 8, 8))
    return F.adaptive_avg_pool2d(x.float(), 16) if x.shape[-1] > 16 else x.float()


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
    channels, *sides = dataset.images("train", slice(0, 1)).shape[1:]
    grid = _grid_over(len(sides), token_grid.grid, card.name)
    # at most 64 cells of an axis are read, as whole patches of the token grid
    patch = tuple(
        max(1, min(side, _LARGEST_SIDE) // n) for side, n in zip(sides, grid, strict=True)
    )
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
            return LocalEncoder(card, width, layers, channels, grid, patch)

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


def _grid_over(axes: int, tokens: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The token grid over data of so many axes: of pictures and tokens of a sound, its frames are
    the columns. Raises ValueError where one cannot lie over the other.
    """
    grid = (1, *tokens) if (len(tokens), axes) == (1, 2) else tokens
    if len(grid) != axes:
        frames = f"encoder=frames encoder.of={name} reads the frames of videos, or "
        raise ValueError(
            f"encoder {name} is trained on data of {axes} axes, and the tokens form a "
            f"{len(tokens)}-dimensional grid: {frames if len(tokens) > axes else ''}choose another "
            "encoder"
        )
    return grid


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
