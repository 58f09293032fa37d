"""Pictures that each have a text: a model is told its bytes, and samples are asked for the held-out
texts, which no training picture has.

    data.texts["heldout"][0], data.conditions("heldout", [0])     # "owl", [[111, 119, 108, 256]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from bench.core.data.base import Indices, PictureData
from bench.core.model.conditions import Bytes, Prompts
from bench.core.model.tokens import TokenGrid


class TextedPictures(PictureData):
    """length: bytes of a text at most; texts: of each picture, by split.

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
    ):
        super().__init__(name, grid, len(class_names), pictures, labels, class_names)
        self.length, self.texts = length, texts
        self._rows = {split: self.condition.encode(of) for split, of in texts.items()}

    @property
    def condition(self) -> Bytes:
        return Bytes(self.length)

    def conditions(self, split: str, indices: Indices = slice(None)) -> Tensor:
        return self._rows[split][indices]

    @property
    def prompts(self) -> Prompts:
        """The held-out texts, which are never seen in training."""
        rows, labels = self._rows["heldout"], self.labels("heldout")
        return Prompts(rows, labels, self.condition.null, tuple(self.texts["heldout"]))
