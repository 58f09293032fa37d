"""Drawn words: what is held out, where a letter stands, and what cannot be drawn."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from bench.config.compose import compose
from bench.config.groups import build
from bench.core.data.words import Words, font_file, read_words

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def words(root=None, **changes):
    said = {
        "length": 3,
        "height": 12,
        "width": 24,
        "patch": 4,
        "count": 64,
        "heldout_words": 20,
        "fonts": ["DejaVuSans", "DejaVuSerif"],
        "heldout_fonts": ["DejaVuSansMono"],
    }
    return Words("words", root, **said | changes)


def test_words_and_fonts_are_held_out():
    data = words()
    train, unseen = (set(data.texts[split]) for split in ("train", "heldout"))
    assert not train & unseen and len(unseen) == data.n_heldout == 20 and data.n_train == 64
    again = data.drawn(data.texts["heldout"], np.full(20, 2))  # the third font is the held-out one
    in_new_font = [
        torch.equal(a, b) for a, b in zip(again, data.images("heldout")[:, :1], strict=True)
    ]
    assert in_new_font == [i % 2 == 1 for i in range(20)]
    seen = torch.stack([data.drawn(data.texts["train"], np.full(64, font)) for font in range(3)])
    of_font = (seen == data.images("train")[:, :1]).flatten(2).all(dim=2)
    assert of_font[:2].any(dim=0).all() and not of_font[2].any()


def test_words_alone_may_be_held_out():
    data = words(heldout_fonts=[])
    for split in ("train", "heldout"):
        texts = data.texts[split]
        seen = [data.drawn(texts, np.full(len(texts), font)) for font in range(2)]
        same = [(one == data.images(split)[:, :1]).flatten(1).all(dim=1) for one in seen]
        assert (same[0] | same[1]).all()


def test_the_same_words_are_drawn_again_and_told_as_bytes():
    data, again = words(), words()
    assert data.fingerprint == again.fingerprint != words(width=36).fingerprint
    assert data.condition.decode(data.conditions("train")) == data.texts["train"]
    assert data.prompts.texts == tuple(data.texts["heldout"])
    assert torch.equal(data.prompts.rows, data.conditions("heldout"))
    firsts = [data.class_names[i] for i in data.labels("heldout")]
    assert firsts == [word[0] for word in data.texts["heldout"]]
    assert data.grid.tokens == 18 and data.tokens("train").shape == (64, 18, 16)


def test_a_letter_stands_in_its_cell():
    data = words()
    drawn = data.drawn(["i", "ai", "aai"], np.zeros(3, np.int64))[:, 0]
    glyph = drawn[0, :, :8]
    assert drawn[0, :, 10:].max() == 0 and glyph.max() > 100, "an i is narrower than its cell"
    assert torch.equal(drawn[1, :, 10:16], glyph[:, 2:8])
    assert torch.equal(drawn[2, :, 18:24], glyph[:, 2:8])


def test_a_file_of_words_is_split_without_doubles(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("owl\nhen\nowl\ncat\n dog \nZoö\n", encoding="utf-8")
    assert read_words(path, 4) == ["owl", "hen", "cat", "dog", "Zoö"]
    data = words(str(path), length=4, width=32, heldout_words=2)
    assert set(data.texts["train"]) | set(data.texts["heldout"]) == {
        "owl",
        "hen",
        "cat",
        "dog",
        "Zoö",
    }
    assert data.n_train == 64 and data.n_heldout == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"owl\n\nhen\n", r"line 2 of .*empty"),
        (b"owl\n \t\nhen\n", r"line 2 of .*empty"),
        (b"owl\nh\xe9n\n", r"line 2 of .*not UTF-8"),
        (b"owl\nhen\ncrow\n", r"line 3 of .*has 4 bytes and 3 are read"),
        ("owl\nhén\n".encode(), r"line 2 of .*has 4 bytes"),
        (b"owl\nhen\n", r"leaves none for training"),
        (b"", r"leaves none for training"),
        ("owl\nhen\n日\ncat\n".encode(), r"font DejaVuSans has no glyph for '日'"),
    ],
)
def test_words_that_cannot_be_used_are_named(tmp_path, content, said):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        words(str(path), heldout_words=2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"root": "nowhere.txt"}, "is no file"),
        ({"fonts": ["Nothing"]}, "font Nothing is unknown"),
        ({"fonts": ["nothing.ttf"]}, "font nothing.ttf is unknown"),
        ({"fonts": []}, "needs a font"),
        ({"heldout_fonts": ["DejaVuSans"]}, "none that data.heldout_fonts has"),
        ({"fonts": ["STIXSizOneSymReg"]}, "font STIXSizOneSymReg has no glyph for 'a'"),
        ({"width": 25}, "is not 3 cells of equal width"),
        ({"length": 0}, "is not 0 cells"),
        ({"heldout_words": 1}, "must be 2 or more each"),
        ({"length": 1, "width": 8}, "leave too few for training"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        words(**changes)


def test_a_font_file_may_be_named(tmp_path):
    own = tmp_path / "own.ttf"
    own.write_bytes((FOLDER / "DejaVuSans.ttf").read_bytes())
    assert font_file(str(own)) == own
    of_file = words(fonts=[str(own), "DejaVuSerif"])
    assert torch.equal(of_file.images("train"), words().images("train"))
    own.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        words(fonts=[str(own)])


def test_the_recipe_asks_for_each_unseen_word_once():
    cfg = compose(["data=words"])
    data = build(cfg.data)
    assert cfg.evaluation.labels == "balanced" and "word_accuracy" in cfg.evaluation.metrics
    assert data.n_heldout == cfg.evaluation.samples and len(set(data.texts["heldout"])) == 256
