"""Sequences of several pieces, a video's tokens and then actions, as one token grid of one axis.

    piece k:  tokens n_k x numbers c_k       sequence:  N = sum n_k,  C = sum c_k

Each piece has channels of its own, and zeros in those of the others, which the backbone neither
reads nor moves: one linear map in and one out are then a pair of them for each piece.

    grid = Pieces.of(Piece(TokenGrid((14, 14), 2, 3), 0.3), Piece(TokenGrid((4,), 1, 6)))
    grid.unpack(grid.pack(cells, actions))         # [cells [B, 49, 12], actions [B, 4, 6]]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.model.tokens import TokenGrid


@dataclass(frozen=True)
class Piece:
    """weight: of the mean of its squared errors in the loss."""

    grid: TokenGrid
    weight: float = 1.0


@dataclass(frozen=True)
class Pieces(TokenGrid):
    """The first piece is what encoders see. Made by `of`."""

    pieces: tuple[Piece, ...] = ()

    @classmethod
    def of(cls, *pieces: Piece) -> Pieces:
        """Pieces one after another."""
        tokens = sum(piece.grid.tokens for piece in pieces)
        return cls((tokens,), 1, sum(piece.grid.token_dim for piece in pieces), pieces)

    @property
    def seen(self) -> TokenGrid:
        return self.pieces[0].grid

    @property
    def weight(self) -> Tensor:
        """[N, C]; the mean of weighted squares over the whole is the sum of the pieces' means."""
        weight = torch.zeros(self.tokens, self.token_dim)
        for piece, (rows, columns) in zip(self.pieces, self._places(), strict=True):
            numbers = piece.grid.tokens * piece.grid.token_dim
            weight[rows, columns] = piece.weight * weight.numel() / numbers
        return weight

    def pack(self, *parts: Tensor) -> Tensor:
        """Tokens of each piece, [B, n_k, c_k] -> [B, N, C]."""
        whole = parts[0].new_zeros(len(parts[0]), self.tokens, self.token_dim)
        for part, (rows, columns) in zip(parts, self._places(), strict=True):
            whole[:, rows, columns] = part
        return whole

    def unpack(self, tokens: Tensor) -> list[Tensor]:
        """[B, N, C] -> tokens of each piece, [B, n_k, c_k]."""
        return [tokens[:, rows, columns] for rows, columns in self._places()]

    def position_embedding(self, width: int) -> Tensor:
        """[1, N, width]: each token's within its piece, and the piece's among the pieces."""
        which = TokenGrid((len(self.pieces),), 1, 1).position_embedding(width)
        within = [piece.grid.position_embedding(width) for piece in self.pieces]
        return torch.cat([one + which[:, k : k + 1] for k, one in enumerate(within)], dim=1)

    def _places(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each piece."""
        places, row, column = [], 0, 0
        for piece in self.pieces:
            rows = slice(row, row := row + piece.grid.tokens)
            places.append((rows, slice(column, column := column + piece.grid.token_dim)))
        return places
