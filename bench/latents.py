"""Class folders of pictures as SD-VAE latents, once: what data=imagenet256 reads
(`bench.core.data.encode`).

    python -m bench.latents pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema
    python -m bench.run data=imagenet256 data.root=latents method=selfflow
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.keys import Flag, Folder, Number, Text, Whole

LATENTS = Command(
    "latents",
    does="Encode class folders of pictures with Stable Diffusion's VAE, for data=imagenet256. "
    "The same command again goes on where it was cut off.",
    body="bench.commands.latents:encode_folder",
    keys={
        "pictures": Folder(
            "DIR/<class>/*, or DIR/train/<class>/* beside DIR/val/<class>/* (class folders in "
            "order of their names)",
            required=True,
        ),
        "out": Folder(
            "gets train/ and heldout/ with moments.npy, labels.npy and images.npy", required=True
        ),
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
        "heldout": Number(
            "share that is held out where there is no val/", default=0.02, within="(0, 1)"
        ),
        "workers": Whole("processes that decode pictures", default=4),
    },
    examples={
        "pictures=ILSVRC2012 out=latents vae=runs/cache/vae/sd-vae-ft-ema": "",
        "pictures=photos out=photo_latents vae=vae images=false heldout=0.1": "",
    },
)

if __name__ == "__main__":
    LATENTS.start()
