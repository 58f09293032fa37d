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
from bench.core.data.codecs import Codec, Flux2, Oobleck, StableDiffusion, Wan, codec_of
from bench.core.data.encode import Encoding, LatentFolder, seconds_an_example
from bench.core.data.originals import (
    CaptionedPictures,
    CroppedPictures,
    FirstFrames,
    FirstSeconds,
    Original,
)
from bench.core.data.pictures import readable
from bench.core.data.shards import INDEX_FILE, damaged, read_index
from slurm.executor import submit_array
from slurm.launch import check_time

# keys of data sets, as a run's words name them: this command's, or what one does here
KEY_OF = {
    "data.heldout=": "heldout=",
    "data.frames=": "frames=",
    "data.rate=": "rate=",
    ", or allow data.skip_damaged=true": "",
    "data.skip_damaged=": "skip_damaged=",
    "mend or remove it": "mend it and run this again, or remove it and begin another out=",
}
BANDS = 64  # of the spectrograms that are kept of sounds
# what is encoded: its key, and the words of bench.prepare that fetch an autoencoder of it
FETCHED_BY = {
    "pictures": "vae=ema or vae=flux2",
    "captions": "vae=ema or vae=flux2",
    "clips": "vae=wan22",
    "sounds": "vae=oobleck",
}
READ_AS: dict[tuple[str, type[Codec]], str] = {  # the data set that reads it
    ("pictures", StableDiffusion): "imagenet256",
    ("pictures", Flux2): "imagenet256_flux2",
    ("captions", StableDiffusion): "captions_sdvae",
    ("captions", Flux2): "captions_flux2",
    ("clips", Wan): "clips_wan22",
    ("sounds", Oobleck): "sounds_oobleck",
}


@dataclass(frozen=True)
class EncodingRequest:
    """The keys of bench.latents."""

    pictures: Path | None
    captions: Path | None
    clips: Path | None
    sounds: Path | None
    out: Path
    vae: str
    size: int
    frames: int
    rate: float | None
    seconds: float
    resample: bool
    skip_damaged: bool
    images: bool
    flips: bool
    shard: int | None
    heldout: float
    workers: int
    dry_run: bool
    compute: str
    overrides: Sequence[str]

    @property
    def key(self) -> str:
        """What is encoded. Raises ValueError where none or several are said."""
        said = [key for key in FETCHED_BY if getattr(self, key) is not None]
        if len(said) != 1:
            what = " and ".join(f"{key}=" for key in said) or "nothing to encode"
            raise ValueError(
                f"{what} said: give one of {', '.join(f'{key}=DIR' for key in FETCHED_BY)}"
            )
        return said[0]

    @property
    def source(self) -> Path:
        """Its folder."""
        return getattr(self, self.key).resolve()

    def encoding(self) -> Encoding:
        """How it is encoded. Raises ValueError for an autoencoder of something else, and for what
        it cannot encode.
        """
        if torch.cuda.is_available():  # of several processes each has its own
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        codec = codec_of(self.vae)
        if (self.key, type(codec)) not in READ_AS:
            raise ValueError(
                f"vae={self.vae} ({codec.kind}) encodes {codec.reads}, and {self.key}="
                f"{readable(getattr(self, self.key))} is not of them: fetch one that does, "
                f"python -m bench.prepare {FETCHED_BY[self.key]}"
            )
        original = self._original(codec)
        return Encoding(codec, original, self.images, self.flips, self.shard or 0, self.workers)

    def _original(self, codec: Codec) -> Original:
        if isinstance(codec, Oobleck):
            latents = int(self.seconds * codec.rate // codec.stride)
            if not latents:
                raise ValueError(
                    f"seconds={self.seconds:g} is shorter than one latent of {self.vae}: seconds="
                    f"{codec.stride / codec.rate:.2g} or more"
                )
            of_codec = (codec.rate, codec.channels, codec.stride)
            return FirstSeconds(*of_codec, latents, BANDS, self.resample, self.skip_damaged)
        if isinstance(codec, Wan):
            return FirstFrames(self.frames, self.rate, self.size, self.skip_damaged)
        return (CaptionedPictures if self.captions else CroppedPictures)(self.size)


def encode(request: EncodingRequest) -> int:
    """Make what is missing; returns the exit code. Raises ValueError, in this command's words, for
    pictures that cannot be used, and where there is no room.
    """
    try:
        return _submit(request) if request.compute == "slurm" else _encode(request)
    except ValueError as error:
        said = str(error).replace("data.root=", f"{request.key}=")
        for of_data, own in KEY_OF.items():
            said = said.replace(of_data, own)
        raise ValueError(said) from error


def _encode(request: EncodingRequest) -> int:
    # what is to be made, and what of it is there
    if request.overrides:
        raise ValueError(f"{request.overrides[0]} says nothing here: it is of compute=slurm alone")
    out, how = request.out, request.encoding()
    out.mkdir(parents=True, exist_ok=True)
    source, original = request.source, how.original
    folder = LatentFolder(out, source, how, lambda: original.find(source, request.heldout))
    print(folder.found, flush=True)
    if folder.complete():
        print(f"{out} is complete (made with {_versions(folder.made_with)})")
        return _use(request, folder)

    # how large, and how long
    needed, free = folder.bytes(folder.todo), shutil.disk_usage(out).free
    todo, whole = folder.count(folder.todo), sum(map(len, folder.pictures.values()))
    print(
        f"{todo} of {whole} {original.one}s in {len(folder.todo)} shards are to be encoded: "
        f"{needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {out}",
        flush=True,
    )
    if needed > free:
        raise ValueError(
            f"{out} has no room for {needed / 1e9:.3g} GB: choose another out=, or images=false"
        )
    each = seconds_an_example(folder.pictures["train"], how)
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
    return _use(request, folder)


def _use(request: EncodingRequest, folder: LatentFolder) -> int:
    name = READ_AS[request.key, type(folder.how.codec)]
    classes = 1 + max(int(of_split.labels.max()) for of_split in folder.pictures.values())
    of_classes = "" if request.captions else f"data.classes={classes} "
    print(
        f"{request.out}: python -m bench.run data={name} data.root={request.out} {of_classes}"
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
        request.key: request.source,
        "out": out,
        "vae": Path(request.vae).resolve() if Path(request.vae).exists() else request.vae,
        "size": request.size,
        "images": str(request.images).lower(),
        "flips": str(request.flips).lower(),
        "heldout": request.heldout,
        "workers": min(request.workers, compute.cpus),
        "dry_run": str(request.dry_run).lower(),
    }
    words |= {"shard": request.shard} if request.shard else {}
    if request.skip_damaged:
        words |= {"skip_damaged": "true"}
    if request.clips:
        words |= {"frames": request.frames} | ({"rate": request.rate} if request.rate else {})
    if request.sounds:
        words |= {"seconds": request.seconds, "resample": str(request.resample).lower()}
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
