"""Stage what a machine without a network will need:
`python -m bench.prepare encoder=dinov2_g inception=true`.

Run it where there is a network and on the same caches, or copy them over. Every file arrives whole
or not at all, once however many processes ask; its SHA-256 is printed and written beside it.
"""

from __future__ import annotations

from pathlib import Path

from bench.cli import Command
from bench.config.groups import choosing, options
from bench.config.keys import Choice, Flag, Folder, Several
from bench.core.data.text_sources import TEXT_ENCODERS
from bench.core.metrics import metric_entries
from bench.machine.resources import REFERENCES, VAES

PREPARE = Command(
    "prepare",
    does="Fetch what a machine without a network will need, check it, and say where it lies. Files "
    "go where they are looked for: $TORCH_HOME/hub (default ~/.cache/torch/hub) and its "
    "checkpoints/.\n\n"
    "Other keys are those of bench.run: encoder.ref=..., data=cifar10 data.root=DIR (what a local "
    "encoder is trained on), data=emoji alone (its package, with npm).",
    body="bench.commands.prepare:stage",
    keys={
        "encoder": Several(
            "code and weights of encoders (bench/conf/encoder); local_s, local_m and local_l are "
            "trained on the data instead",
            of=Choice("encoder", among=lambda: options("encoder")),
            default=(),
        ),
        "metrics": Several(
            "published networks that metrics read with",
            of=Choice(
                "metric",
                among=tuple(name for name, entry in metric_entries().items() if entry.files),
            ),
            default=(),
        ),
        "inception": Flag(
            "Inception's weights, for FID, sFID, IS, precision, recall and KID (91 MB)"
        ),
        "reference": Choice(
            "ADM's reference statistics (2 GB for imagenet256), into CACHE/reference",
            among=tuple(REFERENCES),
        ),
        "vae": Choice(
            "the autoencoder of latents: ema or mse of ImageNet's, flux2 of pictures, wan22 of "
            "videos, oobleck of sounds, rae_dinov2_b of representations, into CACHE/vae; name its "
            "folder in data.decoder",
            among=tuple(VAES),
        ),
        "text": Choice(
            "a text encoder for data.text=NAME, into CACHE/text", among=tuple(TEXT_ENCODERS)
        ),
        "dry_run": Flag(
            "say what is there and what is missing, with the commands that would fetch it"
        ),
        "cache": Folder("of things that belong to no other cache", default=Path("runs/cache")),
    },
    examples={
        "encoder=dinov2_b,dinov2_g inception=true reference=imagenet256 vae=ema": "",
        "encoder=timm encoder.name=vit_base_patch16_dinov3.lvd1689m": "",
        "metrics=fad_clap_audio data=emoji": "",
        "encoder=dinov2_g dry_run=true": "",
    },
    passes=("",),
    meant=choosing,
)

if __name__ == "__main__":
    PREPARE.start()
