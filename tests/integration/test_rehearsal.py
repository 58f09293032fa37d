"""ImageNet's whole path at a size that runs anywhere: 2,000 pictures of mixed sizes, modes and
formats through latents, training by two processes, sampling, decoding, and the FID family with a
small network for Inception.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.evaluations import StandInInception, evaluated, few_features, save_vae
from support.runs import ROOT, numbers, only_run, run_cli, tiny_run

from bench.core.data.latents import LatentData
from bench.core.store.row_table import row_table
from bench.core.store.runs import read_run

CLASSES, EACH, SIDE = 10, 200, 64
MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK", "1", "I;16")
FORMATS = {
    "png": ("RGB", "L", "RGBA", "LA", "P", "1", "I;16"),
    "jpg": ("RGB", "L", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "bmp": ("RGB", "L", "P", "1"),
    "gif": ("L", "P"),
    "tif": ("RGB", "RGBA", "CMYK", "I;16"),
    "ppm": ("RGB",),
}


def picture(draw, label, mode):
    """A disc of a class's colour on another one's, in a mode of Pillow's."""
    height, width = (int(side) for side in draw.integers(20, 180, 2))
    colours = np.random.default_rng(label).integers(0, 256, (2, 3))
    rows, columns = np.mgrid[:height, :width]
    centre, radius = draw.uniform(0.3, 0.7, 2), draw.uniform(0.2, 0.4)
    inside = np.hypot(rows / height - centre[0], columns / width - centre[1]) < radius
    pixels = np.where(inside[..., None], colours[0], colours[1]).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    image = Image.fromarray(pixels)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.where(inside, 255, 99).astype(np.uint8)))
    return image.convert(mode)


def write_pictures(root):
    draw = np.random.default_rng(0)
    kinds = [(suffix, mode) for suffix, modes in FORMATS.items() for mode in modes]
    for label in range(CLASSES):
        (root / f"class{label}").mkdir(parents=True)
        for i in range(EACH):
            suffix, mode = kinds[i % len(kinds)]
            path = root / f"class{label}" / f"{i:03d}.{suffix}"
            picture(draw, label, mode).save(path)
    return {mode for _, mode in kinds}


def started(module, *words):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def ends_well(process):
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_pictures_to_the_fid_family(tmp_path, monkeypatch):
    # latents, by two processes that share the shards out, and checked
    assert write_pictures(tmp_path / "pictures") == set(MODES)
    latents, vae = tmp_path / "latents", save_vae(tmp_path / "vae")
    words = [f"pictures={tmp_path / 'pictures'}", f"out={latents}", f"vae={vae}", "heldout=0.1"]
    words += [f"size={SIDE}", "shard=128", "workers=0", "flips=true"]
    several = [started("bench.latents", *words) for _ in range(2)]
    for process in several:
        ends_well(process)
    verified = run_cli("bench.latents", "verify", f"out={latents}")
    assert "51 of 51 files are as they were written" in verified.stdout, verified.stderr
    data = LatentData("imagenet256", str(latents), 2, CLASSES, str(vae))
    assert (data.n_train, data.n_heldout, data.grid.shape) == (3600, 200, (8, 8))

    # training by two processes, from features that are kept
    words = tiny_run(
        tmp_path / "runs", "data=imagenet256", f"data.root={latents}", f"data.classes={CLASSES}",
        f"data.decoder={vae}", "data.shards_at_once=4", "method=repa", "encoder=local_s",
        "encoder.steps=2", "compute.cache_features=true", "size=nano", "batch=64", "images=1024",
        "log_images=256", "checkpoint_images=1024", f"cache={tmp_path / 'cache'}",
    )  # fmt: skip
    launch = ["--standalone", "--nproc-per-node", "2", "-m", "bench.run"]
    ends_well(started("torch.distributed.run", *launch, *words))
    run = only_run(tmp_path / "runs")
    assert [line["images"] for line in numbers(run)] == [256, 512, 768, 1024]

    # samples, decoded, and measured against the pictures that were kept
    monkeypatch.setattr("probes.distances.fid.load_inception", lambda path: StandInInception())
    few_features(monkeypatch)
    asked = ["reference=train", "samples=128", "protocol=ode50", "steps=4", "device=cpu"]
    assert evaluated([f"run={run}", *asked, f"cache={tmp_path / 'cache'}"]) == 0
    (samples,) = run.glob("samples/*/samples_128.npz")
    assert np.load(samples)["arr_0"].shape == (128, SIDE, SIDE, 3)
    table = row_table([read_run(run)], [])
    found = table[table["kind"].str.startswith("evaluate")].set_index("metric")["value"]
    assert set(found.index) == {"fid", "sfid", "is", "precision", "recall", "kid"}
    assert np.isfinite(found).all() and found["fid"] > 0
