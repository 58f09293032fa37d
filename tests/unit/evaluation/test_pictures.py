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


def test_a_long_text_is_broken_into_lines_below_a_larger_picture():
    pictures = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    short = picture_grid(pictures, 2, texts=["owl", "hen"])
    long = picture_grid(pictures, 2, texts=["an owl above a hen that sleeps", "hen"])
    assert short.shape[:2] == (48 + 4 + LINE, 2 * 50 + 2)
    assert long.shape[:2] == (96 + 4 + 2 * LINE, 2 * 98 + 2)
    assert (long[98:, :98] < 255).any() and (long[98 + LINE :, :98] < 255).any()
    assert (long[98 + LINE :, 100:] == 255).all(), "one line, at the top"
    endless = picture_grid(pictures, 2, texts=["owl " * 99, "x" * 99])
    assert endless.shape[0] == 96 + 4 + 3 * LINE
