"""Real pictures beside the samples: of the same classes, at the same places."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from bench.core.data.base import Digits
from bench.evaluation.pictures import save_real_grid


def test_real_pictures_have_the_classes_of_the_samples(tmp_path: Path):
    data = Digits("digits", 2)
    subject = SimpleNamespace(shown=tmp_path, data=data, prompts=data.prompts)
    path = save_real_grid(subject, 64)
    grid = np.asarray(Image.open(path))
    assert grid.shape == (302, 502, 3)  # six rows of ten, each 8x8 enlarged to 48, two between
    pictures, labels = data.images("heldout"), data.labels("heldout")
    seen = []
    for place in range(60):
        top, left = 2 + place // 10 * 50, 2 + place % 10 * 50
        tile = grid[top : top + 48 : 6, left : left + 48 : 6].transpose(2, 0, 1)
        (found,) = np.flatnonzero((pictures.numpy() == tile).all((1, 2, 3)))[:1]
        assert labels[found] == place % 10
        seen.append(found)
    assert len(set(seen)) == 60
    assert save_real_grid(subject, 64) is None, "once is enough for a run"
    assert save_real_grid(SimpleNamespace(shown=tmp_path / "none", data=None), 64) is None
