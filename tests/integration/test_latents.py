"""bench.latents: ADM's crop, shards that several processes make and a full disk leaves alone, and
what data=imagenet256 reads; with a stand-in for the VAE.
"""

import errno
import json
import multiprocessing
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from bench.cli import guarded
from bench.commands import latents as command
from bench.config.words import last_of_each
from bench.core.data import codecs, encode, shards
from bench.core.data.latents import LatentData
from bench.core.data.originals import adm_crop
from bench.core.data.shards import read_index
from bench.core.store import files
from bench.core.train.loading import batches, micro_rows
from bench.latents import LATENTS
from bench.machine.latent_steps import folder_of_latents

PER_SHARD = 40
STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class StandInVAE(torch.nn.Module):
    """The encoder's interface: its mean is the picture in eighths, and their grey; its deviation is
    a quarter of `weight`.
    """

    def __init__(self, weight=1.0, stops=lambda: None):
        super().__init__()
        self.weight, self.stops = torch.nn.Parameter(torch.tensor(weight)), stops

    def encode(self, x):
        self.stops()
        small = torch.nn.functional.avg_pool2d(x, 8)
        mean = torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)
        std = torch.full_like(mean, 0.25) * self.weight.detach()
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=std))


def picture(draw, height=16, width=20):
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(90):
            picture(draw).save(tmp_path / "pictures" / name / f"{i:03d}.png")
    use(monkeypatch, StandInVAE())
    return tmp_path


@pytest.fixture(autouse=True)
def _handlers():
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def use(monkeypatch, vae):
    monkeypatch.setattr("bench.core.data.codecs.StableDiffusion.load", lambda self: vae)


def words(folder, out, *others):
    own = [
        f"pictures={folder / 'pictures'}",
        f"out={folder / out}",
        "vae=x",
        "size=16",
        "heldout=0.1",
        "workers=0",
        f"shard={PER_SHARD}",
    ]
    return last_of_each([*own, *others])


def made(folder, out, *others):
    assert guarded(LATENTS.main, words(folder, out, *others)) == 0
    return LatentData("imagenet256", str(folder / out), 1, 1000, "x")


def contents(root):
    """Every file that training reads, by its name."""
    found = [root / "index.json", *root.glob("*/*.npy")]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_adm_crop_halves_by_averaging_then_takes_the_centre():
    pixels = np.random.default_rng(1).integers(0, 256, (32, 36, 3), dtype=np.uint8)
    halved = pixels.reshape(16, 2, 18, 2, 3).mean(axis=(1, 3))
    assert np.abs(adm_crop(Image.fromarray(pixels), 16) - halved[:, 1:17]).max() <= 1, (
        "but for rounding, once an axis"
    )
    grey = Image.fromarray(np.full((40, 24), 77, np.uint8))
    assert adm_crop(grey, 16).shape == (16, 16, 3) and (adm_crop(grey, 16) == 77).all()


def test_latents_are_what_the_data_reads(folder, capsys):
    data = made(folder, "whole", "workers=1")
    said = capsys.readouterr().out
    assert "180 of 180 pictures in 6 shards" in said and "about 0 min for one process" in said
    assert (data.n_train, data.n_heldout) == (162, 18) and data.grid.shape == (2, 2)
    assert set(data.labels("train", slice(None)).tolist()) == {0, 1}
    some = torch.tensor([161, 3, 40, 39, 3])  # of the last shard, and on both sides of an edge
    pictures = data.images("train", some).double() / 127.5 - 1
    expected = pictures.reshape(5, 3, 2, 8, 2, 8).mean(dim=(3, 5))
    mean, std = data.moments("train", some).chunk(2, dim=1)
    torch.testing.assert_close(mean[:, :3].double(), expected, rtol=0, atol=1e-5)
    tokens = data.tokens("train", slice(3, 4))
    assert (std == 0.25).all() and torch.equal(data.grid.unpatchify(tokens), 0.18215 * mean[1:2])
    original = Image.open(sorted((folder / "pictures" / "a").iterdir())[-1])
    wanted = np.asarray(original)[:, 2:18].transpose(2, 0, 1)
    assert any(np.array_equal(wanted, found) for found in data.images("train"))
    index = json.loads((folder / "whole" / "index.json").read_text())
    assert index["vae"] | {"encoder": ""} == {"name": "x", "encoder": "", "scale": 0.18215}
    assert {"torch", "pillow", "diffusers"} < set(index["versions"])
    assert str(folder) not in json.dumps(index)  # it is handed on to others


def test_mirror_images_are_examples_of_their_own(folder):
    plain, data = made(folder, "plain", "images=false"), made(folder, "flips", "flips=true")
    assert (data.n_train, data.n_heldout, plain.n_train) == (324, 18, 162)
    some = torch.tensor([0, 7, 161])
    pictures, mirrored = data.images("train", some), data.images("train", some + 162)
    assert torch.equal(mirrored, pictures.flip(-1)) and not torch.equal(mirrored, pictures)
    both = data.moments("train", torch.cat([some + 162, some]))
    x = mirrored.double() / 127.5 - 1
    mean = both[:3, :4]
    expected = x.reshape(3, 3, 2, 8, 2, 8).mean(dim=(3, 5))
    torch.testing.assert_close(mean[:, :3].double(), expected, rtol=0, atol=1e-5)
    assert torch.equal(both[3:], plain.moments("train", some))
    labels = data.labels("train", slice(None))
    assert torch.equal(labels[:162], labels[162:]) and plain.fingerprint != data.fingerprint


@pytest.mark.parametrize("at_once", [0, 2])
def test_threads_read_the_batches_of_a_seed_wherever_they_start(folder, monkeypatch, at_once):
    made(folder, "out", "flips=true")
    monkeypatch.setattr(shards, "OPEN_FILES", 2)  # of five
    data = LatentData("imagenet256", str(folder / "out"), 1, 1000, "x", at_once)
    pieces = micro_rows(slice(0, 18), 9)

    def read(first, workers):
        return list(batches(data, 3, first, 18 * 30, 18, pieces, True, workers))

    alone, threads, later = read(0, 0), read(0, 3), read(18 * 7, 2)
    assert len(alone) == 60 and len(later) == 46
    for one, other in [*zip(alone, threads, strict=True), *zip(alone[14:], later, strict=True)]:
        assert torch.equal(one.which, other.which) and torch.equal(one.stored, other.stored)
        assert torch.equal(one.clean, other.clean)
        assert torch.equal(one.stored, data.moments("train", one.which))
    epoch = torch.cat([one.which for one in alone])[:324]
    assert sorted(epoch.tolist()) == list(range(324))


# Several processes, stops, full disks -------------------------------------------------------------


def make_alone(argv, vae):
    encode.BLOCK_OF_PICTURES = 8
    codecs.StableDiffusion.load = lambda self: vae
    os._exit(guarded(LATENTS.main, argv))


def test_processes_share_the_shards_out_and_make_the_same_bytes(folder, capfd):
    made(folder, "alone")
    start = multiprocessing.get_context("fork").Process
    several = [start(target=make_alone, args=(words(folder, "shared"), StandInVAE())) for _ in "ab"]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
    assert [process.exitcode for process in several] == [0, 0]
    assert contents(folder / "alone") == contents(folder / "shared")
    assert "shards are to be encoded" in capfd.readouterr().out
    assert list((folder / "shared").rglob("*.tmp")) == []
    assert list((folder / "shared" / "plan" / "leases").iterdir()) == []


def stop_after(blocks, how):
    left = [blocks]

    def stops():
        left[0] -= 1
        if left[0] < 0:
            how()

    return stops


def interrupt():
    raise KeyboardInterrupt


def test_a_signal_gives_the_shard_back(folder, monkeypatch, capsys):
    monkeypatch.setattr(encode, "BLOCK_OF_PICTURES", 8)
    told = stop_after(2 + 7, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    use(monkeypatch, StandInVAE(stops=told))
    assert guarded(LATENTS.main, words(folder, "out", "workers=1")) == 75  # queued again by the job
    assert "stopped by SIGUSR2: 5 shards are missing" in capsys.readouterr().out
    assert len(list((folder / "out").glob("*/shard-*.json"))) == 1
    assert list((folder / "out" / "plan" / "leases").iterdir()) == []


def test_an_interrupted_start_goes_on_at_the_first_missing_shard(folder, monkeypatch, capsys):
    made(folder, "whole")
    monkeypatch.setattr(encode, "BLOCK_OF_PICTURES", 8)
    use(monkeypatch, StandInVAE(stops=stop_after(2 + 12, interrupt)))  # two are the estimate's
    assert guarded(LATENTS.main, words(folder, "cut")) == 130
    records = sorted(path.name for path in (folder / "cut").glob("*/shard-*.json"))
    assert records == ["shard-00000.json", "shard-00001.json"]
    with pytest.raises(ValueError, match=r"it was begun: the same command goes on"):
        LatentData("imagenet256", str(folder / "cut"), 1, 1000, "x")
    use(
        monkeypatch, StandInVAE(stops=stop_after(2 + 13, interrupt))
    )  # 14 blocks are left: 5, 5, 1, 3
    capsys.readouterr()
    assert guarded(LATENTS.main, words(folder, "cut")) == 130
    assert "100 of 180 pictures in 4 shards" in capsys.readouterr().out
    use(monkeypatch, StandInVAE())
    assert guarded(LATENTS.main, words(folder, "cut", "workers=1")) == 0
    assert contents(folder / "cut") == contents(folder / "whole")


def test_a_disk_that_fills_loses_nothing(folder, monkeypatch, capsys):
    made(folder, "whole")
    real, room = np.save, [5]

    def save(file, array):
        room[0] -= 1
        if room[0] < 0:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, array)

    monkeypatch.setattr(shards.np, "save", save)
    assert guarded(LATENTS.main, words(folder, "full")) == 1
    said = capsys.readouterr().err
    assert "the disk is full: images-00002.npy" in said and "run the same command again" in said
    assert len(list((folder / "full").glob("*/shard-*.json"))) == 2
    assert files.leftovers(folder / "full" / "train") == []
    room[0] = 10**6
    made(folder, "full")
    assert contents(folder / "full") == contents(folder / "whole")


def test_a_folder_of_another_kind_is_refused_by_both_names(folder, monkeypatch, capsys):
    made(folder, "out")

    def refused(*others, out="out"):
        assert guarded(LATENTS.main, words(folder, out, *others)) == 2
        return capsys.readouterr().err

    assert guarded(LATENTS.main, words(folder, "out")) == 0
    assert "out is complete" in capsys.readouterr().out
    assert "made with size=16, not size=32" in refused("size=32")
    assert "made with flips=false, not flips=true" in refused("flips=true")
    of_another = refused("vae=y")
    assert "made with vae x (encoder " in of_another and "not vae y (encoder " in of_another
    use(monkeypatch, StandInVAE(2.0))
    one, other = refused().partition(", not ")[::2]
    assert "vae x (encoder " in one and "vae x (encoder " in other and one[-30:] != other[:30]
    data = LatentData("imagenet256", str(folder / "out"), 1, 1000, "y")
    with pytest.raises(
        ValueError, match=r"were made by x \(encoder .* data.decoder=y is of another"
    ):
        data.decode(data.tokens("heldout"))
    data.decoder.name = str(folder)  # a VAE that is here, and the doctor looks at
    shown, told = folder_of_latents(data)
    assert "6 shards by x" in shown.says and told.state == "missing" and "made by x" in told.says
    use(monkeypatch, StandInVAE())
    (shown,) = folder_of_latents(
        LatentData("imagenet256", str(folder / "out"), 1, 1000, str(folder))
    )
    assert shown.state == "ok"

    # versions, of libraries while it is made and of the index
    (folder / "out" / "heldout" / "moments-00000.npy").unlink()
    now = encode.library_versions()
    monkeypatch.setattr(encode, "library_versions", lambda: now | {"torch": "1.0"})
    assert (
        f"begun with torch {now['torch']}" in (said := refused()) and "here are torch 1.0" in said
    )
    monkeypatch.setattr(encode, "library_versions", lambda: now)
    index = folder / "out" / "index.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(ValueError, match="is not of format 1"):
        read_index(folder / "out")

    # pictures: the same elsewhere are the same, others are not
    os.rename(folder / "pictures", folder / "moved")
    assert guarded(LATENTS.main, words(folder, "out", f"pictures={folder / 'moved'}")) == 0
    (folder / "moved" / "a" / "000.png").rename(folder / "moved" / "a" / "x.png")
    assert "are others: choose another out=" in refused(f"pictures={folder / 'moved'}")


def test_a_damaged_shard_is_named_and_made_again(folder, capsys):
    made(folder, "out")
    before = contents(folder / "out")
    verify = ["verify", f"out={folder / 'out'}"]
    assert guarded(LATENTS.main, verify) == 0
    assert "14 of 14 files are as they were written, by x (encoder " in capsys.readouterr().out
    turned, cut = (folder / "out" / "train" / f"moments-0000{k}.npy" for k in (1, 3))
    content = bytearray(turned.read_bytes())
    content[-1] ^= 1
    turned.write_bytes(content)
    assert guarded(LATENTS.main, verify) == 1
    said = capsys.readouterr()
    assert f"damaged: {turned} has other bytes than were written" in said.out + said.err
    cut.write_bytes(cut.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"train/moments-00003\.npy has \d+ bytes and not"):
        LatentData("imagenet256", str(folder / "out"), 1, 1000, "x")
    for path in (turned, cut):
        path.unlink()
    made(folder, "out")
    assert contents(folder / "out") == before


def test_an_array_of_jobs_shares_a_folder_out(folder, monkeypatch, capsys):
    asked = []

    def submit(compute, where, name, arguments):
        asked.append((compute, where, name, arguments))
        return [f"7_{i}" for i in range(compute.parallel)]

    monkeypatch.setattr(command, "submit_array", submit)
    there = ["compute=slurm", "compute.parallel=3", "compute.cpus=2", "workers=4"]
    assert guarded(LATENTS.main, words(folder, "out", *there)) == 0
    assert "3 jobs share the shards out: 7_0 to 7_2" in capsys.readouterr().out
    ((compute, where, name, arguments),) = asked
    assert (compute.cpus, where, name) == (2, folder / "out" / "jobs", "latents")
    assert arguments[:2] == ("-m", "bench.latents")
    assert "workers=2" in arguments and not any(word.startswith("compute") for word in arguments)
    assert guarded(LATENTS.main, list(arguments[2:])) == 0
    assert guarded(LATENTS.main, words(folder, "out", "compute.parallel=3")) == 2
    assert "compute.parallel=3 says nothing here" in capsys.readouterr().err


def test_bad_input_is_one_sentence(folder, capsys):
    cases = {
        "there is no key 'picture'; did you mean pictures": ["picture=x"],
        "out=DIR, vae=DIR missing": ["workers=1"],
        "size=20 must be a multiple of 8": words(folder, "out", "size=20"),
        "images=maybe is neither true nor false": words(folder, "out", "images=maybe"),
        "workers=many is not a whole number": words(folder, "out", "workers=many"),
        "heldout=nan is outside (0, 1)": words(folder, "out", "heldout=nan"),
        "holds no pictures": words(folder, "out", f"pictures={folder / 'pictures' / 'a'}"),
        "has no index.json": ["verify", f"out={folder}"],
    }
    for said, given in cases.items():
        assert guarded(LATENTS.main, given) == 2 and said in capsys.readouterr().err
    (folder / "pictures" / "b" / "004.png").write_bytes(b"no picture")
    assert guarded(LATENTS.main, words(folder, "out")) == 2
    said = capsys.readouterr().err
    assert "004.png cannot be read" in said and "mend it and run this again" in said
    (folder / "old" / "train").mkdir(parents=True)
    np.save(folder / "old" / "train" / "moments.npy", np.zeros(1))
    assert guarded(LATENTS.main, words(folder, "old")) == 2
    assert "latents of an earlier version" in capsys.readouterr().err
