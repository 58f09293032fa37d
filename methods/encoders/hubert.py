"""HuBERT (arXiv 2106.07447) and MERT (arXiv 2306.00107): transformers over waves, through
transformers' HubertModel.

MERT-v1-95M is a HuBERT of music: its own class adds a constant-Q transform and scaled residuals,
and both are off in its configuration, so that the public class reads its weights without remote
code. A checkpoint that has one of them on is refused. A sound is resampled to the model's rate and,
where the model's processor does so, standardised; frames are those after `layer` blocks, 320
samples apart, of 400 samples each.

    python -m bench.prepare encoder=mert_95m
    python -m bench.run data=sounds data.root=DIR method=repa encoder=mert_95m
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.core.compat import import_vision, need_transformers
from bench.core.data.base import DataSet
from bench.core.model.encoder import EncoderCard, EncoderFeatures
from bench.core.model.tokens import TokenGrid
from bench.core.store.files import Json, parse_json
from bench.core.store.staging import Resource, require, torch_hub
from methods.encoders.sounds import SoundEncoder

_FILES = ("config.json", "preprocessor_config.json", "pytorch_model.bin")
_OTHER_NETWORKS = ("feature_extractor_cqt", "deepnorm")  # of MERT's own class, where they are true
_NEVER_READ = "masked_spec_embed"  # of pre-training
_QUIET = 1e-7  # variance that counts as none, as the processor has it


def resources(node: Mapping[str, object], cache: Path | None = None) -> list[Resource]:
    """Configuration, processor and weights of `repository`, in torch.hub's folder."""
    repository, name = str(node["repository"]), str(node["name"])
    base = f"https://huggingface.co/{repository}/resolve/main"
    return [
        Resource(f"{name}'s {file}", torch_hub() / name / file, f"{base}/{file}") for file in _FILES
    ]


class Hubert(SoundEncoder):
    """repository: at Hugging Face; layer: blocks whose output is read, None for all.

    Raises ValueError where files or transformers are missing, and as `SoundEncoder` does.
    """

    not_counted = "the encoder's own pre-training"

    def __init__(
        self,
        card: EncoderCard,
        repository: str,
        layer: int | None,
        *,
        token_grid: TokenGrid,
        dataset: DataSet | None,
    ):
        files = resources({"repository": repository, "name": card.name})
        require(files, f"encoder {card.name}", f"encoder={card.name}")
        need_transformers(f"encoder {card.name} is transformers'")
        folder = files[0].path.parent
        try:
            processor = _json(folder / _FILES[1])
            rate, self.standardises = int(processor["sampling_rate"]), processor["do_normalize"]
            network = _hubert(folder)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{folder} is no HuBERT that can be read ({str(error).splitlines()[0]}): fetch it "
                f"again, python -m bench.prepare encoder={card.name}"
            ) from error
        config = network.config
        super().__init__(card, rate, token_grid, dataset)
        self.layer = config.num_hidden_layers if layer is None else layer
        if not 1 <= self.layer <= config.num_hidden_layers:
            raise ValueError(
                f"encoder.layer={layer}: {card.name} has {config.num_hidden_layers} blocks"
            )
        self.network, self.width = network, config.hidden_size
        steps = [math.prod(config.conv_stride[:i]) for i in range(len(config.conv_stride) + 1)]
        self.hop = steps.pop()
        reach = sum((size - 1) * step for size, step in zip(config.conv_kernel, steps, strict=True))
        self.first = reach / 2  # samples before the middle of the first frame
        self.reading = f"block {self.layer} of frames of {reach + 1} samples at {rate} Hz"
        self.freeze()

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderFeatures:
        """Waves, float [B, samples]."""
        waves = self.at_own_rate(images)
        if self.standardises:
            variance, mean = torch.var_mean(waves, dim=1, correction=0, keepdim=True)
            waves = (waves - mean) / (variance + _QUIET).sqrt()
        found = self.network(waves, output_hidden_states=True).hidden_states[self.layer]
        at = torch.arange(found.shape[1], dtype=torch.float64) * self.hop + self.first
        return self.on_tokens(found.float(), at / self.rate)


def _hubert(folder: Path) -> Any:
    """The network with all its weights. Raises ValueError and others for what is none."""
    transformers = import_vision("transformers")
    said = _json(folder / _FILES[0])
    if on := [key for key in _OTHER_NETWORKS if said.get(key)]:
        raise ValueError(f"{', '.join(on)} of its configuration is not what HuBERT has")
    config = transformers.HubertConfig.from_dict(said | {"model_type": "hubert"})
    network, found = transformers.HubertModel.from_pretrained(
        folder, config=config, local_files_only=True, output_loading_info=True
    )
    if lacks := sorted(set(found["missing_keys"]) - {_NEVER_READ}):
        raise ValueError(f"its weights lack {lacks[0]} and {len(lacks) - 1} more")
    return network


def _json(file: Path) -> Json:
    content = parse_json(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} is no object")
    return content
