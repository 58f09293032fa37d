"""Samples for others and the papers' metrics, of a run or of a released checkpoint: `python -m bench.evaluate run=DIR samples=50000`.

Samples stream into one samples_50000.npz that the ADM suite reads; the same command again resumes where it was cut off. With
reference=... the FID family (arXiv 1706.08500 and successors) and Frechet distances in encoders' features follow.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.command_line import guarded

HELP = """\
usage: python -m bench.evaluate run=DIR [KEY=VALUE ...]
       python -m bench.evaluate checkpoint=FILE format=sit|repa|selfflow size=XL data=imagenet256 [KEY=VALUE ...]

Stream samples into one samples_<n>.npz (arr_0, uint8 NHWC), then measure them. The same command again goes on where it stopped.

What:
  run=DIR           folder of a run                       images=N       its snapshot (default: the newest)
  checkpoint=FILE   a released model (docs/released_checkpoints.md)     out=DIR   its results (default evaluations/<name>)
  data.decoder=DIR  the VAE that decodes latents (bench.prepare vae=ema)
How it is sampled (a complete record of it goes into every row):
  samples=50000     protocol=sde250|ode50|heun50|dopri5   seed=0
  steps=N  shift=A  guidance=W  guidance_low=T  guidance_high=T  labels=random|balanced  rounding=truncate|round_half_up
  guided_channels=C of the data (default all)             model_precision=float32|bf16
What is measured:
  reference=FILE.npz|FOLDER|train   ADM's file, a folder of pictures, or the run's own training split; without it nothing is
  metrics=fid,fd_dinov2             fid: FID, sFID, IS, precision, recall, KID at once (default); fd_<encoder>: any encoder
  inception=FILE                    Inception's weights (default: $TORCH_HOME/hub/checkpoints)
Where: device=auto|cpu|cuda  threads=1 (of a CPU; another number may change last digits)  cache=DIR  --traceback

Examples:
  python -m bench.evaluate run=runs/digits-selfflow-nano-s0-1a2b3c4d samples=600 protocol=ode50
  python -m bench.evaluate run=runs/... samples=50000 reference=runs/cache/reference/VIRTUAL_imagenet256_labeled.npz
  torchrun --nproc-per-node 8 -m bench.evaluate checkpoint=SiT-XL-2-256.pt format=sit size=XL data=imagenet256 \\
      data.decoder=runs/cache/vae/sd-vae-ft-ema reference=runs/cache/reference/VIRTUAL_imagenet256_labeled.npz"""

OWN = (
    *("run", "images", "checkpoint", "format", "size", "data", "out", "samples", "protocol", "seed", "reference"),
    *("metrics", "inception", "device", "threads", "cache"),
)
CHANGES = {
    "steps": int, "shift": float, "guidance": float, "guidance_low": float, "guidance_high": float, "guided_channels": int,
    "labels": str, "rounding": str, "model_precision": str,
}  # fmt: skip
CHOICES = {
    "labels": ("random", "balanced"), "rounding": ("round_half_up", "truncate"), "model_precision": ("float32", "bf16"),
}  # fmt: skip


@dataclass
class Subject:
    """What is evaluated: a backbone, how its tokens become pictures, and where its results go.

    pictures(tokens, rounding) -> uint8 [n, 3, H, W]; data: the data set, None where only its decoder is at hand;
    images: training images seen (0 where that is not known); context: for result files.
    """

    backbone: Any
    pictures: Any
    data: Any
    data_name: str
    folder: Path
    images: int
    weights: str
    sha256: str
    aligned: dict[str, str] | None
    context: dict[str, Any]


def parse(argv: list[str]) -> dict[str, str]:
    """KEY=VALUE words. Raises ValueError for unknown keys, with the nearest."""
    from bench.configuration import nearest

    words: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        known = (*OWN, *CHANGES)
        if not equals or not value or (key not in known and not key.startswith("data.")):
            raise ValueError(f"'{word}' is not one of this command's KEY=VALUE{nearest(key, known)} (see --help)")
        words[key] = value
    if ("run" in words) == ("checkpoint" in words):
        raise ValueError(
            "say what to evaluate: run=DIR, or checkpoint=FILE format=... size=... data=... (one of the two)"
        )
    of_run, of_file = ("images",), ("format", "size", "data", "out")
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


def protocol_of(words: dict[str, str], patch_cells: int, default: str) -> Any:
    """The sampling protocol with the changes that were asked for; patch_cells: numbers a channel has in a token."""
    from bench.core.protocols import sampling_protocol

    for key, choices in CHOICES.items():
        if words.get(key, choices[0]) not in choices:
            raise ValueError(f"{key}={words[key]} is unknown (choices: {', '.join(choices)})")
    changes = {key: number(words, key, kind) for key, kind in CHANGES.items() if key in words}
    if "guided_channels" in changes:  # of a token: its numbers are in (c, p1, p2) order
        changes["guided_channels"] *= patch_cells
    if changes.get("steps", 1) < 1 or changes.get("guided_channels", 1) < 1 or not changes.get("shift", 1.0) > 0:
        raise ValueError("steps, guided_channels and shift must be above 0")
    return sampling_protocol(words.get("protocol", default), **changes)


def run_subject(words: dict[str, str], device: Any) -> Subject:
    """A run's snapshot. Raises ValueError where there is none."""
    from bench.configuration import build, parse_count
    from bench.core import checkpoints
    from bench.core.backbone import SiT
    from bench.core.run_folder import read_json
    from bench.core.sizes import Size
    from bench.measure import spent_until

    folder = Path(words["run"])
    cfg, run = read_json(folder / "config.json"), read_json(folder / "run.json")
    there = checkpoints.snapshots(folder)
    if not cfg or not run:
        raise ValueError(f"run={folder} is no folder of a run (no config.json and run.json): give one of runs/*")
    if not there:
        raise ValueError(
            f"run={folder} has no snapshot yet: train it first, python -m bench.run {' '.join(run['argv'])}"
        )
    images = parse_count("images", words["images"], cfg["batch"]) if "images" in words else max(there)
    if images not in there:
        raise ValueError(f"images={images}: run={folder} has snapshots at {', '.join(map(str, there))}")
    changes = {key.removeprefix("data."): value for key, value in words.items() if key.startswith("data.")}
    if unknown := [key for key in changes if key not in cfg["data"]]:
        raise ValueError(f"data.{unknown[0]} is no key of data={cfg['data']['name']} (it has {', '.join(cfg['data'])})")
    data = build(cfg["data"] | changes)
    backbone = SiT(data.grid, Size(**cfg["size"]), data.classes).to(device)
    checkpoints.load_snapshot(there[images], backbone)
    backbone.requires_grad_(False)
    digest = checkpoints.file_hash(there[images])
    return Subject(
        backbone,
        data.to_uint8,
        data,
        data.fingerprint,
        folder,
        images,
        "ema",
        digest,
        run.get("aligned"),
        spent_until(folder, images),
    )


def checkpoint_subject(words: dict[str, str], device: Any) -> Subject:
    """A released checkpoint on a data set of bench/conf/data. Raises ValueError where they do not fit."""
    from bench.configuration import build, compose
    from bench.core.checkpoints import file_hash
    from bench.core.data_latents import Decoder
    from bench.core.sizes import Size
    from bench.importers import format_of, import_checkpoint

    format_of(words["format"])
    of_data = [f"{key}={value}" for key, value in words.items() if key.startswith("data.")]
    cfg = compose([f"data={words['data']}", f"size={words['size']}", *of_data])
    latents, data = "decoder" in cfg["data"], None
    if latents:
        channels = 4
    else:
        data = build(cfg["data"])
        channels = data.grid.channels
    path = Path(words["checkpoint"]).expanduser()
    found = import_checkpoint(path, words["format"], Size(**cfg["size"]), cfg["data"]["patch"], channels)
    backbone = found.backbone.to(device)
    classes = cfg["data"]["classes"] if data is None else data.classes
    if backbone.classes != classes or (data is not None and backbone.grid != data.grid):
        raise ValueError(
            f"{path} was trained on {backbone.classes} classes at {'x'.join(map(str, backbone.grid.shape))}, "
            f"data={words['data']} has {classes}: choose the data set that it was trained on"
        )
    if data is None:
        decoder = Decoder(cfg["data"]["decoder"])
        decoder.load()  # a missing VAE is told before hours of sampling

        def pictures(tokens: Any, rounding: str) -> Any:
            return decoder.pictures(backbone.grid.unpatchify(tokens.float()), rounding)
    else:
        pictures = data.to_uint8
    digest = file_hash(path)
    folder = Path(words.get("out", f"evaluations/{path.stem}-{digest[:8]}"))
    name = f"{words['data']} ({data.fingerprint})" if data is not None else words["data"]
    context = {"flops": None, "hours": None, "checkpoint": path.name, "format": words["format"]}
    return Subject(backbone, pictures, data, name, folder, 0, found.weights, digest, None, context)


def evaluate(words: dict[str, str]) -> int:
    """Sample, then measure; returns the exit code."""
    import torch

    from bench.core import distributed
    from bench.core.run_folder import RunFolder
    from bench.sample_file import SampleFile

    n, seed = number(words, "samples", int, 50_000), number(words, "seed", int, 0)
    threads = number(words, "threads", int, 1)
    if n < 1 or threads < 1:
        raise ValueError(f"samples={n} and threads={threads} must be at least 1")
    metrics = metrics_of(words)
    torch.set_num_threads(threads)
    processes = distributed.start(words.get("device", "auto"))
    lock = None
    try:
        subject = (run_subject if "run" in words else checkpoint_subject)(words, processes.device)
        grid = subject.backbone.grid
        protocol = protocol_of(words, grid.token_dim // grid.channels, "sde250")
        record = protocol.to_json() | {"weights": subject.weights, "seed": seed, "samples": n}
        key = hashlib.sha256(json.dumps([subject.sha256, record], sort_keys=True).encode()).hexdigest()[:8]
        folder = subject.folder / "samples" / f"{protocol.name}-{subject.images:012d}-{key}"
        if processes.main:
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
            if metrics:
                measure(subject, samples, record, metrics, words, processes.device, key)
        return 0
    finally:
        if lock is not None:
            lock.release()
        distributed.finish()


def block_maker(subject: Subject, protocol: Any, seed: int, device: Any) -> Any:
    """block -> its pictures and which samples are finite."""
    import torch

    from bench.core.sampling import sample_block, velocity_of

    backbone = subject.backbone
    velocity = velocity_of(backbone, protocol.model_precision)
    shape = (backbone.grid.tokens, backbone.grid.token_dim)

    def make(block: int) -> Any:
        tokens, _ = sample_block(velocity, protocol, shape, backbone.classes, seed, block, device)
        finite = torch.isfinite(tokens).flatten(1).all(dim=1)
        return subject.pictures(torch.nan_to_num(tokens, posinf=0.0, neginf=0.0), protocol.rounding), finite

    return make


def metrics_of(words: dict[str, str]) -> list[str]:
    """What is to be measured, checked before anything is sampled."""
    from bench.configuration import nearest, options

    if "reference" not in words:
        if given := [key for key in ("metrics", "inception") if key in words]:
            raise ValueError(f"{given[0]}={words[given[0]]} needs reference=FILE.npz|FOLDER|train to compare with")
        return []
    if words["reference"] != "train" and not Path(words["reference"]).exists():
        raise ValueError(
            f"reference={words['reference']} does not exist: fetch it with python -m bench.prepare reference=imagenet256"
        )
    metrics = words.get("metrics", "fid").split(",")
    known = ["fid", "fd_dinov2", *(f"fd_{name}" for name in options("encoder"))]
    for metric in metrics:
        if metric not in known:
            raise ValueError(f"metrics={metric} is unknown{nearest(metric, known)} (fid, fd_dinov2, or fd_<encoder>)")
    return metrics


def measure(
    subject: Subject,
    samples: Any,
    record: dict[str, Any],
    metrics: list[str],
    words: dict[str, str],
    device: Any,
    key: str,
) -> None:
    """Rows of the finished samples into results/; one file a protocol and set of metrics."""
    import torch

    from bench.core import results
    from bench.core.environment import environment
    from bench.evaluate_metrics import measured_rows

    cache = Path(words.get("cache", subject.folder.parent / "cache"))
    reference = subject.data if words["reference"] == "train" else Path(words["reference"])
    if reference is None:
        raise ValueError("reference=train needs a data set whose pictures are here: give an ADM file or a folder")
    rows = measured_rows(subject, samples, record, metrics, reference, cache, words.get("inception"), device)
    if not (subject.folder / "run.json").exists():
        describe(subject, words)
    context = subject.context | {"snapshot_sha256": subject.sha256}
    context["environment"] = environment(device, torch.get_num_threads())
    kind = f"evaluate-{key}-{'-'.join(metrics)}"
    path = results.write(subject.folder, kind, subject.images, rows, context)
    for row in rows:
        value = "missing" if row.value is None else f"{row.value:.5g}"
        print(f"  {row.metric:20}{value:12}{row.note}")
    print(path)


def describe(subject: Subject, words: dict[str, str]) -> None:
    """run.json of an evaluated file, so that `results.load` reads its folder as it reads a run's."""
    from bench.core.results import SCHEMA_VERSION, write_json

    size = subject.backbone.size
    description = {
        "schema_version": SCHEMA_VERSION, "id": subject.folder.name, "arm": Path(words["checkpoint"]).stem, "method": words["format"],
        "encoder": None, "size": size.name, "depth": size.depth, "width": size.width, "data": words["data"], "seed": 0,
        "images": 0, "aligned": None, "argv": [f"{k}={v}" for k, v in words.items()],
    }  # fmt: skip
    write_json(subject.folder / "run.json", description)
    write_json(subject.folder / "status.json", {"schema_version": SCHEMA_VERSION, "state": "complete"})


def main(argv: list[str]) -> int:
    """The command. Raises ValueError for bad input; returns the exit code."""
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    return evaluate(parse(argv))


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
