"""untrained and noise: another encoder without what it learned, to part its knowledge from its
form.

    untrained   the same network with random weights from a stated seed, each layer's own first
                ones; batch normalisation then takes its means and deviations from training
                pictures, since nothing else keeps a deep network's features apart
    noise       normal numbers from a hash of the picture's bytes: the same picture always has the
                same ones, no two pictures share anything. Each channel keeps the encoder's mean
                and deviation over training pictures, since a cosine sees them: what can be learned
                of it is what can be learned of the encoder's features without looking

An untrained network keeps the architecture's bias (nearby places see nearby pixels); noise keeps
nothing.

    python -m bench.run method=repa encoder=untrained encoder.of=efficientnet_lite0
    python -m bench.run method=repa encoder=noise encoder.of=dinov2_b encoder.seed=1
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from bench.core.data.base import DataSet, read_by_encoder
from bench.core.model.encoder import Encoder, EncoderCard, EncoderFeatures
from bench.core.store.cache import cached_folder
from methods.encoders.base import DerivedEncoder

_VERSION = 1
_PICTURES, _BATCH = 512, 32  # training pictures that statistics are taken from, evenly spaced
NOTHING = "nothing"  # what both were trained on
BatchNorm = nn.modules.batchnorm._BatchNorm  # timm's derive from it


class Untrained(DerivedEncoder):
    """The network of `of` with random weights; seed: they are drawn from."""

    def __init__(
        self,
        card: EncoderCard,
        of: Encoder,
        seed: int,
        *,
        dataset: DataSet | None,
        cache: Path,
    ):
        super().__init__(card, of, f"random weights, seed {seed}", trained_on=NOTHING)
        self.network = of
        of_weights = of.fingerprint
        draw_weights(of, seed)
        if norms := [module for module in of.modules() if isinstance(module, BatchNorm)]:

            def measured() -> dict[str, Tensor]:
                take_statistics(of, norms, pictures(self, dataset))
                return {key: value for key, value in of.state_dict().items() if "running_" in key}

            known = _kept(self, of_weights, seed, dataset, cache, measured)
            of.load_state_dict(known, strict=False)
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        return self.network(images)


class PictureNoise(DerivedEncoder):
    """Features [B, N, W] of `of`'s shape and scale from the pictures' bytes; seed: of the hash."""

    def __init__(
        self,
        card: EncoderCard,
        of: Encoder,
        seed: int,
        *,
        dataset: DataSet | None,
        cache: Path,
    ):
        super().__init__(card, of, f"from pictures' bytes, seed {seed}", trained_on=NOTHING)
        self.seed = seed

        def measured() -> dict[str, Tensor]:
            found = torch.cat([of(part).patches.flatten(0, 1) for part in pictures(self, dataset)])
            return {"mean": found.mean(dim=0), "std": found.std(dim=0)}

        known = _kept(self, of.fingerprint, seed, dataset, cache, measured)
        self.mean, self.std = nn.Parameter(known["mean"]), nn.Parameter(known["std"])
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        # drawn on the CPU, whose numbers are the same on every machine
        drawn = torch.stack([self._of_picture(picture) for picture in images.cpu()])
        return EncoderFeatures(self.mean + self.std * drawn.to(self.mean.device), None, self.grid)

    def _of_picture(self, picture: Tensor) -> Tensor:
        digest = hashlib.sha256(f"{self.seed} ".encode() + picture.numpy().tobytes()).digest()
        draw = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.randn(math.prod(self.grid), self.width, generator=draw)


def draw_weights(network: nn.Module, seed: int) -> None:
    """Every layer's own first weights (its `reset_parameters`), from a seed.

    Of parameters that no layer resets, matrices (positions, prefix tokens) become normal with
    deviation 0.02, as vision transformers begin, scales one and biases zero.
    """
    layers = [module for module in network.modules() if hasattr(module, "reset_parameters")]
    drawn = {id(parameter) for layer in layers for parameter in layer.parameters()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in layers:
            cast(Callable[[], None], layer.reset_parameters)()
        for name, parameter in network.named_parameters():
            if id(parameter) in drawn:
                continue
            if parameter.squeeze().ndim > 1:
                parameter.normal_(0, 0.02)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def take_statistics(
    network: Encoder, norms: Sequence[BatchNorm], batches: Iterator[Tensor]
) -> None:
    """Batch normalisation's means and variances from batches of pictures, plainly averaged."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = None  # PyTorch's word for the plain average
    for batch in batches:
        network(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.eval()
        norm.momentum = momentum


def pictures(encoder: Encoder, dataset: DataSet | None) -> Iterator[Tensor]:
    """Training pictures uint8 in batches, evenly spaced over the split. Raises ValueError where
    they are not here.
    """
    if dataset is None:
        raise ValueError(
            f"{encoder.name} takes statistics of the data's pictures, which are not here: "
            "choose another encoder"
        )
    n = min(_PICTURES, dataset.n_train)
    index = (torch.arange(n) * dataset.n_train) // n
    title = f"statistics of {encoder.name}"
    for part in tqdm(index.split(_BATCH), desc=title, disable=None, leave=False):
        yield read_by_encoder(dataset, encoder.hears, "train", part)


def _kept(
    encoder: Encoder,
    of_weights: str,
    seed: int,
    dataset: DataSet | None,
    cache: Path,
    measured: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Statistics of training pictures from the cache, measured first if they are not there: sums
    of floats depend on the machine, and the encoder of two starts of a run must not.
    """
    of_data = "" if dataset is None else dataset.fingerprint
    recipe = f"{_VERSION} {encoder.name} {of_weights} {seed} {of_data} {encoder.grid}"
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]

    def make(folder: Path) -> None:
        with torch.no_grad():
            save_file(measured(), folder / "statistics.safetensors")

    folder = cached_folder(Path(cache) / "encoders" / f"{encoder.name}-{key}", make)
    try:
        return load_file(folder / "statistics.safetensors")
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"the cached statistics {folder} are damaged ({error}): "
            "delete that folder, they are taken again"
        ) from error
