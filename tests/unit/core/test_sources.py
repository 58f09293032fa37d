"""Labelled pictures in tars and parquet: splits, labels, pixels, and what cannot be used."""

import json

import numpy as np
import pytest
from PIL import Image
from support.tars import as_png, write_tar

from bench.core.data.sources import LabelledPictures, find_pictures


def examples(count, first=0):
    """(key, picture, label) of a few."""
    pixels = np.random.default_rng(first).integers(0, 256, (count, 16, 20, 3), dtype=np.uint8)
    return [
        (f"n0/{first + i:04d}", Image.fromarray(pixels[i]), (first + i) % 3) for i in range(count)
    ]


def same_pixels(split, wanted):
    assert split.labels.tolist() == [label for *_, label in wanted]
    for i, (_, image, _) in enumerate(wanted):
        assert np.array_equal(np.asarray(split.read(i, 16)), np.asarray(image))


def test_tars_hold_pictures_beside_their_labels(tmp_path):
    parts = [examples(4), examples(5, 4), examples(3, 20)]
    for number, part in enumerate(parts[:2]):
        write_tar(
            tmp_path / f"imagenet-train-{number:04d}.tar",
            [
                one
                for key, image, label in part
                for one in (
                    (f"{key}.png", as_png(image)),
                    (f"{key}.cls", str(label).encode()),
                    (f"{key}.json", b'{"width": 20}'),
                )
            ],
        )
    labelled = [
        one
        for key, image, label in parts[2]
        for one in (
            (f"{key}.json", json.dumps({"label": label}).encode()),
            (f"{key}.PNG", as_png(image)),
        )
    ]
    write_tar(tmp_path / "val" / "0000.tar", labelled)
    write_tar(tmp_path / "test-0.tar", [("1.png", as_png(parts[0][0][1]))])
    splits, found = find_pictures(tmp_path, 0.1)
    assert found == (
        "12 pictures of 3 classes in 4 file(s) (9 training, 3 held out); "
        "not used: test, which has no labels; held out is val"
    )
    same_pixels(splits["train"], parts[0] + parts[1])
    same_pixels(splits["heldout"], parts[2])
    splits["train"].save(tmp_path / "plan.npz")
    again = type(splits["train"]).load(tmp_path / "plan.npz", tmp_path)
    assert again.digest() == splits["train"].digest() != splits["heldout"].digest()

    # what cannot be used
    write_tar(
        tmp_path / "imagenet-train-0001.tar", [("n0/9.png", b"no picture"), ("n0/9.cls", b"1")]
    )
    splits, _ = find_pictures(tmp_path, 0.1)
    with pytest.raises(ValueError, match=r"imagenet-train-0001\.tar/n0/9\.png cannot be read"):
        splits["train"].read(4, 16)
    write_tar(tmp_path / "imagenet-train-0001.tar", [("9.png", b"x"), ("9.cls", b"cat")])
    with pytest.raises(ValueError, match=r"0001\.tar: label cat is no whole number"):
        find_pictures(tmp_path, 0.1)
    write_tar(tmp_path / "imagenet-train-0001.tar", [("9.png", b"x")])
    with pytest.raises(ValueError, match="1 training pictures have no label"):
        find_pictures(tmp_path, 0.1)
    (tmp_path / "imagenet-train-0001.tar").write_bytes(b"no tar" * 400)
    with pytest.raises(ValueError, match=r"imagenet-train-0001\.tar cannot be read"):
        find_pictures(tmp_path, 0.1)
    write_tar(tmp_path / "more.tar", [])
    with pytest.raises(ValueError, match=r"more\.tar says not of which split it is"):
        find_pictures(tmp_path, 0.1)


def test_a_share_of_tars_without_splits_is_held_out(tmp_path):
    members = [
        one
        for key, image, label in examples(30)
        for one in ((f"{key}.png", as_png(image)), (f"{key}.cls", str(label).encode()))
    ]
    write_tar(tmp_path / "000.tar", members)
    splits, found = find_pictures(tmp_path, 0.2)
    assert found == "30 pictures of 3 classes in 1 file(s) (24 training, 6 held out)"
    assert np.bincount(splits["heldout"].labels).tolist() == [2, 2, 2]


def test_parquet_holds_pictures_as_hugging_face_writes_them(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="the optional extra parquet")
    from pyarrow import parquet

    def write(name, part, label="label"):
        images = [{"bytes": as_png(image), "path": f"{key}.png"} for key, image, _ in part]
        columns = {"image": images, label: [number for *_, number in part]}
        parquet.write_table(pa.table(columns), tmp_path / name, row_group_size=4)

    parts = [examples(7), examples(3, 7), examples(3, 20)]
    write("train-00000-of-00002.parquet", parts[0])
    write("train-00001-of-00002.parquet", parts[1])
    write("validation-00000-of-00001.parquet", parts[2], label="fine")
    write("test-00000-of-00001.parquet", [(key, image, -1) for key, image, _ in parts[2]])
    splits, found = find_pictures(tmp_path, 0.1)
    assert "10 training, 3 held out" in found and "held out is validation" in found
    same_pixels(splits["train"], parts[0] + parts[1])
    same_pixels(splits["heldout"], parts[2])

    # what cannot be used
    spoilt = pa.table({"image": [b"cut"] * 4, "label": [1, 1, 0, 0]})
    parquet.write_table(spoilt, tmp_path / "train-2.parquet")
    splits, _ = find_pictures(tmp_path, 0.1)
    with pytest.raises(ValueError, match=r"train-2\.parquet/row 1 of row group 0 cannot be read"):
        splits["train"].read(11, 16)
    two = pa.table({"a": [b"x"], "b": [b"x"], "label": [1]})
    parquet.write_table(two, tmp_path / "train-3.parquet")
    with pytest.raises(ValueError, match="has the columns a, b, label: expected one of pictures"):
        find_pictures(tmp_path, 0.1)


def test_some_of_the_examples_keep_their_texts_and_come_back_from_a_file(tmp_path):
    n, words = 4, ("a ball", "eine Kugel", "två", "")
    places = np.arange(2 * n).reshape(n, 2)
    whole = LabelledPictures(tmp_path, "file", ["x"], np.zeros(n, int), places, np.arange(n), words)
    for rows in (np.array([2, 0]), np.array([True, False, True, False])):
        some = whole.at(rows)
        assert list(some.texts) == [words[i] for i in np.arange(n)[rows]]
        assert some.labels.tolist() == np.arange(n)[rows].tolist()
        assert some.digest() != whole.digest()
    whole.save(tmp_path / "list.npz")
    again = LabelledPictures.load(tmp_path / "list.npz", tmp_path)
    assert list(again.texts) == list(words) and again.digest() == whole.digest()
