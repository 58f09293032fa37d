"""VideoMAE v2's features of videos (arXiv 2303.16727), as content-debiased FVD reads them (arXiv
2404.12391): ViT-g, pre-trained on several sets of videos and then trained with Something-Something
v2's labels.

Of a clip 16 frames, / 255, bilinear to 224 x 224 without antialiasing, and neither mean nor
deviation taken off; features are the mean over tokens behind the last block, normalised
(`fc_norm`), 1,408 numbers. A clip of 16 frames is read as it is; of others the 16 that are nearest
to evenly spaced times. The network is transformers' VideoMAEModel, and the names of the published
file are changed.

    python -m bench.prepare metrics=fvd_videomae
    network = load_videomae("fvd_videomae")
    network.features(clips)                  # uint8 [n, 3, T, H, W] -> float32 [n, 1408]
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.core.compat import full_float32, import_vision
from bench.core.model.encoder import weights_fingerprint
from bench.core.store.staging import Resource, torch_hub
from probes.extractors.published import (
    holding,
    published_files,
    published_tensors,
    transformers_names,
)

_FILE = "vit_g_hybrid_pt_1200e_ssv2_ft.pth"
_URL = f"https://huggingface.co/OpenGVLab/InternVideoMAE_models/resolve/main/mae-g/{_FILE}"
_FRAMES, _SIDE = 16, 224
_SIZE = {
    "hidden_size": 1408,
    "num_hidden_layers": 40,
    "num_attention_heads": 16,
    "intermediate_size": 6144,
    "patch_size": 14,
    "image_size": _SIDE,
}
_AT_ONCE = 2  # clips: 2,048 tokens each
_RENAMED = {
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "blocks.": "encoder.layer.",
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".attn.q_bias": ".attention.attention.query.bias",
    ".attn.v_bias": ".attention.attention.value.bias",
    ".attn.proj.": ".attention.output.dense.",
    ".attn.qkv.": ".attention.attention.qkv.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}


def videomae_files(metric: str) -> list[Resource]:
    """The published file, in the hub's folder."""
    return [Resource(f"VideoMAE's {_FILE}", torch_hub() / "checkpoints" / _FILE, _URL)]


class VideoMae(nn.Module):
    """network: transformers' VideoMAEModel; norm: what its mean over tokens goes through; side: of
    its frames.
    """

    family, trained_on, labels = "vit", "UnlabeledHybrid", "Something-Something v2"

    def __init__(self, network: nn.Module, norm: nn.LayerNorm, side: int):
        super().__init__()
        self.network, self.norm, self.side = network, norm, side
        self.eval().requires_grad_(False)
        self.fingerprint = weights_fingerprint(self)

    def pixels(self, clips: Tensor) -> Tensor:
        """uint8 [n, 3, T, H, W] -> what the network is given, float32 [n, 16, 3, 224, 224]."""
        which = torch.arange(_FRAMES, device=clips.device) * clips.shape[2] // _FRAMES
        frames = clips[:, :, which].transpose(1, 2).float() / 255
        size = [self.side, self.side]
        resized = F.interpolate(frames.flatten(0, 1), size=size, mode="bilinear")
        return resized.unflatten(0, frames.shape[:2])

    @full_float32()
    @torch.no_grad()
    def features(self, clips: Tensor) -> np.ndarray:
        """Clips uint8 [n, 3, T, H, W] -> float32 [n, 1408]."""
        found = []
        for part in clips.to(self.norm.weight.device).split(_AT_ONCE):
            tokens = self.network(self.pixels(part)).last_hidden_state
            found.append(self.norm(tokens.mean(dim=1)).cpu())
        return torch.cat(found).numpy()


def load_videomae(metric: str) -> VideoMae:
    """The network. Raises ValueError where its file or transformers are not here."""
    (file,) = published_files(metric, videomae_files(metric), "VideoMAE")
    transformers = import_vision("transformers")
    config = transformers.VideoMAEConfig(
        **_SIZE, num_frames=_FRAMES, tubelet_size=2, layer_norm_eps=1e-6, use_mean_pooling=True
    )
    network = transformers.VideoMAEModel(config)
    norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
    with holding(file.path, "VideoMAE", metric):
        state = videomae_names(published_tensors(file.path, "model", "module"))
        norm.load_state_dict({key: state.pop(f"fc_norm.{key}") for key in ("weight", "bias")})
        network.load_state_dict(state)
    return VideoMae(network, norm, config.image_size)


def videomae_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under transformers' names, without the classifier; query, key and
    value apart.
    """
    own = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    return transformers_names(own, _RENAMED)
