"""SiT: the transformer that every arm trains (arXiv 2401.08740; adaLN-Zero of DiT,
arXiv 2212.09748).

Two things differ from the public code. Modulation is computed once a distinct noise level,
`[B, K, 6W]`, and each token picks its own at the point of use (`NoiseLevels.pick`), so two levels a
sample cost hardly more than one. And `taps` returns the outputs of blocks by number, so methods and
probes need no hook. `.train()` and `.eval()` never change what is returned.

Names of parameters are those of the public checkpoints, so that importing one is a matter of its
convention alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.core.model.conditions import Condition, condition_of
from bench.core.model.noise import NoiseLevels
from bench.core.model.sizes import Size
from bench.core.model.tokens import TokenGrid

FREQUENCIES = 128  # of the timestep embedding: 128 cosines, then 128 sines, max period 10,000


class TimestepEmbedder(nn.Module):
    """Embeds t in [0, 1] (not scaled by 1000): sinusoids -> Linear -> SiLU -> Linear."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.frequencies: Tensor
        self.register_buffer("frequencies", time_frequencies(), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """t [B, K] -> [B, K, W]."""
        angles = t[..., None].float() * self.frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


def time_frequencies() -> Tensor:
    """The 128 float32 frequencies exp(-ln(10000) i / 128)."""
    i = torch.arange(FREQUENCIES, dtype=torch.float32)
    return torch.exp(-math.log(10000) * i / FREQUENCIES)


class PatchEmbedder(nn.Module):
    """A linear map of a patch's numbers in (c, p1, p2) order."""

    def __init__(self, token_dim: int, width: int):
        super().__init__()
        self.proj = nn.Linear(token_dim, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, W]."""
        return self.proj(tokens)


class Attention(nn.Module):
    """Multi-head self-attention, biases on, no normalisation of q and k."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, N, W], mask [B, 1, N, N] or None -> (output [B, N, W], q, k), these two
        [B, heads, N, W / heads]. Without a mask PyTorch takes its flash form.
        """
        b, n, w = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(out.transpose(1, 2).reshape(b, n, w)), q, k


class Mlp(nn.Module):
    """Linear -> GELU (tanh) -> Linear, four times as wide inside."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor, noise: NoiseLevels) -> Tensor:
    return noise.pick(lambda shift, scale: x * (1 + scale) + shift, shift, scale)


class Block(nn.Module):
    """A SiT block with adaLN-Zero: shift, scale, gate for the attention, then for the MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        noise: NoiseLevels,
        mask: Tensor | None,
        with_qk: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """x [B, N, W], condition [B, K, W] -> (x, and q, k of the attention if they are wanted:
        a compiled block pays for every output, in its backward pass too).
        """
        modulation = self.adaLN_modulation(condition)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        h, q, k = self.attn(_modulate(self.norm1(x), shift1, scale1, noise), mask)
        x = x + noise.pick(lambda gate: gate * h, gate1)
        h = self.mlp(_modulate(self.norm2(x), shift2, scale2, noise))
        x = x + noise.pick(lambda gate: gate * h, gate2)
        return x, (q, k) if with_qk else None


class FinalLayer(nn.Module):
    """LayerNorm, shift and scale, and the linear map to a token's numbers, (c, p1, p2)
    as they went in.
    """

    def __init__(self, width: int, token_dim: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(width, token_dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor, noise: NoiseLevels) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return self.linear(_modulate(self.norm_final(x), shift, scale, noise))


def _linears(module: nn.Module | Tensor) -> list[nn.Linear]:
    assert isinstance(module, nn.Module)
    return [part for part in module.modules() if isinstance(part, nn.Linear)]


Features = dict[object, Any]  # {block: [B, N, W], ("qk", block): (q, k)}


class SiT(nn.Module):
    """velocity(tokens, noise levels, condition), with the outputs of chosen blocks.

    condition: what its rows are, a number stands for so many classes; null: the row that says
    nothing; recompute: keep a block's input alone for the backward pass, and compute the rest of it
    again there (activation checkpointing, arXiv 1604.06174).
    """

    def __init__(self, grid: TokenGrid, size: Size, condition: Condition | int):
        super().__init__()
        self.grid, self.size = grid, size
        self.recompute = False
        self.condition = condition_of(condition)
        self.x_embedder = PatchEmbedder(grid.token_dim, size.width)
        self.t_embedder = TimestepEmbedder(size.width)
        self.y_embedder = self.condition.embedder(size.width)
        self.null: Tensor
        self.register_buffer("null", self.condition.null, persistent=False)
        self.register_buffer("pos_embed", grid.position_embedding(size.width))
        self.weight: Tensor | None
        self.register_buffer("weight", grid.weight, persistent=False)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.depth))
        self.final_layer = FinalLayer(size.width, grid.token_dim)

    def initialise(self, generator: torch.Generator) -> SiT:
        """SiT's initial weights: Xavier linears, N(0, 0.02) embeddings, zero modulation and output
        (adaLN-Zero).
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
        self.y_embedder.initialise(generator)
        for linear in _linears(self.t_embedder.mlp):
            nn.init.normal_(linear.weight, std=0.02, generator=generator)
        modulations = [_linears(block.adaLN_modulation) for block in self.blocks]
        for linear in (*itertools.chain(*modulations), *_linears(self.final_layer)):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        return self

    def forward(
        self,
        tokens: Tensor,
        noise: NoiseLevels | Tensor,
        condition: Tensor,
        taps: Collection[int] = (),
        stop_after: int | None = None,
        qk_taps: Collection[int] = (),
    ) -> tuple[Tensor | None, Features]:
        """tokens [B, N, C], noise levels (or t [B]), condition int64 [B, ...]
        -> (velocity [B, N, C], {block: [B, N, W]}).

        Blocks are counted from 1, a tap is a block's output. qk_taps adds {("qk", block): (q, k)},
        each [B, heads, N, W / heads]. stop_after ends the pass after that block (a teacher's) and
        returns None as velocity. Context tokens go in front and are in nothing that is returned;
        numbers that a token has not are neither read nor moved.
        """
        if isinstance(noise, Tensor):
            noise = NoiseLevels.single(noise)
        noise.check(tokens.shape[1])
        pooled, context, beside = self.y_embedder(condition)
        there = None if self.weight is None else self.weight > 0
        x, first = self.x_embedder(tokens if there is None else tokens * there) + self.pos_embed, 0
        if beside is not None:
            x = x + F.pad(beside, (0, 0, 0, x.shape[1] - beside.shape[1]))
        if context is not None:
            x, first = torch.cat([context.to(x.dtype), x], dim=1), context.shape[1]
        noise = noise.with_context(first).located()
        mask = noise.attention_mask(x.shape[1])
        vectors = self.t_embedder(noise.levels) + pooled[:, None]
        features: Features = {}
        # nothing in a block is random, so no generator's state has to be kept
        again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        recompute = self.recompute and torch.is_grad_enabled()
        for number, block in enumerate(self.blocks, start=1):
            given = (x, vectors, noise, mask, number in qk_taps)
            x, qk = again(block, *given) if recompute else block(*given)
            if number in taps:
                features[number] = x[:, first:]
            if qk is not None:
                features["qk", number] = tuple(one[:, :, first:] for one in qk)
            if number == stop_after:
                return None, features
        velocity = self.final_layer(x, vectors, noise)[:, first:]
        return velocity if there is None else velocity * there, features
