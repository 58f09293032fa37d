"""Pictures, videos and sounds as an autoencoder's latents, once: what data=imagenet256 and its like
read (`bench.core.data.encode`).

python -m bench.latents pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema
python -m bench.latents clips=UCF-101 out=clip_latents vae=runs/cache/vae/wan22
python -m bench.latents verify out=latents
python -m bench.run data=imagenet256 data.root=latents method=selfflow
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.keys import Choice, Flag, Folder, Number, Text, Whole

VERIFY = Command(
    "latents verify",
    does="Read a folder of latents and compare every shard with the SHA-256 of its index. Exit "
    "status: 0 all are as they were written, 1 some are damaged, each named.",
    body="bench.commands.latents:verify",
    keys={"out": Folder("that bench.latents made", required=True)},
    examples={"out=latents": ""},
)
LATENTS = Command(
    "latents",
    does="Encode pictures with Stable Diffusion's VAE or FLUX.2's, videos with Wan2.2's, sounds "
    "with Oobleck, in shards; at its end it says which data set reads them. The same command again "
    "goes on at the first shard that is missing; started several times, on any number of nodes, it "
    "shares them out.\n\n"
    "python -m bench.latents verify out=DIR checks what is there.",
    body="bench.commands.latents:encode",
    request="bench.commands.latents:EncodingRequest",
    keys={
        "pictures": Folder(
            "class folders (DIR/<class>/*, or DIR/train/<class>/* beside DIR/val/<class>/*; "
            "classes in order of their names), WebDataset tars (KEY.jpg, KEY.cls) or parquet (a "
            "column of pictures, and label), whose names say which split they are of",
        ),
        "captions": Folder("instead: pictures with captions, NAME.txt beside NAME.png, or tars"),
        "clips": Folder("instead: videos in class folders, as data=clips reads them"),
        "sounds": Folder("instead: recordings in class folders, DIR/<class>/*.wav"),
        "out": Folder("gets index.json, train/ and heldout/", required=True),
        "vae": Text(
            "a folder of diffusers' AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLWan or "
            "AutoencoderOobleck: python -m bench.prepare vae=ema|flux2|wan22|oobleck",
            required=True,
            shape="DIR",
        ),
        "size": Whole(
            "side of the cropped pictures and videos", default=256, least=8, multiple_of=8
        ),
        "frames": Whole("of a video, its first ones: 1 + 4 k of them", default=45, least=1),
        "rate": Number(
            "frames a second at which videos are read, whatever their own (default: as they come)",
            within="(0, inf)",
        ),
        "seconds": Number("of a sound, its first ones", default=10.0, within="(0, inf)"),
        "resample": Flag("bring sounds of another rate to the autoencoder's"),
        "skip_damaged": Flag(
            "leave out videos and sounds that cannot be read or are too short, each named"
        ),
        "images": Flag(
            "keep the cropped pictures too, which methods with an encoder need (ImageNet: 252 GB; "
            "latents: 42 GB); of sounds their spectrograms",
            default=True,
        ),
        "flips": Flag("the mirror image of each training picture too, as an example of its own"),
        "shard": Whole("examples of a shard (default: as many as 4 GiB, at most 4096)", least=1),
        "heldout": Number(
            "share that is held out where no split is", default=0.02, within="(0, 1)"
        ),
        "workers": Whole("processes that read files", default=4),
        "dry_run": Flag("say how large it becomes and how long it takes, and stop"),
        "compute": Choice(
            "where: here, or as an array of SLURM jobs, compute.parallel of them, each of "
            "compute.nodes x compute.processes processes (docs/cluster.md)",
            among=("local", "slurm"),
            default="local",
        ),
    },
    examples={
        "pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema": "",
        "pictures=photos out=photo_latents vae=vae images=false heldout=0.1 flips=true": "",
        "clips=UCF-101 out=clip_latents vae=runs/cache/vae/wan22 skip_damaged=true": "",
        "sounds=fma out=sound_latents vae=runs/cache/vae/oobleck resample=true": "",
        "captions=cc12m out=cc12m_latents vae=runs/cache/vae/sd-vae-ft-ema images=false": "",
        "pictures=imagenet-1k/data out=latents vae=vae compute=slurm compute.parallel=8": "",
        "verify out=latents": "",
    },
    passes=("compute.",),
    parts={"verify": VERIFY},
)

if __name__ == "__main__":
    LATENTS.start()
