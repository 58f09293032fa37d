"""V-JEPA 2 (arXiv 2506.09985): a self-supervised encoder of videos, tubelets of two frames and
16 x 16 pixels, through transformers.

The clip is scaled (bilinear, antialias, ImageNet's mean and deviation, as its processor has it) to
16 x grid pixels and to twice as many frames as the grid has: the nearest ones in time. Positions
are rotary and end where the grid does. Patch tokens are those after the last norm.

    python -m bench.prepare encoder=vjepa2_l
    python -m bench.run data=clips data.root=DIR method=repa encoder=vjepa2_l
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from bench.core.compat import import_vision, need_transformers
from bench.core.model.encoder import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    EncoderCard,
    EncoderFeatures,
)
from bench.core.model.tokens import TokenGrid
from bench.core.store.staging import Resource, require, torch_hub

HUB_FOLDER_FILES = ("config.json", "model.safetensors")


def resources(node: Mapping[str, object], cache: Path | None = None) -> list[Resource]:
    """Configuration and weights of a configuration's `repository`, in torch.hub's folder."""
    repository, name = str(node["repository"]), str(node["name"])
    base = f"https://huggingface.co/{repository}/resolve/main"
    return [
        Resource(f"{name}'s {file}", torch_hub() / name / file, f"{base}/{file}")
        for file in HUB_FOLDER_FILES
    ]


class VJepa2(Encoder):
    """repository: at Hugging Face. Raises ValueError where files or transformers are missing, and
    for tokens that are no square places over time.
    """

    not_counted = "the encoder's own pre-training"

    def __init__(self, card: EncoderCard, repository: str, *, token_grid: TokenGrid):
        super().__init__(card)
        files = resources({"repository": repository, "name": card.name})
        require(files, f"encoder {card.name}", f"encoder={card.name}")
        need_transformers(f"encoder {card.name} is transformers'")
        self.grid = token_grid.grid
        if len(self.grid) != 3 or self.grid[1] != self.grid[2]:
            raise ValueError(
                f"encoder {card.name} reads videos of square frames, and the tokens form a grid of "
                f"{' x '.join(map(str, self.grid))}: choose another encoder"
            )
        folder = files[0].path.parent
        transformers = import_vision("transformers")
        try:
            config = transformers.VJEPA2Config.from_pretrained(folder, local_files_only=True)
            config.crop_size = config.patch_size * self.grid[1]  # which its positions count by
            network = transformers.VJEPA2Model.from_pretrained(
                folder, config=config, local_files_only=True
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise ValueError(
                f"{folder} is no V-JEPA 2 that can be read ({str(error).splitlines()[0]}): fetch "
                f"it again, python -m bench.prepare encoder={card.name}"
            ) from error
        self.network = network.encoder  # the predictor is of pre-training alone
        self.width = config.hidden_size
        self.frames, self.pixels = config.tubelet_size * self.grid[0], config.crop_size
        self.reading = f"{self.frames} frames of {self.pixels}x{self.pixels} pixels"
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        """Clips, uint8 [B, 3, T, H, W]."""
        length = images.shape[2]
        which = torch.arange(self.frames, device=images.device) * length // self.frames
        frames = images[:, :, which].transpose(1, 2)  # [B, frames, 3, H, W]
        side = [self.pixels, self.pixels]
        x = frames.flatten(0, 1).float() / 255
        x = F.interpolate(x, size=side, mode="bilinear", antialias=True, align_corners=False)
        x = (x - x.new_tensor(IMAGENET_MEAN)[:, None, None]) / x.new_tensor(IMAGENET_STD)[
            :, None, None
        ]
        found = self.network(pixel_values_videos=x.unflatten(0, frames.shape[:2]))
        return EncoderFeatures(found.last_hidden_state.float(), None, self.grid)
