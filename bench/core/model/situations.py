"""What a model of behaviour is told: what is seen now, and an instruction in words.

    told = Situations(TokenGrid((14, 14), 2, 3), words=3, vocabulary=14, mean=..., deviation=...)
    told.rows(views, words)       # int64 [n, 49 * 12 + 3]: the numbers of a view, then words

The tokens of a view are added to the first tokens of the data as those enter, place by place: a
linear map of both side by side, as where a given frame is concatenated to the channels (VideoVLA,
arXiv 2512.06963). Attention alone learns to copy a given frame late (LOG.md). Words are context.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.model.conditions import Embedded, Embedder
from bench.core.model.tokens import TokenGrid
from bench.core.ranges import check_range

UNSEEN = 256  # in place of each number of a view that says nothing
UNTOLD = 0  # after the last word of an instruction; all of one that says nothing
LOUDNESS = 6.0  # what is given is heard through noise of deviation 1 in the same tokens (LOG.md)


@dataclass(frozen=True)
class Situations:
    """view: how it becomes tokens; words: of an instruction at most, numbered from 1 to
    `vocabulary`; mean, deviation: of each number of a view's token, over bytes; loudness: the
    deviation that these numbers enter with, beside that of noise, 1.
    """

    view: TokenGrid
    words: int
    vocabulary: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    loudness: float = LOUDNESS

    def __post_init__(self) -> None:
        check_range("data.loudness", self.loudness, "(0, inf)")

    @property
    def null(self) -> Tensor:
        view = torch.full((self.view.tokens * self.view.token_dim,), UNSEEN)
        return torch.cat([view, torch.full((self.words,), UNTOLD)])

    def embedder(self, width: int) -> Embedder:
        return SituationEmbedder(self, width)

    def rows(self, views: Tensor, words: Tensor) -> Tensor:
        """Rows of views uint8 [n, 3, H, W] and of words int64 [n, words]."""
        return torch.cat([self.view.patchify(views).flatten(1).long(), words], dim=1)

    def standardised(self, numbers: Tensor) -> Tensor:
        """Bytes of a view's tokens [..., C] with mean 0 and deviation 1 each."""
        return (numbers - numbers.new_tensor(self.mean)) / numbers.new_tensor(self.deviation)

    def as_bytes(self, tokens: Tensor) -> Tensor:
        """The inverse of `standardised`: floats, of which a view's are 0..255."""
        return tokens * tokens.new_tensor(self.deviation) + tokens.new_tensor(self.mean)


class SituationEmbedder(Embedder):
    """A linear map of a view's tokens, and tables of words and of their places, which begin as
    large as the tokens beside them; the vector for the modulation is made of all words.
    """

    deviation = 0.5

    def __init__(self, told: Situations, width: int):
        super().__init__()
        self.told, self.context = told, told.words
        self.view = nn.Linear(told.view.token_dim, width)
        self.words = nn.Embedding(told.vocabulary + 1, width)
        self.places = nn.Embedding(told.words, width)
        self.hidden = nn.Linear(told.words * width, 2 * width)
        self.pooled = nn.Linear(2 * width, width)

    def forward(self, condition: Tensor) -> Embedded:
        """[B, cells * numbers + L] -> pooled [B, W], context [B, L, W], beside [B, cells, W]."""
        grid = self.told.view
        seen, words = condition.split([grid.tokens * grid.token_dim, self.told.words], dim=1)
        seen = seen.unflatten(1, (grid.tokens, grid.token_dim))
        numbers = self.told.standardised(seen.to(self.view.weight.dtype))
        beside = self.view(self.told.loudness * numbers * (seen != UNSEEN))
        tokens = self.words(words) + self.places.weight
        pooled = self.pooled(nn.functional.silu(self.hidden(tokens.flatten(1))))
        return Embedded(pooled, tokens, beside)
