"""The size table: the only place where a size's depth, width and heads are written.

S to XL are SiT's; the smaller ones are ours, for two cores, all with heads of 16: from nano to XS a
factor of 100 in FLOPs at 16 tokens. `size=L` picks a row, `size.depth=6`
changes one number of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BlockSpec = Any  # OmegaConf knows no such union
"""Which block: a number, a fraction, "last", or a mapping by size of these (`Size.block`)."""


@dataclass(frozen=True)
class Size:
    """depth: blocks D; width: W, a multiple of heads; heads: attention heads."""

    name: str
    depth: int
    width: int
    heads: int

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.heads) < 1 or self.width % self.heads or self.width % 4:
            raise ValueError(
                f"size {self.name}: depth {self.depth}, width {self.width}, heads {self.heads}: "
                "all must be at least 1, and the width a multiple of the heads and of 4"
            )

    def block(self, where: BlockSpec) -> int:
        """A 1-based block from a number (>= 1), a fraction of the depth (< 1, rounded half up) or
        "last".

        0.7 of 28 blocks is the 20th. A mapping gives one of these by the size's name, or under
        "default". Raises ValueError for anything else, and above the depth.
        """
        remedy = f"give a block from 1 to {self.depth}, a fraction of the depth below 1, or last"
        if isinstance(where, dict):
            if not where.keys() & {self.name, "default"}:
                raise ValueError(
                    f"block {where} has no entry for size {self.name} and no default: {remedy}"
                )
            where = where[self.name if self.name in where else "default"]
        if where == "last":
            return self.depth
        if type(where) not in (int, float):
            raise ValueError(
                f"block '{where}' is neither a number, a fraction of the depth nor last: {remedy}"
            )
        if not where > 0 or (where > 1 and where % 1):  # of inf, where % 1 is nan
            raise ValueError(
                f"block {where} is neither a whole number above 0 nor a fraction of "
                f"the depth: {remedy}"
            )
        block = int(where) if where >= 1 else max(1, int(where * self.depth + 0.5))
        if block > self.depth:
            raise ValueError(
                f"block {block} is above the depth {self.depth} of size {self.name}: {remedy}"
            )
        return block


SIZES = {
    size.name: size
    for size in (
        Size("nano", 4, 32, 2),
        Size("micro", 6, 64, 4),
        Size("mini", 8, 96, 6),
        Size("tiny", 8, 128, 8),
        Size("XS", 12, 192, 12),
        Size("S", 12, 384, 6),
        Size("B", 12, 768, 12),
        Size("L", 24, 1024, 16),
        Size("XL", 28, 1152, 16),
    )
}
