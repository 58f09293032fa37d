"""What a model is conditioned on, as integers a sample: a class, the bytes of a text, or a text by
its number among texts that a frozen encoder has read.

    Classes(10).null                       # tensor(10): the null label
    Bytes(8).encode(["owl"])                # [[111, 119, 108, 256, 256, 256, 256, 256]]

A condition is a row of int64; which rows were dropped, training and guidance say alike, by the null
row in their place. Its embedder gives the backbone a vector for the modulation and, of a text,
tokens that the picture's tokens attend to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD = 256  # after the last byte of a text; all of the null text


class Embedded(NamedTuple):
    """A batch of conditions: pooled [B, W], context tokens [B, L, W], and what is added to the
    first n tokens of the data as they enter, beside [B, n, W]; None where there are none.
    """

    pooled: Tensor
    context: Tensor | None = None
    beside: Tensor | None = None


class Embedder(nn.Module):
    """Conditions, int64 [B, ...] -> `Embedded`. context: L; deviation: of the tables' initial
    weights.
    """

    context: int = 0
    deviation: float = 0.02

    def initialise(self, generator: torch.Generator) -> None:
        """Initial weights of the tables; linear maps have theirs from the backbone."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.deviation, generator=generator)


class Condition(Protocol):
    """A kind of condition. null: the row, int64, that says nothing."""

    @property
    def null(self) -> Tensor: ...

    def embedder(self, width: int) -> Embedder: ...


@dataclass(frozen=True)
class Classes:
    """One of `count` classes, 0 .. count - 1; a row is a number."""

    count: int

    @property
    def null(self) -> Tensor:
        return torch.tensor(self.count)

    def embedder(self, width: int) -> Embedder:
        return LabelEmbedder(self.count, width)


@dataclass(frozen=True)
class Bytes:
    """A text of at most `length` bytes of UTF-8; a row is its bytes, then `PAD`."""

    length: int

    @property
    def null(self) -> Tensor:
        return torch.full((self.length,), PAD)

    def embedder(self, width: int) -> Embedder:
        return ByteEmbedder(self.length, width)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Rows of texts, int64 [n, length].

        Raises ValueError for one that is empty, longer, or cannot be written in UTF-8.
        """
        rows = self.null.repeat(len(texts), 1)
        for row, text in zip(rows, texts, strict=True):
            if not text.strip():
                raise ValueError("a caption is empty: give every picture a text")
            try:
                data = text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"the caption {text!r} is not UTF-8 ({error.reason})") from error
            if len(data) > self.length:
                raise ValueError(
                    f"the caption {text!r} has {len(data)} bytes and {self.length} are read: "
                    "shorten it, or raise the limit"
                )
            row[: len(data)] = torch.tensor(list(data))
        return rows

    def decode(self, rows: Tensor) -> list[str]:
        """The texts of rows, int64 [n, length]."""
        return [bytes(row[row != PAD].tolist()).decode() for row in rows]


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """Features of n texts by a frozen encoder, and last those of the text that says nothing.

    tokens: float16 [n + 1, L, D], zero behind a text's end; counts: tokens of each [n + 1];
    fingerprint: 16 hexadecimal digits of texts and features.
    """

    tokens: Tensor
    counts: Tensor
    fingerprint: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextFeatures) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


@dataclass(frozen=True)
class FrozenTexts:
    """One of the texts whose features are there; a row is its number."""

    features: TextFeatures

    @property
    def null(self) -> Tensor:
        return torch.tensor(len(self.features.tokens) - 1)

    def embedder(self, width: int) -> Embedder:
        return FeatureEmbedder(self.features, width)


def condition_of(said: Condition | int) -> Condition:
    """The condition that is said; a number stands for so many classes."""
    return Classes(said) if isinstance(said, int) else said


@dataclass(frozen=True)
class Prompts:
    """What samples are asked for, one of a table: rows of a condition, int64 [P, ...]; label: the
    class of each [P]; null: the row that says nothing; texts: of each, where rows are texts.
    """

    rows: Tensor
    label: Tensor
    null: Tensor
    texts: tuple[str, ...] = ()

    @classmethod
    def of_classes(cls, count: int) -> Prompts:
        """Each class once."""
        numbers = torch.arange(count)
        return cls(numbers, numbers, Classes(count).null)


class LabelEmbedder(Embedder):
    """A table of classes + 1 rows; the last is the null label."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)

    def forward(self, condition: Tensor) -> Embedded:
        """[B] -> pooled [B, W]."""
        return Embedded(self.embedding_table(condition))


class ByteEmbedder(Embedder):
    """Tables of bytes and of places, trained with the backbone; the vector for the modulation is
    the mean over places of a hidden layer, mapped once more. Its tokens begin as large as those of
    the picture beside them.
    """

    deviation = 0.5

    def __init__(self, length: int, width: int):
        super().__init__()
        self.context = length
        self.bytes = nn.Embedding(PAD + 1, width)
        self.places = nn.Embedding(length, width)
        self.hidden, self.pooled = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, condition: Tensor) -> Embedded:
        """[B, L] -> pooled [B, W], context [B, L, W]."""
        tokens = self.bytes(condition) + self.places.weight
        return Embedded(self.pooled(F.silu(self.hidden(tokens)).mean(dim=1)), tokens)


class FeatureEmbedder(Embedder):
    """A frozen encoder's features of each text, each token normalised (LayerNorm without weights)
    and mapped to the width; the vector for the modulation is made of their mean. The features are
    in no checkpoint.
    """

    def __init__(self, features: TextFeatures, width: int):
        super().__init__()
        self.context, numbers = features.tokens.shape[1:]
        device = torch.get_default_device()  # shapes alone are counted on "meta"
        self.features: Tensor
        self.counts: Tensor
        self.register_buffer("features", features.tokens.to(device), persistent=False)
        self.register_buffer("counts", features.counts.to(device), persistent=False)
        self.tokens = nn.Linear(numbers, width)
        self.places = nn.Embedding(self.context, width)
        self.hidden, self.pooled = nn.Linear(numbers, width), nn.Linear(width, width)

    def forward(self, condition: Tensor) -> Embedded:
        """[B] -> pooled [B, W], context [B, L, W]."""
        read = self.features[condition].to(self.tokens.weight.dtype)
        read = F.layer_norm(read, read.shape[-1:])  # zeros stay zeros
        mean = read.sum(dim=1) / self.counts[condition][:, None]
        return Embedded(
            self.pooled(F.silu(self.hidden(mean))), self.tokens(read) + self.places.weight
        )
