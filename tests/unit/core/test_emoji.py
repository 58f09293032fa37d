"""Emoji of a package as it is unpacked: names, tones, what is held out, one sentence for what is
missing, and the package itself through a stand-in for npm.
"""

import json
import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from bench.commands.prepare import stage
from bench.core.data.emoji import PACKAGE, Emoji, drawn

TONES = ("1F3FB", "1F3FF", "1F3FB-1F3FE")


def unpacked(root, count=20):
    """A package of `count` emoji; every fourth has three tones."""
    folder, listed = root / "package" / "img" / "twitter" / "64", []
    folder.mkdir(parents=True)

    def image(name, colour):
        Image.new("RGBA", (64, 64), colour).save(folder / name)
        return {"image": name, "has_img_twitter": True}

    for i in range(count):
        entry = image(f"{i}.png", (10 * i, 0, 0, 255))
        entry |= {"name": f"WAVING HAND {i}", "category": ("Hands", "Flags")[i % 2]}
        if i % 4 == 0:
            variations = {code: image(f"{i}-{code}.png", (0, 9 * i, 255, 255)) for code in TONES}
            entry["skin_variations"] = variations
        listed.append(entry)
    listed.append(image("tone.png", "white") | {"name": "TONE", "category": "Component"})
    (root / "package" / "emoji.json").write_text(json.dumps(listed), encoding="utf-8")
    return root


def emoji(root, **changes):
    settings = {"size": 16, "patch": 2, "tones": True, "length": 64, "heldout": 0.2}
    cache = changes.pop("cache", None)
    return Emoji("emoji", root and str(root), **(settings | changes), cache=cache)


def test_names_are_told_and_an_emoji_is_held_out_with_its_tones(tmp_path):
    root = unpacked(tmp_path)
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        data = emoji(root, cache=cache)
        assert (data.n_train + data.n_heldout, tuple(data.class_names)) == (35, ("Flags", "Hands"))
    texts = [*data.texts["train"], *data.texts["heldout"]]
    assert {"waving hand 3", "waving hand 4", "waving hand 4, dark skin tone"} <= set(texts)
    assert "waving hand 4, light and medium-dark skin tone" in texts and "tone" not in texts
    bare = {split: {text.partition(",")[0] for text in of} for split, of in data.texts.items()}
    assert len(bare["heldout"]) == 4 and not bare["train"] & bare["heldout"]
    # each picture is that of its text
    for split, of in data.texts.items():
        for text, picture, label in zip(of, data.images(split), data.labels(split), strict=True):
            number = int(text.partition(",")[0].split()[-1])
            colour = [0, 9 * number, 255] if "tone" in text else [10 * number, 0, 0]
            assert picture[:, 8, 8].tolist() == colour and label == 1 - number % 2
    assert emoji(root, tones=False).n_train == 16
    rows = data.conditions("train", torch.tensor([0]))
    assert bytes(rows[0][rows[0] < 256].tolist()).decode() == data.texts["train"][0]


def test_pictures_lie_on_white(tmp_path):
    clear = np.zeros((64, 64, 4), np.uint8)
    clear[:32] = (200, 100, 0, 255)
    Image.fromarray(clear).save(tmp_path / "half.png")
    picture = drawn(tmp_path / "half.png", 16)
    assert picture.shape == (3, 16, 16) and picture.dtype == torch.uint8
    assert picture[:, 2, 5].tolist() == [200, 100, 0] and picture[:, 13, 5].tolist() == [255] * 3


def test_what_cannot_be_used_is_said(tmp_path):
    missing = r"has no emoji\.json: python -m bench\.prepare data=emoji .* data\.root=DIR"
    for given in ({"root": tmp_path / "none"}, {"root": None, "cache": tmp_path}):
        with pytest.raises(ValueError, match=missing):
            emoji(**given)
    root = unpacked(tmp_path / "emoji")
    with pytest.raises(ValueError, match=r"data=emoji: .*data\.length=8"):
        emoji(root, length=8)
    with pytest.raises(ValueError, match=r"data\.heldout=0\.01 of 20 different emoji leaves none"):
        emoji(root, heldout=0.01)
    picture = next((root / "package" / "img" / "twitter" / "64").glob("1*.png"))
    picture.write_bytes(picture.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"cannot be read .* unpack it again"):
        emoji(root)
    (root / "package" / "emoji.json").write_text('[{"name": "A"}]', encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not that of emoji-datasource-twitter 16\.0\.0"):
        emoji(root)


def prepared(cache, **changes):
    asked = {"encoder": (), "metrics": (), "inception": False, "reference": None, "vae": None}
    asked |= {"text": None, "dry_run": False, "overrides": ["data=emoji"]}
    return stage(**(asked | changes), cache=cache)


def test_bench_prepare_fetches_the_package_with_npm(tmp_path, monkeypatch, capsys):
    root = unpacked(tmp_path / "made")
    (root / "package" / "README.md").write_text("of no use")
    with tarfile.open(tmp_path / "whole.tgz", "w:gz") as file:
        file.add(root / "package", "package")
    tools = tmp_path / "bin"
    tools.mkdir()
    npm = tools / "npm"
    npm.write_text(f"#!/bin/sh\n[ $1 = pack ] && cp {tmp_path / 'whole.tgz'} ./one.tgz\n")
    npm.chmod(0o755)
    cache = tmp_path / "cache"
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert prepared(cache, dry_run=True) == 1
    assert "npm pack emoji-datasource-twitter@16.0.0" in capsys.readouterr().out
    assert prepared(cache) == 0
    assert not (PACKAGE.place(cache) / "package" / "README.md").exists()
    assert emoji(None, cache=cache).n_train == emoji(root).n_train
    npm.write_text("#!/bin/sh\necho no such package >&2; exit 1\n")
    assert prepared(cache) == 0, "it is there"
    assert prepared(tmp_path / "other") == 1
    assert "failed (no such package); elsewhere: npm pack" in capsys.readouterr().out
    with pytest.raises(ValueError, match="what should be staged"):
        prepared(cache, overrides=["data=digits"])
