"""Pictures that each have a text: a model is told its bytes, or what a frozen encoder makes of it,
and samples are asked for the held-out texts, which no training picture has.

    data.texts["heldout"][0], data.conditions("heldout", [0])     # "owl", [[111, 119, 108, 256]]
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.core.data.base import Indices, PictureData
from bench.core.model.conditions import Bytes, FrozenTexts, Prompts, TextFeatures
from bench.core.model.tokens import TokenGrid

TEXT_SPLIT_SEED = 2903


def texts_held_out(different: Collection[str], share: float, what: str) -> set[str]:
    """A share of different texts, the same ones of the same texts; what: they are, in words.

    Raises ValueError where one of both splits would have none.
    """
    texts = sorted(different)
    count = round(share * len(texts))
    if not 0 < share < 1 or min(count, len(texts) - count) < 1:
        raise ValueError(
            f"data.heldout={share} of {len(texts)} different {what} leaves none for one of both "
            f"splits: choose another share, or {what} that tell the pictures apart"
        )
    order = np.random.default_rng(TEXT_SPLIT_SEED).permutation(len(texts))
    return {texts[i] for i in order[:count]}


class TextedPictures(PictureData):
    """length: bytes of a text at most; texts: of each picture, by split; read: what features a
    frozen encoder gives of different texts; None: a model is told their bytes.

    Raises ValueError for a text that is empty, longer, or cannot be written in UTF-8.
    """

    def __init__(
        self,
        name: str,
        grid: TokenGrid,
        length: int,
        texts: Mapping[str, Sequence[str]],
        pictures: dict[str, Tensor],
        labels: dict[str, Tensor],
        class_names: Sequence[str],
        read: Callable[[Sequence[str]], TextFeatures] | None = None,
    ):
        super().__init__(name, grid, len(class_names), pictures, labels, class_names)
        self.length, self.texts = length, texts
        self._told: Bytes | FrozenTexts = Bytes(length)
        self._rows = {split: self._told.encode(of) for split, of in texts.items()}
        if read is not None:
            different = sorted({text for of in texts.values() for text in of})
            self._told = FrozenTexts(read(different))
            number = {text: i for i, text in enumerate(different)}
            self._rows = {s: torch.tensor([number[one] for one in of]) for s, of in texts.items()}

    @property
    def condition(self) -> Bytes | FrozenTexts:
        return self._told

    def fingerprints(self) -> dict[str, str]:
        told = self._told
        read = {"texts": told.features.fingerprint} if isinstance(told, FrozenTexts) else {}
        return super().fingerprints() | read

    def conditions(self, split: str, indices: Indices = slice(None)) -> Tensor:
        return self._rows[split][indices]

    @property
    def prompts(self) -> Prompts:
        """The held-out texts, which are never seen in training."""
        rows, labels = self._rows["heldout"], self.labels("heldout")
        return Prompts(rows, labels, self.condition.null, tuple(self.texts["heldout"]))
