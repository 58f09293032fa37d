"""Pictures in memory are decoded once and kept; CIFAR-10 at any size."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from bench.config.compose import compose
from bench.config.groups import build
from bench.core.data import folder as module


@pytest.fixture
def pictures(tmp_path):
    draw = np.random.default_rng(0)
    for split, n in (("train", 3), ("test", 2)):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / split / name / f"{i}.png")
    return tmp_path / "set"


def cifar(root, cache, *words):
    return build(compose([f"data.root={root}", *words]).data, cache=cache)


def test_the_second_reader_decodes_nothing_and_sees_the_same(pictures, tmp_path, monkeypatch):
    first = cifar(pictures, tmp_path / "cache", "data=cifar10_16")
    decoded = []
    monkeypatch.setattr(module, "decode", lambda *args: decoded.append(args))
    second = cifar(pictures, tmp_path / "cache", "data=cifar10_16", "data.patch=2")
    for split in ("train", "heldout"):
        assert torch.equal(first.images(split), second.images(split))
    assert not decoded and first.images("train").shape == (6, 3, 16, 16)
    assert first.images("train").dtype == torch.uint8
    assert first.grid.tokens == 16 and second.grid.tokens == 64


def test_a_picture_that_was_mended_or_another_size_is_decoded_anew(pictures, tmp_path):
    cache = tmp_path / "cache"
    before = cifar(pictures, cache, "data=cifar10_16").images("train")
    file = pictures / "train" / "a" / "0.png"
    size, old = file.stat().st_size, file.read_bytes()
    other = (pictures / "train" / "a" / "1.png").read_bytes()
    file.write_bytes(other[:size].ljust(size, b"\0"))  # of the same size
    os.utime(file, ns=(1, 1))
    after = cifar(pictures, cache, "data=cifar10_16").images("train")
    assert torch.equal(after[0], after[1]) and not torch.equal(after[0], before[0])
    file.write_bytes(old)
    whole = cifar(pictures, cache, "data=cifar10", "data.patch=4")
    assert whole.images("train").shape == (6, 3, 32, 32) and whole.grid.tokens == 64


def test_a_damaged_cache_is_named_and_none_is_needed(pictures, tmp_path):
    cache = tmp_path / "cache"
    want = cifar(pictures, cache, "data=cifar10_16").images("train")
    (file,) = cache.rglob("train.npy")
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="delete that folder"):
        cifar(pictures, cache, "data=cifar10_16")
    shutil.rmtree(cache)
    assert torch.equal(cifar(pictures, None, "data=cifar10_16").images("train"), want)


def test_half_the_size_is_close_to_the_mean_of_two_by_two():
    # of a smooth picture, where every antialiased filter agrees
    ramp = torch.arange(32.0) * 7
    picture = ramp.expand(1, 3, 32, 32).round().to(torch.uint8)
    found = module.resized(picture, 16).float()
    mean = torch.nn.functional.avg_pool2d(picture.float(), 2)
    assert (found - mean)[..., 2:-2, 2:-2].abs().max() <= 1
