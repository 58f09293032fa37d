"""Folders of pictures: what is read, what is refused,
and that memory and disk give the same numbers.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import only_run, run_in_process, tiny_run

from bench.core.data.base import Digits, pictures_of, stratified_split
from bench.core.data.codecs import SCALE
from bench.core.data.folder import FolderData, decode
from bench.core.data.latents import LatentData
from bench.core.train.loading import batches


def folder_of(root, classes=3, pictures=6, size=(9, 7), suffixes=(".png", ".jpg", ".bmp")):
    draw = np.random.default_rng(0)
    for c in range(classes):
        (root / f"class{c}").mkdir(parents=True)
        for i in range(pictures):
            pixels = draw.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"class{c}" / f"{i}{suffixes[i % len(suffixes)]}")
    return root


def data_of(root, **changes):
    settings = {
        "name": "folder",
        "size": 8,
        "patch": 2,
        "heldout": 0.2,
        "skip_damaged": False,
        "in_memory": None,
    } | changes
    return FolderData(root=str(root) if root else None, **settings)


def test_a_folder_is_split_fixed_and_stratified(tmp_path):
    data = data_of(folder_of(tmp_path))
    assert (data.n_train, data.n_heldout, data.classes) == (14, 4, 3)
    assert set(data.labels("heldout").tolist()) == {0, 1, 2}
    again = data_of(tmp_path)
    assert again.fingerprint == data.fingerprint and torch.equal(
        again.images("train"), data.images("train")
    )
    assert not {*data.files["train"]} & {*data.files["heldout"]}
    assert data.tokens("train").shape == (14, 16, 12) and data.tokens("train").abs().max() <= 1
    assert torch.equal(
        pictures_of(data.decode(data.tokens("train")), "round_half_up")[0], data.images("train")
    )


def test_own_splits_are_kept(tmp_path):
    folder_of(tmp_path / "train", pictures=4)
    folder_of(tmp_path / "test", pictures=2)
    data = data_of(tmp_path)
    assert (data.n_train, data.n_heldout) == (12, 6)


def test_pictures_from_disk_equal_those_in_memory(tmp_path):
    folder_of(tmp_path)
    memory, disk = data_of(tmp_path, in_memory=True), data_of(tmp_path, in_memory=False)
    rows = torch.tensor([3, 0, 7])
    assert torch.equal(memory.images("train", rows), disk.images("train", rows))
    pieces = [slice(0, 2), slice(2, 4)]
    a = batches(memory, 0, 0, 16, 4, pieces, with_clean=True, workers=0)
    b = batches(disk, 0, 0, 16, 4, pieces, with_clean=True, workers=2)
    for one, two in zip(a, b, strict=True):
        pairs = [pair for pair in zip(one, two, strict=True) if pair != (None, None)]
        assert len(pairs) == 4 and all(torch.equal(x, y) for x, y in pairs)


def test_decoding_crops_the_centre(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert decode(tmp_path / "wide.png", 4).unique().tolist() == [200]


def test_sixteen_bits_orientation_and_unknown_ranges(tmp_path):
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(
        decode(tmp_path / "deep.png", 8)[1].numpy(), np.rint(deep / 257).astype(np.uint8)
    )
    turned = np.zeros((8, 8, 3), np.uint8)
    turned[0] = (
        255  # the upper edge; orientation 6 says that the camera was turned: it is the right edge
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned).save(tmp_path / "turned.png", exif=exif)
    upright = decode(tmp_path / "turned.png", 8)[0].numpy()
    assert (upright[:, -1] == 255).all() and not upright[:, :-1].any()
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "numbers.tiff")
    with pytest.raises(ValueError, match=r"numbers\.tiff cannot be read .*32-bit numbers"):
        decode(tmp_path / "numbers.tiff", 8)


def test_a_bomb_is_named_like_any_damage(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match=r"bomb\.png cannot be read .*skip_damaged=true"):
        decode(tmp_path / "bomb.png", 8)


def test_a_rare_class_is_on_both_sides(tmp_path):
    folder_of(tmp_path, classes=1, pictures=60)
    (tmp_path / "rare").mkdir()
    for i in range(2):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "rare" / f"{i}.png")
    data = data_of(tmp_path, heldout=0.1)
    train, heldout = data.labels("train").bincount(), data.labels("heldout").bincount()
    assert train.tolist()[1] == heldout.tolist()[1] == 1 and (train + heldout).tolist() == [60, 2]


@pytest.mark.parametrize("victim", range(6))
def test_any_one_damaged_picture_of_a_small_folder_can_be_left_out(tmp_path, victim):
    folder_of(tmp_path)
    (sorted((tmp_path / "class1").iterdir())[victim]).write_bytes(b"cut")
    data = data_of(tmp_path, skip_damaged=True, heldout=0.1)
    assert data.n_train + data.n_heldout == 17 and len(data.labels("heldout").unique()) == 3


def test_empty_and_unreadable_folders(tmp_path):
    with pytest.raises(ValueError, match="holds no pictures in class folders"):
        data_of(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        data_of(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="needs a folder"):
        data_of(None)
    folder_of(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"class folder\(s\) empty hold no pictures"):
        data_of(tmp_path)


def test_one_truncated_picture_is_named_and_skipped_only_if_allowed(tmp_path, capsys):
    folder_of(tmp_path)
    victim = tmp_path / "class1" / "1.jpg"
    victim.write_bytes(victim.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"class1/1\.jpg cannot be read.*skip_damaged=true"):
        data_of(tmp_path)
    data = data_of(tmp_path, skip_damaged=True)
    assert (
        data.n_train + data.n_heldout == 17
        and "class1/1.jpg is damaged and left out" in capsys.readouterr().out
    )
    disk = data_of(tmp_path, in_memory=False)
    split = "train" if victim in disk.files["train"] else "heldout"
    with pytest.raises(ValueError, match=r"class1/1\.jpg cannot be read"):
        disk.images(split)
    for path in (tmp_path / "class2").glob("*"):
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="picture of class class2 can be read"):
        data_of(tmp_path, skip_damaged=True)


def test_a_picture_that_is_cut_is_named_without_a_workers_traceback(tmp_path):
    for split in ("train", "test"):
        folder_of(tmp_path / split)
    (tmp_path / "train" / "class1" / "1.jpg").write_bytes(b"cut")
    data = data_of(tmp_path, in_memory=False)
    for workers in (0, 2):
        with pytest.raises(ValueError, match=r"^\S*class1/1\.jpg cannot be read"):
            list(batches(data, 0, 0, 36, 9, [slice(0, 9)], True, workers))


def test_a_run_may_go_on_from_disk_but_not_with_other_files(tmp_path, capsys):
    folder_of(tmp_path / "pictures", pictures=12)
    words = tiny_run(
        tmp_path / "runs",
        "data=folder",
        f"data.root={tmp_path / 'pictures'}",
        "data.size=8",
        "data.patch=2",
        "size=nano",
        "batch=8",
        "images=64",
        "log_images=64",
    )
    assert run_in_process([*words, "data.in_memory=true"]) == 0
    assert "data: 36 pictures of 3 classes: class0, class1, class2 (" in capsys.readouterr().out
    run = only_run(tmp_path / "runs")
    next(iter((run / "snapshots").glob("*64.safetensors"))).unlink()
    assert run_in_process([*words, "data.in_memory=false"]) == 0
    next(iter((run / "snapshots").glob("*64.safetensors"))).unlink()
    (tmp_path / "pictures" / "class0" / "0.png").rename(
        tmp_path / "pictures" / "class0" / "zero.png"
    )
    assert run_in_process(words) == 2
    assert "the files changed since" in capsys.readouterr().err


def test_a_class_with_one_picture_is_refused(tmp_path):
    folder_of(tmp_path)
    (tmp_path / "lonely").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "lonely" / "a.png")
    with pytest.raises(ValueError, match="class lonely has one picture"):
        data_of(tmp_path)


def test_unlike_class_folders_are_refused(tmp_path):
    folder_of(tmp_path / "train")
    folder_of(tmp_path / "test", classes=2)
    with pytest.raises(ValueError, match=r"unlike class folders \(class2\)"):
        data_of(tmp_path)


def test_digits_are_what_scikit_learn_has():
    from sklearn.datasets import load_digits

    data, raw = Digits("digits", 2), load_digits()
    train, heldout = stratified_split(raw.target, 600)
    assert (data.n_train, data.n_heldout) == (1197, 600) and not set(train) & set(heldout)
    expected = torch.from_numpy(raw.images[heldout] / 8 - 1).float()
    assert torch.equal(data.grid.unpatchify(data.tokens("heldout"))[:, 0], expected)
    counts = np.bincount(raw.target[heldout]) / np.bincount(raw.target)
    assert (abs(counts - 600 / 1797) < 0.01).all()


def test_latents_are_drawn_afresh_and_scaled(tmp_path):
    draw = np.random.default_rng(1)
    for split, n in (("train", 6), ("heldout", 3)):
        (tmp_path / split).mkdir()
        moments = draw.normal(size=(n, 8, 4, 4)).astype(np.float32)
        moments[:, 4:] = abs(moments[:, 4:])
        np.save(tmp_path / split / "moments.npy", moments)
        np.save(tmp_path / split / "labels.npy", np.arange(n) % 3)
    data = LatentData("imagenet256", str(tmp_path), 2, 1000, "nowhere")
    both = data.examples(torch.tensor([2]), with_clean=False).stored
    noise = torch.randn(1, 4, 16)
    z = data.draw(both, SimpleNamespace(normal=lambda *shape: noise))
    raw = np.load(tmp_path / "train" / "moments.npy")[2]
    cells = data.grid.unpatchify(noise)[0].numpy()
    np.testing.assert_allclose(
        data.grid.unpatchify(z)[0], SCALE * (raw[:4] + raw[4:] * cells), rtol=1e-5
    )
    np.testing.assert_allclose(
        data.grid.unpatchify(data.tokens("train", torch.tensor([2])))[0], SCALE * raw[:4], rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"images\.npy is missing"):
        data.images("train", torch.tensor([0]))
    with pytest.raises(ValueError, match=r"pip install diffusers|is not staged"):
        data.decode(data.tokens("train", torch.tensor([0])))


def test_changed_and_unlike_latents_are_noticed(tmp_path):
    def latents():
        return LatentData("imagenet256", str(tmp_path), 2, 10, "nowhere")

    for split, n in (("train", 6), ("heldout", 3)):
        (tmp_path / split).mkdir()
        for name, shape in (("moments", (n, 8, 4, 4)), ("images", (n, 3, 8, 8)), ("labels", (n,))):
            np.save(
                tmp_path / split / f"{name}.npy",
                np.ones(shape, np.float32 if name == "moments" else np.uint8),
            )
    seen = {latents().fingerprint}
    for file in ("heldout/moments", "heldout/labels", "train/images"):
        path = tmp_path / f"{file}.npy"
        np.save(path, 0 * np.load(path))
        seen.add(latents().fingerprint)
    assert len(seen) == 4
    np.save(tmp_path / "heldout" / "labels.npy", np.zeros(2, np.uint8))
    with pytest.raises(
        ValueError, match=r"heldout has moments .* 2 labels and 3 pictures, which do not fit"
    ):
        latents()
    np.save(tmp_path / "heldout" / "labels.npy", np.full(3, 10))
    with pytest.raises(ValueError, match=r"labels outside 0\.\.9"):
        latents()
    (tmp_path / "heldout" / "labels.npy").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"labels\.npy cannot be read"):
        latents()
