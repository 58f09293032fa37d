"""Grids of samples, with what was asked for below each."""

import torch

from bench.evaluation.grids import LINE, picture_grid


def test_texts_stand_below_their_pictures_and_change_none():
    pictures = torch.full((3, 3, 12, 32), 200, dtype=torch.uint8)
    plain, told = picture_grid(pictures, 2), picture_grid(pictures, 2, texts=["owl", "", "hen"])
    factor = 2  # 32 pixels become 48 and more
    height, width = 12 * factor, 32 * factor
    assert plain.shape == (2 * (height + 2) + 2, 2 * (width + 2) + 2, 3)
    assert told.shape == (plain.shape[0] + 2 * LINE, *plain.shape[1:])
    for i, text in enumerate(["owl", "", "hen"]):
        top, left = 2 + i // 2 * (height + 2 + LINE), 2 + i % 2 * (width + 2)
        assert (told[top : top + height, left : left + width] == 200).all()
        below = told[top + height : top + height + LINE, left : left + width]
        assert (below < 200).any() == bool(text)
