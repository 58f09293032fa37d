"""SiT (arXiv 2401.08740) told a class, as a model of diffusers: the velocity noise - data of a
picture or latent at a noise level from 0 (data) to 1000 (noise).

    transformer = SiTTransformer.from_pretrained(DIR, subfolder="transformer")
    velocity = transformer(x, timestep, class_labels).sample

Names and shapes of the weights are SiT's, a patch's numbers are in (channel, row, column) order.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

FREQUENCIES = 128  # of the timestep embedding: cosines, then as many sines
LEVELS = 1000  # a scheduler's timestep of pure noise


class TimestepEmbedder(nn.Module):
    """Sinusoids of t in [0, 1] -> Linear -> SiLU -> Linear."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        """[B] -> [B, W]."""
        i = torch.arange(FREQUENCIES, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * torch.exp(-math.log(10000) * i / FREQUENCIES)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mlp(waves.to(self.mlp[0].weight.dtype))


class LabelEmbedder(nn.Module):
    """A table of classes + 1 rows; the last says nothing."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)


class PatchEmbedder(nn.Module):
    """A linear map of a patch's numbers."""

    def __init__(self, numbers: int, width: int):
        super().__init__()
        self.proj = nn.Linear(numbers, width)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, w = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, n, w))


class Mlp(nn.Module):
    """Linear -> GELU (tanh) -> Linear."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights, then x (1 + scale) + shift; shift and scale [B, W]."""
    normal = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return normal * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Attention and MLP with shift, scale and gate from the condition (adaLN-Zero)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B, N, W], condition [B, W]."""
        parts = self.adaLN_modulation(condition).chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        x = x + gate1[:, None] * self.attn(modulate(x, shift1, scale1))
        return x + gate2[:, None] * self.mlp(modulate(x, shift2, scale2))


class FinalLayer(nn.Module):
    """Shift, scale, and the linear map to a patch's numbers."""

    def __init__(self, width: int, numbers: int):
        super().__init__()
        self.linear = nn.Linear(width, numbers)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return self.linear(modulate(x, shift, scale))


class SiTTransformer(ModelMixin, ConfigMixin):
    """height, width: of the data, in cells; channels: of a cell; patch: cells of a patch on a side;
    depth, hidden, heads: blocks, their width and attention heads; classes: without the one that
    says nothing, which has this number.
    """

    @register_to_config
    def __init__(
        self,
        height: int,
        width: int,
        channels: int,
        patch: tuple[int, int],
        depth: int,
        hidden: int,
        heads: int,
        classes: int,
    ):
        super().__init__()
        self.channels, self.patch = channels, tuple(patch)
        self.grid = height // patch[0], width // patch[1]
        numbers, tokens = channels * patch[0] * patch[1], math.prod(self.grid)
        self.x_embedder = PatchEmbedder(numbers, hidden)
        self.t_embedder = TimestepEmbedder(hidden)
        self.y_embedder = LabelEmbedder(classes, hidden)
        self.register_buffer("pos_embed", torch.zeros(1, tokens, hidden))
        self.blocks = nn.ModuleList(Block(hidden, heads) for _ in range(depth))
        self.final_layer = FinalLayer(hidden, numbers)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        class_labels: Tensor,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """hidden_states [B, C, H, W], timestep [B] in [0, 1000], class_labels int64 [B]
        -> the velocity [B, C, H, W].
        """
        b, (rows, columns), (p1, p2) = len(hidden_states), self.grid, self.patch
        cells = hidden_states.reshape(b, self.channels, rows, p1, columns, p2)
        tokens = cells.permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, -1)

        x = self.x_embedder.proj(tokens) + self.pos_embed
        labels = self.y_embedder.embedding_table(class_labels)
        condition = self.t_embedder(timestep / LEVELS) + labels
        for block in self.blocks:
            x = block(x, condition)
        tokens = self.final_layer(x, condition)

        cells = tokens.reshape(b, rows, columns, self.channels, p1, p2).permute(0, 3, 1, 4, 2, 5)
        velocity = cells.reshape(hidden_states.shape)
        return Transformer2DModelOutput(velocity) if return_dict else (velocity,)
