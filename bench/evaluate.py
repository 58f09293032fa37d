"""Samples for others and the papers' metrics, of a run or of a released checkpoint.

    python -m bench.evaluate run=DIR samples=50000

Samples stream into one samples_50000.npz that the ADM suite reads; the same command again resumes where it was cut off.
With reference=... the FID family (arXiv 1706.08500) and Frechet distances in encoders' features follow.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from bench.command_line import guarded

HELP = """\
usage: python -m bench.evaluate run=DIR [KEY=VALUE ...]
       python -m bench.evaluate checkpoint=FILE format=sit|repa|selfflow size=XL data=imagenet256 [KEY=VALUE ...]

Stream samples into one samples_<n>.npz (arr_0, uint8 NHWC), then measure them. The same command again goes on.

What:
  run=DIR           folder of a run                       images=N       its snapshot (default: the newest)
  ema=FILE          instead of a snapshot, an average of the run that bench.posthoc_ema made
  checkpoint=FILE   a released model (docs/released_checkpoints.md)
  out=DIR           results of a checkpoint (default evaluations/<name>)
  data.decoder=DIR  the VAE that decodes latents (bench.prepare vae=ema)
How it is sampled (a complete record of it goes into every row):
  samples=50000     protocol=sde250|ode50|heun50|dopri5   seed=0
  steps=N  shift=A  guidance=W  guidance_low=T  guidance_high=T  labels=random|balanced  rounding=truncate|round_half_up
  guided_channels=C of the data (default all)  state=float32|float64
  noise_precision=float32|bf16  model_precision=float32|bf16  decoder_precision=float32|bf16
What is measured:
  reference=FILE.npz|FOLDER|train   ADM's file, a folder of pictures, or the training split; without it nothing is
  metrics=fid,fd_dinov2             fid: FID, sFID, IS, precision, recall, KID (default); fd_<encoder>: any encoder
  encoder.KEY=VALUE                 of the encoder of fd_<encoder>: metrics=fd_timm encoder.name=NAME
  inception=FILE                    Inception's weights (default: $TORCH_HOME/hub/checkpoints)
Where: device=auto|cpu|cuda  threads=1 (of a CPU; another number may change last digits)  cache=DIR  --traceback

Examples:
  python -m bench.evaluate run=runs/digits-selfflow-nano-s0-1a2b3c4d samples=600 protocol=ode50
  python -m bench.evaluate run=runs/... samples=50000 reference=runs/cache/reference/VIRTUAL_imagenet256_labeled.npz
  torchrun --nproc-per-node 8 -m bench.evaluate checkpoint=SiT-XL-2-256.pt format=sit size=XL data=imagenet256 \\
      data.decoder=runs/cache/vae/sd-vae-ft-ema reference=runs/cache/reference/VIRTUAL_imagenet256_labeled.npz"""

OWN = (
    *(
        "run",
        "images",
        "ema",
        "checkpoint",
        "format",
        "size",
        "data",
        "out",
        "samples",
        "protocol",
        "seed",
        "reference",
    ),
    *("metrics", "inception", "device", "threads", "cache"),
)
CHANGES = {
    "steps": int, "shift": float, "guidance": float, "guidance_low": float, "guidance_high": float,
    "guided_channels": int, "labels": str, "rounding": str, "state": str, "noise_precision": str,
    "model_precision": str, "decoder_precision": str,
}  # fmt: skip


def parse(argv: list[str]) -> dict[str, str]:
    """KEY=VALUE words. Raises ValueError for unknown keys, with the nearest."""
    from bench.schema import nearest

    words: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        known = (*OWN, *CHANGES)
        if not equals or not value or (key not in known and not key.startswith(("data.", "encoder."))):
            raise ValueError(f"'{word}' is not one of this command's KEY=VALUE{nearest(key, known)} (see --help)")
        words[key] = value
    if ("run" in words) == ("checkpoint" in words):
        raise ValueError(
            "say what to evaluate: run=DIR, or checkpoint=FILE format=... size=... data=... (one of the two)"
        )
    of_run, of_file = ("images", "ema"), ("format", "size", "data", "out")
    for key in of_file if "run" in words else of_run:
        if key in words:
            raise ValueError(
                f"{key}={words[key]} does not go with {'run' if 'run' in words else 'checkpoint'}=... (see --help)"
            )
    if missing := [key for key in of_file[:3] if "checkpoint" in words and key not in words]:
        raise ValueError(f"checkpoint={words['checkpoint']} needs {', '.join(f'{key}=...' for key in missing)} as well")
    return words


def number(words: dict[str, str], key: str, kind: type, default: Any = None) -> Any:
    """A word as a number. Raises ValueError naming it."""
    if key not in words:
        return default
    try:
        return kind(words[key])
    except ValueError:
        raise ValueError(f"{key}={words[key]} is no {'whole number' if kind is int else 'number'}") from None


def protocol_of(words: dict[str, str], grid: Any, default: str) -> Any:
    """The sampling protocol with the changes that were asked for; grid: of the data."""
    from bench.core.protocols import sampling_protocol

    changes = {key: number(words, key, kind) for key, kind in CHANGES.items() if key in words}
    if "guided_channels" in changes:
        if not 1 <= changes["guided_channels"] <= grid.channels:
            raise ValueError(f"guided_channels={changes['guided_channels']}: the data has {grid.channels} channel(s)")
        # the protocol counts numbers of a token, which are in (c, p1, p2) order
        changes["guided_channels"] *= grid.token_dim // grid.channels
    return sampling_protocol(words.get("protocol", default), **changes)


def evaluate(words: dict[str, str]) -> int:
    """Sample, then measure; returns the exit code."""
    import torch

    from bench.configuration import parse_count
    from bench.core import distributed
    from bench.core.run_folder import RunFolder
    from bench.evaluate_metrics import measurement
    from bench.evaluate_subjects import checkpoint_subject, run_subject
    from bench.sample_file import SampleFile

    n, seed = parse_count("samples", words.get("samples", "50000"), batch=1), number(words, "seed", int, 0)
    threads = number(words, "threads", int, 1)
    if threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    metrics = metrics_of(words)
    torch.set_num_threads(threads)
    processes = distributed.start(words.get("device", "auto"))
    lock = None
    try:
        subject = (run_subject if "run" in words else checkpoint_subject)(words, processes.device)
        grid = subject.backbone.grid
        protocol = protocol_of(words, grid, "sde250")
        record = protocol.to_json() | {"weights": subject.weights, "seed": seed, "samples": n} | subject.decoded_by
        key = hashlib.sha256(json.dumps([subject.sha256, record], sort_keys=True).encode()).hexdigest()[:8]
        key += subject.average
        folder = subject.folder / "samples" / f"{protocol.name}-{subject.images:012d}-{key}"
        measure = None
        if processes.main:
            measure = measurement(subject, metrics, words, processes.device, key) if metrics else None
            lock = RunFolder(folder)
            lock.claim()
        samples = SampleFile(folder, n, protocol.block)
        processes.barrier()
        if not samples.done():
            samples.write(
                block_maker(subject, protocol, seed, processes.device), processes, progress=sys.stderr.isatty()
            )
            processes.barrier()
            if processes.main:
                samples.finish()
        if processes.main:
            left_out = samples.not_finite()
            print(
                f"{samples.path}: {n - left_out} pictures"
                + (f"; {left_out} samples were not finite" if left_out else "")
            )
            if measure is not None:
                measure(samples, record)
        return 0
    finally:
        if lock is not None:
            lock.release()
        distributed.finish()


def block_maker(subject: Any, protocol: Any, seed: int, device: Any) -> Any:
    """block -> its pictures and which samples are finite."""
    from bench.core.data import pictures_of
    from bench.core.sampling import sample_block, velocity_of

    backbone = subject.backbone
    velocity = velocity_of(backbone, protocol.model_precision)
    shape = (backbone.grid.tokens, backbone.grid.token_dim)

    def make(block: int) -> Any:
        tokens, _ = sample_block(velocity, protocol, shape, backbone.classes, seed, block, device)
        return pictures_of(subject.decode(tokens, protocol.decoder_precision), protocol.rounding)

    return make


def metrics_of(words: dict[str, str]) -> list[str]:
    """What is to be measured, checked before anything is sampled."""
    from bench.configuration import options
    from bench.schema import nearest

    if "reference" not in words:
        if given := [key for key in words if key in ("metrics", "inception") or key.startswith("encoder.")]:
            raise ValueError(f"{given[0]}={words[given[0]]} needs reference=FILE.npz|FOLDER|train to compare with")
        return []
    if words["reference"] != "train" and not Path(words["reference"]).exists():
        raise ValueError(
            f"reference={words['reference']} does not exist: python -m bench.prepare reference=imagenet256 fetches one"
        )
    metrics = words.get("metrics", "fid").split(",")
    known = ["fid", "fd_dinov2", *(f"fd_{name}" for name in options("encoder"))]
    for metric in metrics:
        if metric not in known:
            raise ValueError(f"metrics={metric} is unknown{nearest(metric, known)} (fid, fd_dinov2, or fd_<encoder>)")
    of_encoder = next((word for word in words if word.startswith("encoder.")), None)
    if of_encoder and sum(metric not in ("fid", "fd_dinov2") for metric in metrics) != 1:
        raise ValueError(
            f"{of_encoder}={words[of_encoder]} is for one encoder: metrics=fd_<encoder>, and no second one"
        )
    return metrics


def main(argv: list[str]) -> int:
    """The command. Raises ValueError for bad input; returns the exit code."""
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    return evaluate(parse(argv))


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
