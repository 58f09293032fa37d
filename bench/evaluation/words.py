"""The words of bench.evaluate: which there are, what goes with what,
and what they say about sampling.

words = parse(["run=runs/digits-vanilla-nano-s0-1a2b3c4d", "samples=600", "protocol=ode50"])
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

HELP = """\
usage: python -m bench.evaluate run=DIR [KEY=VALUE ...]
       python -m bench.evaluate checkpoint=FILE format=sit|repa|selfflow size=XL data=imagenet256 [KEY=VALUE ...]

Stream samples into one samples_<n>.npz (arr_0, uint8 NHWC), then measure them. The same command again goes on.

What:
  run=DIR           folder of a run                       images=N       its snapshot (default: the newest)
  ema=FILE          instead of a snapshot, an average of the run that bench.posthoc_ema made
  checkpoint=FILE   a released model (docs/released_checkpoints.md)
  out=DIR           results of a checkpoint (default evaluations/<name>)
  aligned=ENCODER   a checkpoint's encoder, whose relatives' metrics are marked (default dinov2_b for repa, else none)
  data.decoder=DIR  the VAE that decodes latents (bench.prepare vae=ema)
How it is sampled (a complete record of it goes into every row):
  samples=50000     protocol=sde250|ode50|heun50|dopri5   seed=0
  steps=N  shift=A  guidance=W  guidance_low=T  guidance_high=T  labels=random|balanced  rounding=truncate|round_half_up
  guided_channels=C of the data (default all)  state=float32|float64
  noise_precision=float32|bf16  model_precision=float32|bf16  decoder_precision=float32|bf16
What is measured:
  reference=FILE.npz|FOLDER|train   ADM's file, a folder of pictures, or the training split; without it nothing is
  metrics=fid,fd_dinov2             fid: FID, sFID, IS, precision, recall, KID (default); fd_<encoder>: any encoder
  metrics=probes,cknna_dinov2_b     of features, without samples: linear probe and kNN over layers and noise levels,
                                    CKNNA to any encoder (they need the data set: data.root=DIR)
  probe=auto|fast|repa              the linear probe: scikit-learn's or REPA's recipe (default by the data's size)
  encoder.KEY=VALUE                 of the encoder of fd_<encoder>, cknna_<encoder>: metrics=fd_timm encoder.name=NAME
  inception=FILE                    Inception's weights (default: $TORCH_HOME/hub/checkpoints)
Where: device=auto|cpu|cuda  threads=1 (of a CPU; another number may change last digits)  cache=DIR  --traceback

Examples:
  python -m bench.evaluate run=runs/digits-selfflow-nano-s0-1a2b3c4d samples=600 protocol=ode50
  python -m bench.evaluate run=runs/digits-selfflow-nano-s0-1a2b3c4d metrics=probes,cknna_local_m probe=repa
  python -m bench.evaluate run=runs/... samples=50000 reference=runs/cache/reference/VIRTUAL_imagenet256_labeled.npz
  torchrun --nproc-per-node 8 -m bench.evaluate checkpoint=SiT-XL-2-256.pt format=sit size=XL data=imagenet256 \\
      data.decoder=runs/cache/vae/sd-vae-ft-ema reference=runs/cache/reference/VIRTUAL_imagenet256_labeled.npz"""

OWN = (
    *("run", "images", "ema", "checkpoint", "format", "size", "data", "out", "aligned"),
    *(
        "samples",
        "protocol",
        "seed",
        "reference",
        "metrics",
        "probe",
        "inception",
        "device",
        "threads",
        "cache",
    ),
)
PATHS = ("run", "ema", "checkpoint", "out", "reference", "inception", "cache")
CHANGES = {
    "steps": int, "shift": float, "guidance": float, "guidance_low": float, "guidance_high": float,
    "guided_channels": int, "labels": str, "rounding": str, "state": str, "noise_precision": str,
    "model_precision": str, "decoder_precision": str,
}  # fmt: skip
PROBES = ("auto", "fast", "repa")
GUIDING = ("guidance_low", "guidance_high", "guided_channels")


def parse(argv: list[str]) -> dict[str, str]:
    """KEY=VALUE words. Raises ValueError for unknown keys, with the nearest."""
    from bench.config.schema import nearest

    words: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        known = (*OWN, *CHANGES)
        if (
            not equals
            or not value
            or (key not in known and not key.startswith(("data.", "encoder.")))
        ):
            raise ValueError(
                f"'{word}' is not one of this command's KEY=VALUE{nearest(key, known)} (see --help)"
            )
        words[key] = os.path.expanduser(value) if key in PATHS else value
    if ("run" in words) == ("checkpoint" in words):
        raise ValueError(
            "say what to evaluate: "
            "run=DIR, or checkpoint=FILE format=... size=... data=... (one of the two)"
        )
    of_run, of_file = ("images", "ema"), ("format", "size", "data", "out", "aligned")
    for key in of_file if "run" in words else of_run:
        if key in words:
            raise ValueError(
                f"{key}={words[key]} does not go with "
                f"{'run' if 'run' in words else 'checkpoint'}=... (see --help)"
            )
    if missing := [key for key in of_file[:3] if "checkpoint" in words and key not in words]:
        raise ValueError(
            f"checkpoint={words['checkpoint']} needs "
            f"{', '.join(f'{key}=...' for key in missing)} as well"
        )
    return words


def number(words: dict[str, str], key: str, kind: type, default: Any = None) -> Any:
    """A word as a number. Raises ValueError naming it."""
    if key not in words:
        return default
    try:
        return kind(words[key])
    except ValueError:
        raise ValueError(
            f"{key}={words[key]} is no {'whole number' if kind is int else 'number'}"
        ) from None


def protocol_of(words: dict[str, str], grid: Any, default: str) -> Any:
    """The sampling protocol with the changes that were asked for; grid: of the data."""
    from bench.core.model.sampling_protocol import sampling_protocol

    changes = {key: number(words, key, kind) for key, kind in CHANGES.items() if key in words}
    if changes.get("guidance", 1.0) < 1:
        raise ValueError(
            f"guidance={changes['guidance']} guides nothing: above 1 it does, 1 is none"
        )
    if inert := [key for key in GUIDING if key in changes and not changes.get("guidance", 1.0) > 1]:
        raise ValueError(
            f"{inert[0]}={words[inert[0]]} says nothing without guidance above 1: "
            "guidance=W, or leave it out"
        )
    if "guided_channels" in changes:
        if not 1 <= changes["guided_channels"] <= grid.channels:
            raise ValueError(
                f"guided_channels={changes['guided_channels']}: "
                f"the data has {grid.channels} channel(s)"
            )
        # the protocol counts numbers of a token, which are in (c, p1, p2) order
        changes["guided_channels"] *= grid.token_dim // grid.channels
    return sampling_protocol(words.get("protocol", default), **changes)


def metrics_of(words: dict[str, str]) -> list[str]:
    """What is to be measured, checked before anything is sampled."""
    from bench.config.groups import options
    from bench.config.schema import nearest

    if "reference" not in words and "metrics" not in words:
        _needed_by(words, ("inception", "probe", "encoder."), "metrics=...")
        return []
    metrics = words.get("metrics", "fid").split(",")
    of_encoders = [f"{kind}_{name}" for kind in ("fd", "cknna") for name in options("encoder")]
    known = ["fid", "probes", "fd_dinov2", *of_encoders]
    for metric in metrics:
        if metric not in known:
            raise ValueError(
                f"metrics={metric} is unknown{nearest(metric, known)} "
                "(fid, probes, fd_dinov2, fd_<encoder>, "
                "cknna_<encoder>)"
            )
        if metrics.count(metric) > 1:
            raise ValueError(f"metrics={words['metrics']} has {metric} twice: once is enough")
    if of_samples := [metric for metric in metrics if is_of_samples(metric)]:
        if "reference" not in words:
            raise ValueError(
                f"metrics={of_samples[0]} needs reference=FILE.npz|FOLDER|train to compare with"
            )
        if words["reference"] != "train" and not Path(words["reference"]).exists():
            raise ValueError(
                f"reference={words['reference']} does not exist: "
                "python -m bench.prepare reference=imagenet256 fetches one"
            )
    else:
        _needed_by(words, ("reference",), "a metric of samples, metrics=fid or fd_<encoder>,")
        if "samples" not in words:
            _needed_by(
                words, ("protocol", "seed", *CHANGES), "samples=N: these metrics sample nothing, so"
            )
    if "fid" not in metrics:
        _needed_by(words, ("inception",), "metrics=fid")
    if "probes" not in metrics:
        _needed_by(words, ("probe",), "metrics=probes")
    elif words.get("probe", "auto") not in PROBES:
        raise ValueError(f"probe={words['probe']} is unknown (choices: {', '.join(PROBES)})")
    if sum(has_encoder(metric) for metric in metrics) != 1:
        _needed_by(
            words,
            ("encoder.",),
            "one encoder, metrics=fd_<encoder> or cknna_<encoder>, and no second one:",
        )
    return metrics


def is_of_samples(metric: str) -> bool:
    """Whether a metric compares samples with a reference;
    the others read the backbone's features.
    """
    return metric == "fid" or metric.startswith("fd_")


def has_encoder(metric: str) -> bool:
    """Whether a metric reads an encoder of the registry, which encoder.KEY=VALUE changes."""
    return metric.startswith(("fd_", "cknna_")) and metric != "fd_dinov2"


def _needed_by(words: dict[str, str], keys: tuple[str, ...], needed: str) -> None:
    """Raise ValueError where one of the words is there that says nothing without another one."""
    for word, value in words.items():
        if word in keys or any(key.endswith(".") and word.startswith(key) for key in keys):
            raise ValueError(f"{word}={value} needs {needed} or is left out")
