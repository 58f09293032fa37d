"""Noise levels of the tokens of a batch, and the distributions p(t) that they are drawn from.

`NoiseLevels` covers ordinary flow matching (K = 1 level a sample), dual-timestep scheduling (K = 2,
Self-Flow, arXiv 2603.06507) and independent levels (K = N, Diffusion Forcing): the backbone
computes its modulation once a distinct level, `[B, K, 6W]`, and each token picks its own at the
point of use (`pick`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseLevels:
    """levels [B, K] in [0, 1]; index [B, N]: the level each token has, None when K is 1 or N
    (token n has level n).

    separated: the attention rule. False: every token attends to every token; True: only to tokens
    of its own level, and to context. stands [B, N, K - 1]: 1.0 where a token has level 1, 2, ...,
    else 0.0; of `located`. context: how many tokens in front are context, which every token sees.
    """

    levels: Tensor
    index: Tensor | None = None
    separated: bool = False
    stands: Tensor | None = None
    context: int = 0

    @classmethod
    def single(cls, t: Tensor) -> NoiseLevels:
        """One level a sample, t [B]."""
        return cls(t[:, None])

    def check(self, tokens: int) -> None:
        """Raise ValueError where levels and tokens do not fit together."""
        k = self.levels.shape[1]
        if k > tokens:
            raise ValueError(
                f"{k} noise levels for {tokens} tokens: a token has one level, so K is at most N"
            )
        if self.index is None and k not in (1, tokens):
            raise ValueError(
                f"{k} noise levels for {tokens} tokens need an index [B, N]: which token has which"
            )

    def per_token(self, tokens: int) -> Tensor:
        """The level of every token, [B, N]."""
        if self.index is not None:
            return self.levels.gather(1, self.index.long())
        return self.levels.expand(-1, tokens)

    def pick(self, function: Callable[..., Tensor], *vectors: Tensor) -> Tensor:
        """`function` of the vectors [B, K, W] of each token's own level -> [B, N, W].

        Each token's vector is the first level's plus, where it stands at another, the difference:
        one pass forward, one masked sum backward; nothing is gathered and nothing scattered, and a
        compiled block keeps no copy of the vectors for each token.
        """
        if self.index is None:  # K = 1 broadcasts over the tokens, K = N has a row for each
            return function(*vectors)
        stands = self.located().stands
        assert stands is not None
        own = [v[:, :1] for v in vectors]
        for k in range(1, self.levels.shape[1]):
            at_k = stands[..., k - 1 : k]
            own = [
                torch.addcmul(one, at_k, v[:, k : k + 1] - v[:, :1])
                for one, v in zip(own, vectors, strict=True)
            ]
        return function(*own)

    def located(self) -> NoiseLevels:
        """The same, with what every `pick` of a pass needs computed once."""
        if self.index is None or self.stands is not None:
            return self
        others = torch.arange(1, self.levels.shape[1], device=self.index.device)
        return replace(self, stands=(self.index[..., None] == others).to(self.levels.dtype))

    def with_context(self, count: int) -> NoiseLevels:
        """The levels of `count` context tokens and these behind them; context stands at the first
        level.
        """
        if not count:
            return self
        levels, index = self.levels, self.index
        if index is not None:
            index = torch.cat([index.new_zeros(len(index), count), index], dim=1)
        elif levels.shape[1] > 1:  # each token has a level of its own
            levels = torch.cat([levels[:, :1].expand(-1, count), levels], dim=1)
        return replace(self, levels=levels, index=index, stands=None, context=count)

    def attention_mask(self, tokens: int) -> Tensor | None:
        """[B, 1, N, N], True where a query may see a key; None when everything may see
        everything. tokens: N, with context.
        """
        if not self.separated or self.levels.shape[1] == 1:
            return None
        level = self.index
        if level is None:
            level = torch.arange(tokens, device=self.levels.device)[None]
        seen = level[:, :, None] == level[:, None, :]
        seen[:, :, : self.context] = True
        return seen[:, None]


def shift_time(t: Tensor, a: float) -> Tensor:
    """s(a, t) = a t / (1 + (a - 1) t).

    a > 1 moves times towards noise, a = 1 changes nothing (SD3, arXiv 2403.03206).
    """
    return a * t / (1 + (a - 1) * t)


KINDS = ("uniform", "logit_normal", "plateau_logit_normal")
LOW_SNR = 0.95  # where the share of nearly pure noise begins


@dataclass(frozen=True)
class TimeDistribution:
    """p(t). kind: "uniform"; "logit_normal", the sigmoid of N(mean, std^2); either shifted by
    s(shift, t). "plateau_logit_normal": the shifted logit-normal's density, held constant after its
    (last) mode. low_snr: share of times that are drawn from U(0.95, 1) instead; None for none.

    Sources: SD3 (arXiv 2403.03206), Self-Flow (2603.06507), A.2 and App. C.
    """

    kind: str = "uniform"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    low_snr: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"time.kind={self.kind} is unknown: choose {' or '.join(KINDS)}")
        if self.std <= 0 or self.shift <= 0:
            raise ValueError(f"time.std={self.std} and time.shift={self.shift} must be above 0")
        if self.low_snr is not None and not 0 <= self.low_snr <= 1:
            raise ValueError(f"time.low_snr={self.low_snr} is no share: choose one from 0 to 1")

    def __call__(self, uniform: Tensor, normal: Tensor) -> Tensor:
        """Times in [0, 1] from uniform and normal draws of one shape: every kind costs the stream
        the same.
        """
        share = self.low_snr or 0.0
        if not share:
            return self._main(uniform, normal)
        # one draw says whether a time is of the share, and where within either part it lies
        low = LOW_SNR + (1 - LOW_SNR) * uniform / share
        rest = ((uniform - share) / ((1 - share) or 1.0)).clamp(0, 1)
        return torch.where(uniform < share, low, self._main(rest, normal))

    def _main(self, uniform: Tensor, normal: Tensor) -> Tensor:
        if self.kind == "plateau_logit_normal":
            return self._plateau(uniform)
        t = uniform if self.kind == "uniform" else torch.sigmoid(self.mean + self.std * normal)
        return shift_time(t, self.shift)

    def _plateau(self, uniform: Tensor) -> Tensor:
        """The inverse of the distribution function. A shift by a adds log a to the mean."""
        mean, std = self.mean + math.log(self.shift), self.std
        # the mode m solves logit m = mean + std^2 (2m - 1); from above this ends at the last one
        x = mean + std**2
        for _ in range(1000):
            x = mean + std**2 * math.tanh(x / 2)
        mode, z = 1 / (1 + math.exp(-x)), (x - mean) / std
        height = math.exp(-z * z / 2) / (std * math.sqrt(2 * math.pi) * mode * (1 - mode))
        below = (1 + math.erf(z / math.sqrt(2))) / 2  # mass up to the mode
        mass = uniform.double() * (below + height * (1 - mode))
        rising = torch.sigmoid(mean + std * torch.special.ndtri(mass.clamp(max=below)))
        return torch.where(mass < below, rising, mode + (mass - below) / height).to(uniform.dtype)
