"""A trained model for others: under the names of SiT's, REPA's or Self-Flow's released code, or as
a folder that diffusers loads.

    python -m bench.export run=runs/digits-selfflow-nano-s0-1a2b3c4d format=diffusers
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.keys import Choice, File, Folder, ImagesSeen, Text

EXPORT = Command(
    "export",
    does="Write a run's averaged model as others read it. sit, repa, selfflow: one file under the "
    "names and conventions of that released code, with the projection head where the format has "
    "the method's. diffusers: a folder that DiffusionPipeline.from_pretrained(DIR, "
    "trust_remote_code=True) loads, with a model card of results, protocols and the data's "
    "licence.",
    body="bench.commands.export:export",
    keys={
        "run": Folder("a run folder with snapshots", required=True),
        "format": Choice(
            "what it is written as",
            among=("sit", "repa", "selfflow", "diffusers"),
            required=True,
        ),
        "out": File(
            "the file or, of diffusers, the folder (default: RUN/exported/<format>-<images>)",
            shape="PATH",
        ),
        "images": ImagesSeen("the run's snapshot there (default: the newest)"),
        "part": Text("of a run on several kinds of data: which", shape="DATA"),
        "ema": File("instead of a snapshot, an average that bench.posthoc_ema made of the run"),
        "licence": Text(
            "of the data, for the model card (default: what bench/conf/data says of them)",
            shape="TEXT",
        ),
    },
    examples={
        "run=runs/digits-selfflow-nano-s0-1a2b3c4d format=diffusers": "",
        "run=runs/imagenet256-repa-dinov2_b-XL-s0-1a2b3c4d format=repa out=repa.pt": "",
    },
)

if __name__ == "__main__":
    EXPORT.start()
