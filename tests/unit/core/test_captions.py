"""Pictures with captions: which are held out, tars as folders, labels, and bad captions."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.tars import as_png, write_tar

from bench.core.data.captions import Captions, kinds
from bench.core.data.pictures import part_of_file

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def png(colour):
    return as_png(Image.new("RGB", (10, 10), colour))


def members():
    """{name: content} of 36 pictures with 18 captions, each of two pictures."""
    out = {}
    for i in range(36):
        name, colour = list(COLOURS.items())[i % 3]
        out[f"{i:02d}.png"] = png(colour)
        out[f"{i:02d}.txt"] = f"a {name} sheet, kind {i % 18}\nsecond line".encode()
    return out


def folder(root, content):
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def data(root, **changes):
    given = {"size": 8, "patch": 4, "length": 32, "heldout": 0.25}
    return Captions("captions", str(root), **(given | changes))


def test_no_caption_is_in_both_splits_and_each_is_told_as_its_bytes(tmp_path):
    made = data(folder(tmp_path, members()))
    train, held = (set(made.texts[split]) for split in ("train", "heldout"))
    assert not train & held and len(train | held) == 18
    assert (made.n_train, made.n_heldout) == (28, 8)
    assert made.condition.decode(made.conditions("heldout")) == list(made.texts["heldout"])
    assert made.prompts.texts == tuple(made.texts["heldout"])
    for split in ("train", "heldout"):
        for i, text in enumerate(made.texts[split]):
            colour = torch.tensor(COLOURS[text.split()[1]], dtype=torch.uint8)
            assert torch.equal(made.images(split, slice(i, i + 1))[0, :, 4, 4], colour)
    assert made.remarks[1] == "the first line of each caption file is read; 36 have more"


def test_a_tar_is_read_as_a_folder_is(tmp_path):
    plain = data(folder(tmp_path / "plain", members()))
    (tmp_path / "tars").mkdir()
    content = list(members().items())
    write_tar(tmp_path / "tars" / "0.tar", content[:40])
    write_tar(tmp_path / "tars" / "1.tar", content[40:])
    packed = data(tmp_path / "tars", cache=tmp_path / "cache")
    assert packed.texts == plain.texts and packed.fingerprint == plain.fingerprint
    again = data(tmp_path / "tars", cache=tmp_path / "cache")
    assert torch.equal(again.images("train"), plain.images("train"))
    assert part_of_file(tmp_path / "tars" / "0.tar", 0, 6) == b"00.png"


def test_a_split_of_its_own_is_kept_without_captions_that_training_has(tmp_path):
    content = {f"train/{name}": one for name, one in members().items()}
    for i, text in enumerate(("a red sheet, kind 0", "a red rag", "a blue rag")):
        content |= {f"test/{i}.png": png((i, i, i)), f"test/{i}.txt": text.encode()}
    made = data(folder(tmp_path, content))
    assert list(made.texts["heldout"]) == ["a red rag", "a blue rag"]


def test_pictures_named_as_splits_are_none_and_what_is_in_no_split_is_named(tmp_path):
    content = members() | {"train.png": png((1, 1, 1)), "train.txt": b"a train at a station"}
    content |= {"test.png": png((2, 2, 2)), "test.txt": b"a test of a train"}
    made = data(folder(tmp_path / "flat", content))
    assert made.n_train + made.n_heldout == 38, "all of them"
    split = {f"{part}/{name}": one for part in ("train", "val") for name, one in content.items()}
    with pytest.raises(ValueError, match=r"odd.png and 0 more are of no split"):
        data(
            folder(tmp_path / "odd", split | {"odd.png": png((3, 3, 3)), "odd.txt": b"an odd one"})
        )


def test_a_damaged_cache_is_named(tmp_path):
    root = folder(tmp_path / "pictures", members())
    data(root, cache=tmp_path / "cache")
    (stored,) = (tmp_path / "cache").glob("captions/*/train.npy")
    stored.write_bytes(stored.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cached pictures .* are damaged"):
        data(root, cache=tmp_path / "cache")


def test_kinds_are_the_frequent_words_that_tell_captions_apart():
    texts = ["a red owl"] * 5 + ["a red fox"] * 4 + ["a blue ape"] * 4 + ["a thing"]
    names, labels = kinds({"train": texts[:-1], "heldout": texts[-1:]})
    assert names == ("other", "ape", "fox", "owl")  # "a" and "red" are in more than half
    assert labels["train"].tolist() == [3] * 5 + [2] * 4 + [1] * 4
    names, labels = kinds({"train": ["owl", "ape"], "heldout": ["ox"]})
    assert names == ("a", "o") and labels["heldout"].tolist() == [1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"03.txt": b" \n"}, "03.txt: a caption is empty"),
        ({"03.txt": b"\xff\xfe"}, "03.txt is not UTF-8"),
        ({"03.txt": b"x" * 33}, r"has 33 bytes and 32 are read: .*data.length=32"),
        ({"03.txt": None}, r"03.png has no caption: write 03.txt beside it"),
        ({"03.png": b"no picture"}, "03.png cannot be read"),
    ],
)
def test_a_caption_that_cannot_be_used_is_named(tmp_path, change, said):
    content = {name: one for name, one in (members() | change).items() if one is not None}
    with pytest.raises(ValueError, match=said):
        data(folder(tmp_path / "plain", content))
    (tmp_path / "tars").mkdir()
    write_tar(tmp_path / "tars" / "0.tar", content.items())
    with pytest.raises(ValueError, match=said.partition(": write")[0]):
        data(tmp_path / "tars")


def test_what_cannot_be_split_or_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds 0 captioned pictures"):
        data(tmp_path)
    same = {name: b"the same" if name.endswith("txt") else one for name, one in members().items()}
    with pytest.raises(ValueError, match="of 1 different captions leaves none"):
        data(folder(tmp_path, same))
    (tmp_path / "x.tar").write_bytes(np.zeros(100, np.uint8).tobytes() + b"x")
    with pytest.raises(ValueError, match=r"x\.tar cannot be read"):
        data(tmp_path)
