"""Pictures as SD-VAE latents, once: what data=imagenet256 reads (`bench.core.data.encode`).

python -m bench.latents pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema
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
    does="Encode pictures with Stable Diffusion's VAE, for data=imagenet256, in shards. The same "
    "command again goes on at the first shard that is missing; started several times, on any "
    "number of nodes, it shares them out.\n\n"
    "python -m bench.latents verify out=DIR checks what is there.",
    body="bench.commands.latents:encode",
    request="bench.commands.latents:EncodingRequest",
    keys={
        "pictures": Folder(
            "class folders (DIR/<class>/*, or DIR/train/<class>/* beside DIR/val/<class>/*; "
            "classes in order of their names), WebDataset tars (KEY.jpg, KEY.cls) or parquet (a "
            "column of pictures, and label), whose names say which split they are of",
            required=True,
        ),
        "out": Folder("gets index.json, train/ and heldout/", required=True),
        "vae": Text(
            "a folder of diffusers' AutoencoderKL: python -m bench.prepare vae=ema",
            required=True,
            shape="DIR",
        ),
        "size": Whole("side of the cropped pictures", default=256, least=8, multiple_of=8),
        "images": Flag(
            "keep the cropped pictures too, which methods with an encoder need (ImageNet: 252 GB; "
            "latents: 42 GB)",
            default=True,
        ),
        "flips": Flag("the mirror image of each training picture too, as an example of its own"),
        "shard": Whole("pictures of a shard", default=4096, least=1),
        "heldout": Number(
            "share that is held out where no split is", default=0.02, within="(0, 1)"
        ),
        "workers": Whole("processes that decode pictures", default=4),
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
        "pictures=imagenet-1k/data out=latents vae=vae compute=slurm compute.parallel=8": "",
        "verify out=latents": "",
    },
    passes=("compute.",),
    parts={"verify": VERIFY},
)

if __name__ == "__main__":
    LATENTS.start()
