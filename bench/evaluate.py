"""Samples for others and the papers' metrics, of a run or of a released checkpoint.

    python -m bench.evaluate run=DIR samples=50000

Samples stream into one samples_50000.npz that the ADM suite reads; the same command again resumes
where it was cut off. With metrics=... the model is measured, samples or features.
"""

from __future__ import annotations

from bench.cli import Command
from bench.config.groups import options
from bench.config.keys import (
    Choice,
    Count,
    File,
    Flag,
    Folder,
    ImagesSeen,
    Key,
    Number,
    Several,
    Text,
    Whole,
)
from bench.core.metrics import metric_entries
from bench.core.model.sampling_protocol import CHOICES, PROTOCOLS


def _settings() -> dict[str, Key]:
    """Words that single metrics are told, as their table says them."""
    words: dict[str, Key] = {}
    for entry in metric_entries().values():
        for word, setting in entry.settings.items():
            takes, about = setting["takes"], str(setting["about"])
            if isinstance(takes, list):
                words[word] = Choice(about, among=takes)
            else:
                words[word] = Count(about) if takes == "count" else Text(about, shape=takes)
    return words


def _metrics() -> dict[str, dict[str, str]]:
    """What there is to measure, and whose keys are handed on."""
    entries = metric_entries().values()
    return {
        "Metrics": {e.name.replace("*", "<encoder>"): e.about for e in entries},
        "Of others": {
            "data.KEY=VALUE": "where data lie: data.root=DIR, data.decoder=DIR of the VAE",
            "encoder.KEY=VALUE": "of the one encoder that the metrics read: encoder.name=NAME",
        },
    }


EVALUATE = Command(
    "evaluate",
    does="Stream samples of a run (run=DIR) or of a released model (checkpoint=FILE format=... "
    "size=... data=...) into one samples_<n>.npz (arr_0, uint8 NHWC), and measure the model. The "
    "same command again goes on where it was cut off, and measures nothing twice.",
    body="bench.commands.evaluate:evaluate",
    notes=_metrics,
    passes=("data.", "encoder."),
    keys={
        "What": {
            "run": Folder("of a run"),
            "images": ImagesSeen("the run's snapshot there (default: the newest)"),
            "part": Text("of a run on several kinds of data: which", shape="DATA"),
            "ema": File("instead of a snapshot, an average that bench.posthoc_ema made of the run"),
            "checkpoint": File("a released model (docs/released_checkpoints.md)"),
            "format": Text("of the checkpoint", shape="sit|repa|selfflow"),
            "size": Choice("of the checkpoint", among=lambda: options("size")),
            "data": Choice("that it was trained on", among=lambda: options("data")),
            "out": Folder("for results of a checkpoint (default: evaluations/<name>)"),
            "aligned": Text(
                "the checkpoint's encoder, or none; metrics of its relatives are marked "
                "(default: that of the format's released models)",
                shape="ENCODER",
            ),
        },
        "How it is sampled (a complete record of it goes into every row)": {
            "samples": Count("how many (default: 50000)"),
            "protocol": Choice("named sampler (default: sde250)", among=tuple(PROTOCOLS)),
            "seed": Whole("of noise and labels (default: 0)"),
            "steps": Whole("of the sampler"),
            "shift": Number("of the times, 1 is none", within="(0, inf)"),
            "guidance": Number("weight, above 1"),
            "guidance_low": Number("time from which it guides"),
            "guidance_high": Number("time until which it guides"),
            "guided_channels": Whole("channels of the data that are guided (default: all)"),
            "labels": Choice("that are asked for", among=CHOICES["labels"]),
            "rounding": Choice("of pixels", among=CHOICES["rounding"]),
            **{
                key: Choice("numbers of it", among=CHOICES[key])
                for key in ("state", "noise_precision", "model_precision", "decoder_precision")
            },
        },
        "What is measured": {
            "metrics": Several("names of the metrics above", of=Text("a metric", shape="METRIC")),
            "reference": Text(
                "what pictures are compared with: an ADM file, a folder of pictures, or the "
                "training split",
                shape="FILE.npz|FOLDER|train",
            ),
            **_settings(),
        },
        "Where": {
            "device": Choice("to compute on", among=("auto", "cpu", "cuda"), default="auto"),
            "graphs": Flag("on a GPU: samples are made by replaying CUDA graphs"),
            "threads": Whole("of a CPU; another number may change last digits", default=1, least=1),
            "cache": Folder("of features and statistics (default: beside the run)"),
            "anyway": Flag("start though by its estimate it cannot be done on this machine"),
        },
    },
    examples={
        "run=runs/digits-selfflow-nano-s0-1a2b3c4d samples=600 protocol=ode50": "",
        "run=runs/digits-selfflow-nano-s0-1a2b3c4d metrics=probes,cknna_local_m probe=repa": "",
        "run=runs/... metrics=fd_local,fid reference=train samples=50000": "",
        "torchrun --nproc-per-node 8 -m bench.evaluate checkpoint=SiT-XL-2-256.pt format=sit "
        "size=XL data=imagenet256 data.decoder=runs/cache/vae/sd-vae-ft-ema "
        "reference=runs/cache/reference/VIRTUAL_imagenet256_labeled.npz": "",
    },
)
main = EVALUATE.main

if __name__ == "__main__":
    EVALUATE.start()
