"""What bench.latents does: say how large a folder becomes and how long it takes, make what of it is
missing, here or on a cluster, and check what is there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from bench.cli import EXIT_OF_SIGNAL, StopFlag
from bench.config.compose import compose
from bench.config.schema import Cluster
from bench.core.data.encode import Encoding, LatentFolder, seconds_a_picture
from bench.core.data.latents import SCALE, Decoder
from bench.core.data.shards import INDEX_FILE, damaged, read_index
from bench.core.data.sources import find_pictures
from slurm.executor import submit_array
from slurm.launch import check_time

# keys of data=folder, as a run's words name them: this command's, or what one does here
KEY_OF = {
    "data.root=": "pictures=",
    "data.heldout=": "heldout=",
    ", or allow data.skip_damaged=true": "",
    "mend or remove it": "mend it and run this again, or remove it and begin another out=",
}


@dataclass(frozen=True)
class EncodingRequest:
    """The keys of bench.latents."""

    pictures: Path
    out: Path
    vae: str
    size: int
    images: bool
    flips: bool
    shard: int
    heldout: float
    workers: int
    dry_run: bool
    compute: str
    overrides: Sequence[str]

    def encoding(self) -> Encoding:
        """How pictures are encoded. Raises ValueError for a VAE whose latents are scaled by another
        number than `SCALE`.
        """
        if torch.cuda.is_available():  # of several processes each has its own
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        vae, name = Decoder(self.vae).load(), Path(self.vae).name
        scale = getattr(getattr(vae, "config", None), "scaling_factor", SCALE)
        if scale != SCALE:
            raise ValueError(
                f"vae={self.vae} scales its latents by {scale}, and here they are scaled by "
                f"{SCALE}: give Stable Diffusion's, python -m bench.prepare vae=ema"
            )
        kept = (self.images, self.flips, self.shard, self.workers)
        return Encoding(vae, name, SCALE, self.size, *kept)


def encode(request: EncodingRequest) -> int:
    """Make what is missing; returns the exit code. Raises ValueError, in this command's words, for
    pictures that cannot be used, and where there is no room.
    """
    try:
        return _submit(request) if request.compute == "slurm" else _encode(request)
    except ValueError as error:
        said = str(error)
        for of_data, own in KEY_OF.items():
            said = said.replace(of_data, own)
        raise ValueError(said) from error


def _encode(request: EncodingRequest) -> int:
    # what is to be made, and what of it is there
    if request.overrides:
        raise ValueError(f"{request.overrides[0]} says nothing here: it is of compute=slurm alone")
    out, how = request.out, request.encoding()
    out.mkdir(parents=True, exist_ok=True)
    pictures = request.pictures.resolve()
    folder = LatentFolder(out, pictures, how, lambda: find_pictures(pictures, request.heldout))
    print(folder.found, flush=True)
    if folder.complete():
        print(f"{out} is complete (made with {_versions(folder.made_with)})")
        return _use(out, folder)

    # how large, and how long
    needed, free = folder.bytes(folder.todo), shutil.disk_usage(out).free
    todo, whole = folder.count(folder.todo), sum(map(len, folder.pictures.values()))
    print(
        f"{todo} of {whole} pictures in {len(folder.todo)} shards are to be encoded: "
        f"{needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {out}",
        flush=True,
    )
    if needed > free:
        raise ValueError(
            f"{out} has no room for {needed / 1e9:.3g} GB: choose another out=, or images=false"
        )
    each = seconds_a_picture(folder.pictures["train"], how)
    hours = each * todo / 3600
    print(
        f"about {_time(hours)} for one process like this, {_time(hours / 8)} for eight", flush=True
    )
    if request.dry_run:
        return 0

    # the work
    stop = StopFlag().install()
    missing = folder.encode(lambda: stop.reason)
    if stop.reason:
        print(
            f"stopped by {stop.reason}: {len(missing)} shards are missing; the same command goes on"
        )
        return EXIT_OF_SIGNAL[stop.reason]
    if missing:
        names = ", ".join(f"{split} {shard}" for split, shard in missing[:4])
        names += ", ..." * (len(missing) > 4)
        print(
            f"{len(missing)} shards are being made by others ({names}); "
            "whoever ends last writes the index. Where they died, the same command makes theirs"
        )
        return 0
    return _use(out, folder)


def _use(out: Path, folder: LatentFolder) -> int:
    classes = 1 + max(int(of_split.labels.max()) for of_split in folder.pictures.values())
    print(
        f"{out}: python -m bench.run data=imagenet256 data.root={out} data.classes={classes} "
        "method=vanilla"
    )
    return 0


def _submit(request: EncodingRequest) -> int:
    """An array of jobs that share the shards out."""
    compute = compose(["compute=slurm", *request.overrides]).compute
    assert isinstance(compute, Cluster)
    check_time(compute)
    out = request.out.resolve()
    words = {
        "pictures": request.pictures.resolve(),
        "out": out,
        "vae": Path(request.vae).resolve() if Path(request.vae).exists() else request.vae,
        "size": request.size,
        "images": str(request.images).lower(),
        "flips": str(request.flips).lower(),
        "shard": request.shard,
        "heldout": request.heldout,
        "workers": min(request.workers, compute.cpus),
        "dry_run": str(request.dry_run).lower(),
    }
    said = [f"{key}={value}" for key, value in words.items()]
    jobs = submit_array(compute, out / "jobs", "latents", ("-m", "bench.latents", *said))
    print(f"{len(jobs)} jobs share the shards out: {jobs[0]} to {jobs[-1]}; logs in {out / 'jobs'}")
    print("the same command submits as many again, which make what is missing then")
    return 0


def verify(out: Path) -> int:
    """0 where every file is as it was written, else 1."""
    index = read_index(out)
    if index is None:
        raise ValueError(
            f"{out} has no {INDEX_FILE}: bench.latents writes it when all shards are there"
        )
    total = sum(1 + len(s.shards) * len(s.shapes) for s in index.splits.values())
    wrong = 0
    for path, what in tqdm(damaged(out, index), total=total, unit="file", disable=None):
        if what:
            wrong += 1
            tqdm.write(f"damaged: {out / path} {what}")
    vae = f"{index.vae['name']} (encoder {index.vae['encoder']}, scale {index.vae['scale']})"
    print(f"{total - wrong} of {total} files are as they were written, by {vae}")
    if wrong:
        print("remove what is damaged, and the command that made it makes it again")
    return 1 if wrong else 0


def _versions(made_with: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in made_with.items())


def _time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
