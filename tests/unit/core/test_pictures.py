"""Which files are pictures and how they are read, the same for training, reference folders and
latents; and which folders are splits.
"""

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.data.base import Digits, described
from bench.core.data.folder import FolderData, decode
from bench.core.data.originals import adm_crop
from bench.core.data.pictures import list_pictures, picture_size, read_picture, readable
from bench.core.data.splits import find_layout
from probes.distances.images import FolderImages


def save(path, grey=0, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(path, **options)


def classes_in(root, names="ab", pictures=4):
    for number, name in enumerate(names):
        for i in range(pictures):
            save(root / name / f"{i}.png", 20 * number + i)


def data_of(root, **changes):
    settings = {"size": 8, "patch": 2, "heldout": 0.5, "skip_damaged": False, "in_memory": True}
    return FolderData("folder", str(root), **(settings | changes))


def three_readings(path):
    """uint8 [3, 8, 8] each: as training, a reference folder and the latents read a picture."""
    reference = next(FolderImages(path.parent).batches(1))[0]
    latents = torch.from_numpy(adm_crop(read_picture(path, 8), 8).copy()).permute(2, 0, 1)
    return [decode(path, 8), reference, latents]


# Decoding -----------------------------------------------------------------------------------------


def kinds_of_pictures(folder):
    """{file: (what it should be in eight bits [8, 8, 3])} of each kind that was read by unlike
    rules.
    """
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    eight = np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], 3, axis=2)
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(deep).save(folder / "deep.tiff")
    (folder / "deep.pgm").write_bytes(b"P5 8 8 65535\n" + deep.astype(">u2").tobytes())
    row = np.zeros((8, 8, 3), np.uint8)
    row[0] = 255  # orientation 6: the camera was turned, the upper edge is the right one
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("turned.png", "turned.tif", "turned.webp"):
        lossless = {"lossless": True} if name.endswith("webp") else {}
        Image.fromarray(row).save(folder / name, exif=exif, **lossless)
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 51))  # a fifth of black on white
    half.save(folder / "alpha.png")
    half.save(folder / "alpha.webp", lossless=True)
    Image.new("LA", (8, 8), (0, 51)).save(folder / "grey_alpha.png")
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30, 0, 0, 0])
    palette.save(folder / "palette.png")
    palette.save(folder / "clear.png", transparency=0)
    palette.save(folder / "clear.gif", transparency=0)
    # its first number is transparent: a chunk of its own, which Pillow did not always write
    chunk = b"tRNS" + struct.pack(">H", deep[0, 0])
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    whole = (folder / "deep.png").read_bytes()
    at = whole.index(b"IDAT") - 4
    (folder / "clear_deep.png").write_bytes(whole[:at] + chunk + whole[at:])
    Image.new("1", (8, 8), 1).save(folder / "bits.png")
    white, turned = np.full((8, 8, 3), 255, np.uint8), np.rot90(row, -1)
    without_corner = eight.copy()
    without_corner[0, 0] = 255
    return {
        **dict.fromkeys(("deep.png", "deep.tiff", "deep.pgm"), eight),
        **dict.fromkeys(("turned.png", "turned.tif", "turned.webp"), turned),
        **dict.fromkeys(("alpha.png", "alpha.webp", "grey_alpha.png"), white // 5 * 4),
        **dict.fromkeys(("clear.png", "clear.gif", "bits.png"), white),
        "palette.png": np.broadcast_to(np.uint8([10, 20, 30]), (8, 8, 3)),
        "clear_deep.png": without_corner,
    }


def test_all_readers_read_every_kind_alike(tmp_path):
    (tmp_path / "all").mkdir()
    for name, expected in kinds_of_pictures(tmp_path / "all").items():
        alone = tmp_path / name
        alone.mkdir()
        (tmp_path / "all" / name).rename(alone / name)
        for reading in three_readings(alone / name):
            assert np.array_equal(reading.permute(1, 2, 0).numpy(), expected), name


def test_cmyk_is_what_its_inks_leave(tmp_path):
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cyan.jpg", quality=100)
    for reading in three_readings(tmp_path / "cyan.jpg"):
        found = reading.float().mean(dim=(1, 2))
        torch.testing.assert_close(found, torch.tensor([0.0, 255.0, 255.0]), atol=3, rtol=0)


def test_sizes_are_those_of_the_picture_as_it_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    for suffix in ("jpg", "png", "tif", "webp"):
        save(tmp_path / f"turned.{suffix}", size=(12, 8), exif=exif)
        save(tmp_path / f"plain.{suffix}", size=(12, 8))
        for name, size in (("turned", (8, 12)), ("plain", (12, 8))):
            path = tmp_path / f"{name}.{suffix}"
            assert picture_size(path) == read_picture(path).size == size, path.name


@pytest.mark.parametrize("kind", ["limit", "cut", "float", "text", "postscript"])
def test_every_reader_names_what_it_cannot_read(tmp_path, kind):
    path = tmp_path / "it.png"
    if kind == "limit":
        Image.new("1", (20_000, 20_000)).save(path)
    elif kind == "cut":
        pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        path.write_bytes(path.read_bytes()[:-60])
    elif kind == "float":
        path = tmp_path / "it.tif"
        Image.fromarray(np.ones((8, 8), np.float32)).save(path)
    elif kind == "text":
        path.write_text("no picture")
    else:  # Pillow would start Ghostscript
        Image.new("RGB", (8, 8)).save(path, format="EPS")
    names = rf"it\.\w+ cannot be read \(.*{'exceeds limit' if kind == 'limit' else ''}"
    readers = [lambda: decode(path, 8), lambda: read_picture(path, 8)]
    readers += [lambda: list(FolderImages(tmp_path).batches(1))]
    readers += [FolderImages(tmp_path).check_sizes] if kind in ("limit", "text") else []
    for reader in readers:
        with pytest.raises(ValueError, match=names):
            reader()


PEAK = """
import sys
from pathlib import Path
from bench.core.data.originals import adm_crop
from bench.core.data.folder import decode
from bench.core.data.pictures import read_picture
path = Path(sys.argv[1])
print(decode(path, 16).float().mean().item(), adm_crop(read_picture(path, 16), 16).mean())
print(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_very_large_jpeg_is_never_whole_in_memory(tmp_path):
    """13,000 x 13,000: 676 MB as Pillow holds it, 2 GB as floats."""
    gradient = Image.linear_gradient("L").resize((13_000, 13_000)).convert("RGB")
    gradient.save(tmp_path / "large.jpg", quality=60)
    del gradient
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "large.jpg")],
        capture_output=True,
        text=True,
        check=True,
    )
    *means, peak = map(float, done.stdout.split())
    assert means == pytest.approx([127.5, 127.5], abs=2)
    assert peak < 0.8e6, "KB, of which torch takes 0.3e6"


def test_many_classes_are_described_by_the_first_and_the_last(tmp_path):
    classes_in(tmp_path, [f"c{i:02d}" for i in range(12)], pictures=2)
    assert "24 pictures of 12 classes: c00, c01, c02, c03, c04, c05, c06, c07, c08, ..., c11 (" in (
        described(data_of(tmp_path))
    )
    assert "1797 pictures of 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 (1197" in described(
        Digits("digits", 2)
    )


def test_reduced_pictures_are_those_read_whole(tmp_path, monkeypatch):
    """By either way, JPEG's own and averaging; the threshold lowered."""
    gradient = Image.linear_gradient("L").resize((1000, 800)).convert("RGB")
    for name in ("it.jpg", "it.png"):
        gradient.save(tmp_path / name, quality=95)
        whole = decode(tmp_path / name, 16).float()
        monkeypatch.setattr("bench.core.data.pictures.LARGE", 1000)
        assert read_picture(tmp_path / name, 16).width < 200
        reduced = decode(tmp_path / name, 16).float()
        monkeypatch.undo()
        assert (reduced - whole).abs().max() <= 2, name
        assert (reduced - whole).mean().abs() < 0.5, name


# Listing ------------------------------------------------------------------------------------------


def test_hidden_copies_are_no_pictures_at_any_level(tmp_path):
    classes_in(tmp_path)
    for hidden in (
        "a/.ipynb_checkpoints/0-checkpoint.png",
        "a/deep/.cache/x.png",
        "a/._0.png",
        "a/@eaDir/0.png",
        "__MACOSX/a/0.png",
        "__MACOSX/a/._0.png",
        ".git/x.png",
    ):
        save(tmp_path / hidden)
    data = data_of(tmp_path)
    assert data.class_names == ["a", "b"] and data.n_train + data.n_heldout == 8
    assert len(FolderImages(tmp_path)) == 8
    hidden_root = tmp_path / ".git"
    assert len(FolderImages(hidden_root)) == 1, "what the user names is read"


def test_other_files_are_counted_and_said(tmp_path):
    classes_in(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "drawing.eps")
    (tmp_path / "labels.CSV").write_text("")
    (tmp_path / "README").write_text("")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    save(tmp_path / "beside.JPG")
    data = data_of(tmp_path)
    assert (data.n_train, data.n_heldout) == (4, 4)
    assert described(data) == (
        "8 pictures of 2 classes: a, b (4 training, 4 held out); 1 picture(s) beside the class "
        "folders are left out; other files: 1 .csv, 1 .eps, 1 that is no plain file, 1 without a "
        "suffix"
    )
    assert len(FolderImages(tmp_path)) == 9


def test_links_are_followed_once_and_loops_named(tmp_path):
    root, far = tmp_path / "root", tmp_path / "far"
    classes_in(root, "a")
    classes_in(far, ["linked", "more"])
    (root / "b").symlink_to(far / "linked")
    (root / "a" / "more").symlink_to(far / "more")
    (root / "a" / "again").symlink_to(far / "more")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "further_up").symlink_to(tmp_path)
    (root / "b_twin.png").symlink_to(root / "a" / "0.png")
    listing = list_pictures(root)
    names = [str(path.relative_to(root)) for path in listing.paths]
    inside = [f"{folder}/{i}.png" for folder in ("a", "a/again", "b") for i in range(4)]
    assert names == sorted(inside) and listing.linked
    said = "\n".join(listing.remarks)
    for link, what in (
        ("a/up", "leads back up to"),
        ("a/further_up", "leads back up to"),
        ("a/more", "again: not followed"),
        ("b_twin.png", "again: left out"),
    ):
        assert f"{root / link} " in said and what in said
    assert len(listing.remarks) == 4
    assert data_of(root).class_names == ["a", "b"] and len(FolderImages(root)) == 12


def test_a_link_to_a_folder_does_not_take_its_place(tmp_path):
    classes_in(tmp_path, ["b"])
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert {path.parent.name for path in list_pictures(tmp_path).paths} == {"b"}
    with pytest.raises(ValueError, match=r"class folder\(s\) a hold no pictures.*leads to .*again"):
        data_of(tmp_path)


def test_a_folder_that_links_into_itself_through_another_ends(tmp_path):
    classes_in(tmp_path / "x", ["a"])
    classes_in(tmp_path / "y", ["b"])
    (tmp_path / "x" / "a" / "to_y").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "b" / "to_x").symlink_to(tmp_path / "x")
    assert len(list_pictures(tmp_path / "x").paths) == 8


@pytest.mark.parametrize("target", ["nowhere.png", "link.png"])
def test_a_link_to_nothing_is_named(tmp_path, target):
    classes_in(tmp_path)
    (tmp_path / "a" / "link.png").symlink_to(tmp_path / "a" / target)
    for read in (data_of, FolderImages):
        with pytest.raises(ValueError, match=r"a/link\.png is a link to nothing"):
            read(tmp_path)


def test_a_linked_picture_in_both_splits_is_refused(tmp_path):
    classes_in(tmp_path / "train")
    (tmp_path / "test").mkdir()
    classes_in(tmp_path / "test", "a")
    (tmp_path / "test" / "b").symlink_to(tmp_path / "train" / "b")
    with pytest.raises(ValueError, match=r"4 held-out picture\(s\) are training pictures too"):
        data_of(tmp_path)


def test_names_that_are_no_utf8_work(tmp_path, capsys):
    classes_in(tmp_path)
    odd = os.fsdecode(b"caf\xe9\x1b[31m.png")
    (tmp_path / "a" / "0.png").rename(tmp_path / "a" / odd)
    for in_memory in (True, False):
        data = data_of(tmp_path, in_memory=in_memory)
        assert len(data.fingerprints()["files"]) == 16 and len(data.images("train")) == 4
    assert len(FolderImages(tmp_path).fingerprint) == 16
    (tmp_path / "a" / odd).write_bytes(b"damaged")
    assert data_of(tmp_path, skip_damaged=True).n_train == 3
    said = capsys.readouterr().out
    assert r"caf\udce9\x1b[31m.png is damaged and left out" in said
    said.encode()
    assert readable("naïve 猫.png") == "naïve 猫.png"


def test_an_odd_class_name_is_described_without_its_control_characters(tmp_path):
    classes_in(tmp_path, ["a", os.fsdecode(b"caf\xe9\n\x1b[2J")])
    assert r"of 2 classes: a, caf\udce9\n\x1b[2J (" in described(data_of(tmp_path))


# Splits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "splits",
    [
        *("train test", "train val", "train valid", "train validation", "Train Test"),
        *("TRAIN VAL", "train dev", "training testing", "train eval", "train held_out"),
    ],
)
def test_both_splits_are_understood_by_their_names(tmp_path, splits):
    train, heldout = splits.split()
    classes_in(tmp_path / train)
    classes_in(tmp_path / heldout, pictures=2)
    for root in (tmp_path, tmp_path.parent):
        if root != tmp_path and len(list(root.iterdir())) > 1:
            continue
        data = data_of(root)
        assert (data.n_train, data.n_heldout, data.class_names) == (8, 4, ["a", "b"])


def test_a_data_set_one_folder_deeper_is_found_and_said(tmp_path):
    classes_in(tmp_path / "archive" / "cats" / "train")
    classes_in(tmp_path / "archive" / "cats" / "val")
    data = data_of(tmp_path / "archive")
    assert data.class_names == ["a", "b"] and "archive/cats" in described(data)


def test_one_split_alone_is_split_again_and_said(tmp_path):
    for name in ("train", "val"):
        classes_in(tmp_path / name / name)
        data = data_of(tmp_path / name)
        assert (data.n_train, data.n_heldout, data.class_names) == (4, 4, ["a", "b"])
        assert f"{name} is the only split: a share of it is held out" in described(data)


def test_of_several_held_out_splits_one_with_the_classes_is_taken_and_the_rest_said(tmp_path):
    for name in ("train", "val", "test"):
        classes_in(tmp_path / name)
    data = data_of(tmp_path)
    assert {path.relative_to(tmp_path).parts[0] for path in data.files["heldout"]} == {"test"}
    assert "not used: val" in described(data)
    for path in sorted((tmp_path / "test").rglob("*.png")):  # a test split without labels
        path.rename(tmp_path / "test" / f"{path.parent.name}{path.name}")
    for name in "ab":
        (tmp_path / "test" / name).rmdir()
    data = data_of(tmp_path)
    assert {path.relative_to(tmp_path).parts[0] for path in data.files["heldout"]} == {"val"}
    assert "held out is val; not used: test" in described(data)


def test_a_class_may_be_called_train(tmp_path):
    classes_in(tmp_path, ["bus", "car", "train"])
    assert data_of(tmp_path).class_names == ["bus", "car", "train"]


REFUSED = {
    "val/a val/b test/a test/b": r"holds test, val, which are neither .*data.root=\S*/test\)",
    "train/a train/b unlabeled/x": r"holds train, unlabeled, which .*data.root=\S*/train\)",
    "train/a train/b Train/a": "has Train, train: keep one of them",
    "train test": "holds test, train, and test, train has no class folders",
    "train/a train/b test": r"holds test, train, which .*data.root=\S*/train\)",
    "cat dog test": "holds cat, dog, test, and test has no class folders",
    "set/a set/b set/c": r"one folder, set, with a, b, c in it: .*data.root=\S*/set",
    "one/train/a one/test/a two/train/a two/test/a": "one, two has splits inside: name one",
    "bottle/train/a bottle/test/a nut/train/a nut/test/a screw/x": "bottle, nut has splits inside",
}


@pytest.mark.parametrize("folders", REFUSED)
def test_what_could_be_either_is_refused_with_what_was_found(tmp_path, folders):
    for folder in folders.split():
        for i in range(3):
            save(tmp_path / folder / f"{i}.png")
    with pytest.raises(ValueError, match=REFUSED[folders]):
        data_of(tmp_path)


def test_one_class_of_plain_pictures_is_one_class(tmp_path):
    classes_in(tmp_path, ["faces"])
    save(tmp_path / "faces" / "deeper" / "x.png")
    assert find_layout(tmp_path).train == tmp_path
    assert data_of(tmp_path).class_names == ["faces"]


def test_a_reference_folder_that_holds_both_splits_is_refused(tmp_path):
    classes_in(tmp_path / "Train")
    classes_in(tmp_path / "val")
    with pytest.raises(ValueError, match=r"holds the splits Train, val: name the one"):
        FolderImages(tmp_path)
    assert len(FolderImages(tmp_path / "val")) == 8
