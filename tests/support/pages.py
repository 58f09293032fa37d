"""Run folders with known truth, written without training anything,
for tests of the report and of the verdicts.

    python tests/support/pages.py /tmp/runs --sizes nano micro mini --seeds 3

Held-out loss and distances follow `floor + scale * parameters**-a * (1 +
(images_0 / images)**b)` times a factor of the arm, times `exp(spread * normal)` of the seed; probe
accuracies rise to the middle blocks and fall with the noise level.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.model.sizes import SIZES
from bench.core.store.files import write_json
from bench.core.store.rows import Row, write_rows

ARMS: dict[str, float] = {
    "vanilla": 1.00,
    "dual_timestep": 0.97,
    "selfflow": 0.85,
    "repa/local_s": 0.93,
    "repa/local_m": 0.95,
    "repa/local_l": 0.97,
}
PROBE_ACCURACY = {"local_s": 0.88, "local_m": 0.93, "local_l": 0.96}
IMAGES = 131072
METRICS = {
    "heldout_loss": (0.20, 3.0, 0.0005),
    "fd_local": (0.0, 90.0, 0.02),
    "fd_pixels": (0.0, 60.0, 0.02),
}
REAL = {"heldout_loss": None, "fd_local": 0.64, "fd_pixels": 0.41}
ENVIRONMENT = {
    "python": "3.11.2",
    "torch": "2.13.0+cpu",
    "device": "cpu",
    "git": "0123abcd",
    "threads": 1,
}


def write_runs(
    root: Path,
    arms: Mapping[str, float] = ARMS,
    sizes: Iterable[str] = ("nano",),
    seeds: int = 3,
    data: str = "digits",
    snapshots: int = 6,
    spread: float = 1.0,
    probes: bool = True,
    pictures: bool = False,
    state: str = "complete",
    metrics: Iterable[str] = tuple(METRICS),
) -> list[Path]:
    """Write one folder for each arm, size and seed and return them;
    `arms` maps an arm to its factor on distances.

    spread multiplies the deviation of seeds on the log (0.0005 of the held-out loss, 0.02 of
    distances); 0: none.
    """
    return [
        write_run(
            root,
            arm,
            factor,
            size,
            seed,
            data,
            snapshots,
            spread,
            probes,
            pictures,
            state,
            tuple(metrics),
        )
        for size in sizes
        for arm, factor in arms.items()
        for seed in range(seeds)
    ]


def write_run(
    root: Path,
    arm: str,
    factor: float = 1.0,
    size: str = "nano",
    seed: int = 0,
    data: str = "digits",
    snapshots: int = 6,
    spread: float = 1.0,
    probes: bool = True,
    pictures: bool = False,
    state: str = "complete",
    metrics: tuple[str, ...] = tuple(METRICS),
) -> Path:
    """Write one run folder as the trainer and the measurements leave it, without weights."""
    digest = hashlib.sha256(f"{arm}|{size}|{data}".encode()).hexdigest()[:8]
    name = "".join(
        letter if letter.isalnum() or letter in "._=" else "-"
        for letter in f"{data}-{arm}-{size}-s{seed}"
    )
    run = root / f"{name}-{digest}"
    rng = np.random.default_rng(int(digest, 16) + seed)
    method, _, encoder = arm.partition("/")
    shape = SIZES[size]
    parameters = 18 * shape.depth * shape.width**2 + 300 * shape.width
    flops = {"backbone": 6.0 * parameters * 16, "heads": 0.0, "teacher": 0.0, "encoder": 0.0}
    if encoder:
        flops |= {"heads": 0.2 * flops["backbone"], "encoder": 4e5}
    if method == "selfflow":
        flops |= {"heads": 0.1 * flops["backbone"], "teacher": 0.25 * flops["backbone"]}
    per_image = sum(flops.values())
    blocks = {
        "selfflow": {"student": shape.block(0.3), "teacher": shape.block(0.7)},
        "repa": {"student": shape.block(0.3)},
    }
    aligned = (
        {"family": "convnet", "trained_on": f"{data}-train", "labels": data} if encoder else None
    )
    described = {
        "schema_version": 1,
        "id": run.name,
        "hash": digest,
        "arm": arm,
        "method": method.partition("(")[0],
        "encoder": encoder or None,
        "size": size,
        "depth": shape.depth,
        "width": shape.width,
        "data": data,
        "seed": seed,
        "images": IMAGES,
        "batch": 64,
        "aligned": aligned,
        "blocks": blocks.get(method, {}),
        "identity": {},
        "argv": [],
    }
    done = IMAGES if state == "complete" else IMAGES // 2
    write_json(run / "run.json", described)
    write_json(run / "env.json", ENVIRONMENT)
    write_json(
        run / "status.json",
        {
            "schema_version": 1,
            "state": state,
            "phase": "measuring",
            "images": done,
            "images_total": IMAGES,
            "loss": 0.5,
            "images_per_second": 4000.0,
            "seconds_left": 0.0,
            "heartbeat": 0.0,
            "host": "host",
            "pid": 1,
            "message": "",
        },
    )
    write_json(
        run / "cost.json",
        {
            "parameters": {
                "backbone": parameters,
                "heads": int(flops["heads"] / 96),
                "teacher": 0,
                "encoder": 9000 * bool(encoder),
            },
            "flops_per_image": flops | {"total": per_image},
            "encoder_training_flops": 1e12 if encoder else 0.0,
            "not_counted": "",
            "seconds_per_step": 0.016 * per_image / 1.2e7,
            "peak_memory_bytes": 4e8 + parameters * 40,
        },
    )
    write_json(
        run / "config.json",
        {
            "method": {"name": method},
            "size": {"name": size},
            "data": {"name": data},
            "encoder": {"name": encoder} if encoder else None,
            "seed": seed,
            "optimizer": {"lr": 0.004},
            "batch": 64,
            "images": IMAGES,
        },
    )
    luck = {
        metric: math.exp(spread * METRICS[metric][2] * rng.standard_normal()) for metric in metrics
    }
    _write_metrics(run, method, factor, done, rng)
    for images in [
        IMAGES >> power for power in reversed(range(snapshots)) if IMAGES >> power <= done
    ]:
        context = {
            "flops": images * per_image,
            "hours": images * per_image / 4e14,
            "snapshot_sha256": digest,
            "environment": ENVIRONMENT,
        }
        for metric in metrics:
            value = (
                distance(metric, parameters, images)
                * (factor if metric != "heldout_loss" else factor**0.1)
                * luck[metric]
            )
            kind = "heldout" if metric == "heldout_loss" else "samples"
            row = Row(
                metric,
                value,
                600,
                False,
                {"data": data, "kind": kind, "sampler": "heun50"},
                real=REAL.get(metric),
            )
            if metric == "fd_local" and aligned:
                row = Row(
                    metric,
                    value,
                    600,
                    False,
                    row.protocol,
                    real=row.real,
                    related="extractor and encoder: digits-train",
                )
            write_rows(run, f"{kind}-{metric}", images, [row], context)
        if "fd_local" in metrics:
            protocol = {"data": data, "kind": "samples", "sampler": "heun50"}
            rows = [
                Row("label_agreement", 0.9, 600, True, protocol, stderr=0.012, real=0.98),
                Row(
                    "copy_rate", 0.97 + 0.01 * rng.standard_normal(), 600, True, protocol, real=1.0
                ),
            ]
            write_rows(run, "quality", images, rows, context)
        if encoder and images == IMAGES:
            write_rows(run, "encoder", images, _encoder_rows(encoder, data), context)
        if probes and images == IMAGES:
            write_rows(
                run, "features", images, list(_probe_rows(shape.depth, factor, data, rng)), context
            )
    if pictures:
        _write_pictures(run, rng)
    return run


def distance(metric: str, parameters: float, images: float) -> float:
    """The value that a seed without luck has in the arm of factor 1."""
    floor, scale, _ = METRICS[metric]
    return floor + scale * parameters**-0.25 * (1 + (20000 / images) ** 0.7)


def _encoder_rows(encoder: str, data: str) -> list[Row]:
    accuracy = PROBE_ACCURACY.get(encoder, 0.9)
    protocol = {"data": data, "encoder": encoder}
    return [
        Row("encoder_linear_probe", accuracy, 600, True, protocol, stderr=0.01),
        Row("encoder_structure", 1.2 - accuracy, 600, True, protocol, stderr=0.01),
        Row("pixel_linear_probe", 0.95, 600, True, {"data": data}, stderr=0.009),
    ]


def _probe_rows(depth: int, factor: float, data: str, rng: np.random.Generator) -> Iterable[Row]:
    protocol = {"data": data, "probe": "logistic regression", "pool": "mean"}
    for metric, best in (("linear_probe", 0.96), ("knn", 0.93)):
        for block in range(1, depth + 1):
            for t in (0.1, 0.3, 0.5, 0.7, 0.9):
                accuracy = (
                    best
                    - 0.1 * (block / depth - 0.6) ** 2
                    - 0.4 * t**3 * factor
                    + 0.005 * rng.standard_normal()
                )
                stderr = math.sqrt(max(accuracy * (1 - accuracy), 1e-6) / 600)
                yield Row(
                    metric, min(accuracy, 1.0), 600, True, protocol, stderr=stderr, block=block, t=t
                )


def _write_metrics(
    run: Path, method: str, factor: float, done: int, rng: np.random.Generator
) -> None:
    with open(run / "metrics.jsonl", "w", encoding="utf-8") as file:
        for images in range(4096, done + 1, 4096):
            velocity = 0.4 + factor * math.exp(-images / 20000) + 0.01 * rng.standard_normal()
            line: dict[str, Any] = {
                "images": images,
                "step": images // 64,
                "loss": {"total": velocity, "velocity": velocity},
                "grad_norm": 0.5,
                "lr": 0.004,
                "diagnostics": {},
                "time": {"seconds": images / 4000},
            }
            if method in ("selfflow", "repa"):
                line["diagnostics"] = {
                    "feature_norm": 3.0,
                    "alignment_cosine": 0.9 - 0.6 * math.exp(-images / 40000),
                    "gradient_agreement": 0.3 * math.exp(-images / 60000),
                }
            file.write(json.dumps(line) + "\n")


def _write_pictures(run: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    picture = Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8).astype(np.uint8))
    (run / "samples").mkdir(exist_ok=True)
    for images in (IMAGES // 2, IMAGES):
        picture.resize((256, 256), 0).save(run / "samples" / f"grid-{images:012d}.png")
    picture.resize((256, 256), 0).save(run / "samples" / "real.png")
    np.savez(
        run / "samples" / f"features_pca-{IMAGES:012d}.npz",
        pictures=rng.random((4, 4, 4, 3)).astype(np.float32),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["nano"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", action="store_true")
    options = parser.parse_args()
    print(
        len(
            write_runs(
                options.root, sizes=options.sizes, seeds=options.seeds, pictures=options.pictures
            )
        ),
        "runs",
    )
