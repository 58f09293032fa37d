"""bench.latents: ADM's crop, resume, and files that data=imagenet256 reads;
with a stand-in for the VAE.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import guarded
from bench.config.words import last_of_each
from bench.core.data.encode import adm_crop
from bench.core.data.latents import LatentData
from bench.latents import LATENTS


class StandInVAE(torch.nn.Module):
    """The encoder's interface: its mean is the picture in eighths, and their grey;
    its deviation is 1/4.
    """

    def __init__(self, fails_after=None):
        super().__init__()
        self.scale, self.left = torch.nn.Parameter(torch.ones(())), fails_after

    def encode(self, x):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        small = torch.nn.functional.avg_pool2d(x, 8)
        mean = torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)
        return SimpleNamespace(
            latent_dist=SimpleNamespace(mean=mean, std=torch.full_like(mean, 0.25))
        )


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(90):
            pixels = draw.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i:03d}.png")
    return tmp_path


def words(folder, out, *others):
    own = [
        f"pictures={folder / 'pictures'}",
        f"out={folder / out}",
        "vae=x",
        "size=16",
        "heldout=0.1",
        "workers=0",
    ]
    return last_of_each([*own, *others])


def test_adm_crop_halves_by_averaging_then_takes_the_centre():
    pixels = np.random.default_rng(1).integers(0, 256, (32, 36, 3), dtype=np.uint8)
    halved = pixels.reshape(16, 2, 18, 2, 3).mean(axis=(1, 3))
    assert np.abs(adm_crop(Image.fromarray(pixels), 16) - halved[:, 1:17]).max() <= 1, (
        "but for rounding, once an axis"
    )
    grey = Image.fromarray(np.full((40, 24), 77, np.uint8))
    assert adm_crop(grey, 16).shape == (16, 16, 3) and (adm_crop(grey, 16) == 77).all()


def test_latents_are_what_the_data_reads_and_an_interrupted_start_goes_on(folder, monkeypatch):
    monkeypatch.setattr("bench.core.data.latents.Decoder.load", lambda self: StandInVAE())
    assert LATENTS.main(words(folder, "whole")) == 0
    data = LatentData("imagenet256", str(folder / "whole"), 1, 1000, "x")
    assert (data.n_train, data.n_heldout) == (162, 18) and data.grid.shape == (2, 2)
    pictures = data.images("train", torch.arange(5)).double() / 127.5 - 1
    expected = pictures.reshape(5, 3, 2, 8, 2, 8).mean(dim=(3, 5))
    mean, std = (
        data.grid.unpatchify(data.moments("train", torch.arange(5))[:, 0]),
        data.moments("train", [0])[:, 1],
    )
    torch.testing.assert_close(mean[:, :3].double(), expected, rtol=0, atol=1e-5)
    assert (std == 0.25).all() and set(data.labels("train", slice(None)).tolist()) == {0, 1}
    original = Image.open(sorted((folder / "pictures" / "a").iterdir())[-1])
    assert any(
        np.array_equal(np.asarray(original)[:, 2:18].transpose(2, 0, 1), p)
        for p in data.images("train")
    )

    monkeypatch.setattr(
        "bench.core.data.encode.BLOCK_OF_PICTURES", 1
    )  # progress is written after 64 blocks
    monkeypatch.setattr(
        "bench.core.data.latents.Decoder.load", lambda self: StandInVAE(fails_after=100)
    )
    assert (
        guarded(LATENTS.main, words(folder, "cut")) == 130
        and not (folder / "cut" / "train").exists()
    )
    monkeypatch.setattr(
        "bench.core.data.latents.Decoder.load", lambda self: StandInVAE(fails_after=162 + 18 - 64)
    )
    assert LATENTS.main(words(folder, "cut", "workers=1")) == 0
    for file in (
        "train/moments.npy",
        "train/images.npy",
        "train/labels.npy",
        "heldout/moments.npy",
    ):
        assert (folder / "cut" / file).read_bytes() == (folder / "whole" / file).read_bytes()


def test_a_finished_split_of_other_settings_is_refused(folder, monkeypatch, capsys):
    monkeypatch.setattr("bench.core.data.latents.Decoder.load", lambda self: StandInVAE())
    assert (
        guarded(LATENTS.main, words(folder, "out")) == 0
        and guarded(LATENTS.main, words(folder, "out")) == 0
    )
    assert guarded(LATENTS.main, words(folder, "out", "size=32")) == 2
    assert "was made from" in capsys.readouterr().err
    assert guarded(LATENTS.main, words(folder, "other", "heldout=nan")) == 2
    assert "heldout=nan is outside (0, 1)" in capsys.readouterr().err


def test_bad_input_is_one_sentence(folder, monkeypatch, capsys):
    monkeypatch.setattr("bench.core.data.latents.Decoder.load", lambda self: StandInVAE())
    cases = {
        "there is no key 'picture'; did you mean pictures": ["picture=x"],
        "out=DIR, vae=DIR missing": ["pictures=x"],
        "size=20 must be a multiple of 8": words(folder, "out", "size=20"),
        "images=maybe is neither true nor false": words(folder, "out", "images=maybe"),
        "workers=many is not a whole number": words(folder, "out", "workers=many"),
        "holds no pictures": ["pictures=" + str(folder / "pictures" / "a"), "out=x", "vae=x"],
    }
    for said, given in cases.items():
        assert guarded(LATENTS.main, given) == 2 and said in capsys.readouterr().err
    (folder / "pictures" / "b" / "004.png").write_bytes(b"no picture")
    assert (
        guarded(LATENTS.main, words(folder, "out")) == 2
        and "004.png cannot be read" in capsys.readouterr().err
    )
