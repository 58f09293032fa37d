"""Sequences of several pieces, and what is seen beside them."""

from dataclasses import replace

import pytest
import torch
from support.arms import random_backbone

from bench.core.model.backbone import SiT
from bench.core.model.pieces import Piece, Pieces
from bench.core.model.situations import UNSEEN, Situations
from bench.core.model.sizes import SIZES
from bench.core.model.streams import generator
from bench.core.model.tokens import TokenGrid

VIEW, ACTIONS = TokenGrid((4, 6), 2, 3), TokenGrid((4,), 1, 5)
GRID = Pieces.of(Piece(VIEW, 0.3), Piece(ACTIONS))
TOLD = Situations(VIEW, 2, 7, tuple(range(60, 72)), tuple(range(20, 32)), loudness=3.0)
NANO = SIZES["nano"]


def parts(n=3):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, 12, generator=draw), torch.randn(n, 4, 5, generator=draw)


def rows(n=3):
    draw = torch.Generator().manual_seed(1)
    views = torch.randint(0, 256, (n, 3, 4, 6), generator=draw).to(torch.uint8)
    return views, TOLD.rows(views, torch.randint(1, 8, (n, 2), generator=draw))


def test_pieces_are_packed_and_unpacked():
    assert (GRID.tokens, GRID.token_dim, GRID.grid, GRID.seen) == (10, 17, (10,), VIEW)
    tokens = GRID.pack(*parts())
    for part, found in zip(parts(), GRID.unpack(tokens), strict=True):
        assert torch.equal(part, found)
    assert tokens[:, :6, 12:].eq(0).all() and tokens[:, 6:, :12].eq(0).all()
    assert torch.equal(GRID.unpatchify(GRID.patchify(tokens.mT)), tokens.mT)


def test_the_weighted_mean_is_the_sum_of_the_pieces_means():
    error = torch.randn(3, 10, 17)
    view, actions = (part.square().mean() for part in GRID.unpack(error))
    whole = (error.square() * GRID.weight).mean()
    torch.testing.assert_close(whole, 0.3 * view + actions)


def test_every_token_has_a_place_of_its_own():
    places = GRID.position_embedding(32)[0]
    apart = torch.cdist(places, places) + torch.eye(10)
    assert places.shape == (10, 32) and apart.min() > 0.5


def test_an_ordinary_grid_weighs_nothing():
    assert VIEW.weight is None and VIEW.seen is VIEW


def test_numbers_that_a_token_has_not_are_neither_read_nor_moved():
    backbone, (_, told) = random_backbone(NANO, GRID, condition=TOLD), rows()
    tokens = GRID.pack(*parts())
    found, _ = backbone(tokens, torch.rand(3), told)
    none = GRID.weight == 0
    assert found[:, none].eq(0).all() and found[:, ~none].ne(0).all()
    spoilt = torch.where(none, torch.randn(3, 10, 17), tokens)
    t = torch.full((3,), 0.5)
    assert torch.equal(backbone(spoilt, t, told)[0], backbone(tokens, t, told)[0])


def test_what_is_seen_enters_as_if_concatenated_to_the_channels():
    backbone, (views, told) = random_backbone(NANO, GRID, condition=TOLD), rows()
    tokens = GRID.pack(*parts())
    embedded = backbone.y_embedder(told)
    entered = backbone.x_embedder(tokens)[:, :6] + embedded.beside
    given = 3 * TOLD.standardised(VIEW.patchify(views).float())
    both = torch.nn.Linear(29, 32)
    with torch.no_grad():
        view = backbone.y_embedder.view
        both.weight.copy_(torch.cat([backbone.x_embedder.proj.weight, view.weight], dim=1))
        both.bias.copy_(backbone.x_embedder.proj.bias + view.bias)
    torch.testing.assert_close(entered, both(torch.cat([tokens[:, :6], given], dim=2)))
    assert embedded.context.shape == (3, 2, 32) and embedded.pooled.shape == (3, 32)


def test_a_view_is_standardised_and_brought_back():
    views, _ = rows()
    tokens = TOLD.standardised(VIEW.patchify(views).float())
    assert torch.equal(VIEW.unpatchify(TOLD.as_bytes(tokens).round()), views.float())


def test_a_loudness_that_nothing_is_heard_at_is_refused():
    with pytest.raises(ValueError, match=r"data.loudness=0.0 is outside \(0, inf\)"):
        replace(TOLD, loudness=0.0)


def test_the_null_row_shows_nothing():
    backbone = random_backbone(NANO, GRID, condition=TOLD)
    null = TOLD.null[None]
    beside = backbone.y_embedder(null).beside
    assert (null[:, :72] == UNSEEN).all() and (null[:, 72:] == 0).all()
    assert torch.equal(beside, backbone.y_embedder.view.bias.expand(1, 6, 32))


def test_weights_and_buffers_of_other_grids_stay_as_they_were():
    plain = SiT(VIEW, NANO, 3).initialise(generator(0, "init", 0))
    assert plain.weight is None and "weight" not in plain.state_dict()
    assert "weight" not in SiT(GRID, NANO, TOLD).state_dict()
