"""bench.latents compute=slurm on a real cluster: jobs share the shards of a folder out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support.evaluations import save_vae
from support.submitted import command, wait_until

from bench.core.data.latents import LatentData
from bench.core.store.files import read_json
from bench.latents import LATENTS

pytestmark = pytest.mark.slurm


def test_an_array_makes_a_folder(cluster, tmp_path):
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(12):
            pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    words = f"pictures={tmp_path / 'pictures'} vae={save_vae(tmp_path / 'vae')} heldout=0.25"
    words += " out=%s size=16 shard=2 workers=1"
    there = " compute=slurm compute.parallel=2 compute.gpus=0 compute.cpus=1"
    out = tmp_path / "latents"
    assert LATENTS.main([*(words % out).split(), *there.split()]) == 0
    wait_until(lambda: not command("squeue", "--noheader", "--me").strip(), 120, "both jobs")
    logs = "".join(log.read_text() for log in (out / "jobs").glob("*_log.out"))
    assert (out / "index.json").exists(), logs
    assert LATENTS.main((words % (tmp_path / "here")).split()) == 0
    for name in ("index.json", "train/moments-00003.npy", "heldout/images-00002.npy"):
        assert (out / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name
    assert LatentData("x", str(out), 1, 2, "x").n_train == 18
    assert read_json(out / "index.json")["vae"]["name"] == "vae"
