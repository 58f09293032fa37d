"""Features as colours: the axes of an independent PCA, and a file that the reports can draw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.arms import random_backbone

from bench.core.data.base import Digits
from probes.features.pictures import feature_pictures, principal_colours, save_pictures


def test_colours_are_the_first_three_components_of_scikit_learns_pca():
    from sklearn.decomposition import PCA

    draw = torch.Generator().manual_seed(0)
    tokens = torch.randn(4, 16, 10, generator=draw) * torch.linspace(5, 0.5, 10) + 3
    expected = PCA(3).fit_transform(tokens.reshape(-1, 10).double().numpy())
    found = principal_colours(tokens).reshape(-1, 3).double().numpy()
    for axis in range(3):
        scaled = (expected[:, axis] - expected[:, axis].min()) / np.ptp(expected[:, axis])
        error = min(
            np.abs(found[:, axis] - scaled).max(), np.abs(1 - found[:, axis] - scaled).max()
        )  # up to the sign
        assert error < 1e-6
    assert torch.equal(principal_colours(tokens), principal_colours(tokens.clone()))


def test_tokens_that_do_not_vary_are_grey():
    assert (principal_colours(torch.full((2, 4, 8), 1.5)) == 0.5).all()
    one_axis = principal_colours(torch.arange(8.0).reshape(2, 4, 1).expand(2, 4, 5) * 1.0)
    assert (
        one_axis[..., 0].amin() == 0
        and one_axis[..., 0].amax() == 1
        and (one_axis[..., 1:] == 0.5).all()
    )


def test_the_file_is_what_the_reports_draw(tmp_path: Path):
    from reports.page.figures.pictures import _feature_png

    found = feature_pictures(random_backbone(), Digits("digits", 2))
    assert found["pictures"].shape == (8, 4, 4, 3) and found["pictures"].dtype == np.float32
    assert (
        found["pictures"].min() == 0
        and found["pictures"].max() == 1
        and found["block"] == 2
        and found["t"] == 0.1
    )
    again = feature_pictures(random_backbone(), Digits("digits", 2))
    assert np.array_equal(found["pictures"], again["pictures"]), (
        "noise and pictures are the same each time"
    )
    path = save_pictures(found, tmp_path, 1280)
    assert path == tmp_path / "samples" / "features_pca-000000001280.npz"
    assert _feature_png(path).startswith(b"\x89PNG")


def test_data_without_two_axes_is_refused():
    class Sound:
        class grid:
            grid = (16,)

    with pytest.raises(ValueError, match="takes two axes"):
        feature_pictures(random_backbone(), Sound())
