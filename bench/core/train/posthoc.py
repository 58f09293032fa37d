"""EMA profiles of other lengths, rebuilt from a run's snapshots after training: post-hoc EMA,
arXiv 2312.02696, 3.2.

A snapshot is a weighted sum of the weights after each training step, e_i = sum_n p_i[n] theta_n,
and `bench.core.train.ema` says every p_i[n] exactly. The profile q of another decay is approximated
by least squares over the steps,

    min_x || sum_i x_i p_i - q ||^2    with    sum_i x_i = 1,

and the weights are then sum_i x_i e_i. The constraint is ours: it keeps what training does not
change. How far the profile is from the one asked for is shown as relative L2 error; more snapshots
(`snapshots=64`) make it smaller.

    python -m bench.posthoc_ema run=runs/digits-vanilla-nano-s0-1a2b3c4d decay=0.99,0.998
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bench.core.store import checkpoints, weight_files
from bench.core.store.checkpoints import read_tensors
from bench.core.store.runs import CONFIGURATION, find_run, read_part
from bench.core.train.ema import ema_decay


@dataclass(frozen=True)
class ProfileFit:
    """coefficients of the snapshots, in order; error:
    ||approximation - target|| / ||target|| of the profiles.

    age: steps, of the target: how old the averaged weights are in the mean (d / (1 - d) for a decay
    d without warm-up).
    """

    coefficients: np.ndarray
    error: float
    age: float


def profile(decay: float, warmup: bool, steps: int, length: int | None = None) -> np.ndarray:
    """Weights of theta_0 (initial), .. theta_length in the EMA after `steps` steps; float64,
    sum 1, zero after it.
    """
    decays = np.array([ema_decay(decay, warmup, n) for n in range(steps)])
    kept = np.concatenate(
        [np.cumprod(decays[::-1])[::-1], [1.0]]
    )  # what is left at the end of what stood after step n
    own = np.concatenate([[1.0], 1 - decays])
    weights = np.zeros((length if length is not None else steps) + 1)
    weights[: steps + 1] = own * kept
    return weights


def fit_profile(profiles: Sequence[np.ndarray], target: np.ndarray) -> ProfileFit:
    """Least squares under sum x = 1, one multiplier:
    the last snapshot takes what the others leave.
    """
    basis = np.stack(profiles, axis=1)
    last = basis[:, -1]
    rest = np.linalg.lstsq(basis[:, :-1] - last[:, None], target - last, rcond=None)[0]
    coefficients = np.append(rest, 1 - rest.sum())
    error = np.linalg.norm(basis @ coefficients - target) / np.linalg.norm(target)
    return ProfileFit(coefficients, float(error), age=float(target @ np.arange(len(target))[::-1]))


def combine(paths: Sequence[Path], coefficients: np.ndarray) -> dict[str, Tensor]:
    """sum_i x_i e_i of snapshot files, summed in float64;
    what is equal in all of them is kept bit for bit.
    """
    sums: dict[str, Tensor] = {}
    first: dict[str, Tensor] = {}
    varies: set[str] = set()
    for path, coefficient in zip(paths, coefficients, strict=True):
        for name, value in read_tensors(path).items():
            if name not in first:
                first[name], sums[name] = value, torch.zeros_like(value, dtype=torch.float64)
            elif not torch.equal(value, first[name]):
                varies.add(name)
            sums[name] += float(coefficient) * value.double()
    return {
        name: sums[name].to(value.dtype) if name in varies else value
        for name, value in first.items()
    }


def posthoc_path(run_dir: Path, images: int, decay: float, warmup: bool) -> Path:
    """Where a rebuilt average lies; `checkpoints.load_snapshot` reads it."""
    return (
        run_dir
        / "posthoc"
        / f"{images:012d}-decay{decay:g}{'-warmup' if warmup else ''}.safetensors"
    )


def rebuild(
    run_dir: Path, decay: float, images: int | None = None, warmup: bool | None = None
) -> tuple[Path, ProfileFit]:
    """Write the EMA of `decay` that ends at `images` from all snapshots up to there.

    Raises ValueError for a folder without snapshots, a decay outside [0, 1) or an end before the
    first snapshot.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay={decay} must be at least 0 and below 1")
    run, snapshots = find_run(run_dir), weight_files.snapshots(run_dir)
    cfg = run.configuration if run else read_part(run_dir, CONFIGURATION)
    if not cfg or not snapshots:
        raise ValueError(f"run={run_dir} is no run folder with snapshots: give one of runs/*")
    end = images if images is not None else max(snapshots)
    used = {at: path for at, path in snapshots.items() if at <= end}
    if not used or end > max(snapshots) or end % cfg["batch"]:
        known = ", ".join(map(str, snapshots))
        raise ValueError(
            f"images={end}: choose a whole number of steps between the first and last "
            f"snapshot ({known})"
        )
    steps, ema = end // cfg["batch"], cfg["ema"]
    profiles = [profile(ema["decay"], ema["warmup"], at // cfg["batch"], steps) for at in used]
    warms = ema["warmup"] if warmup is None else warmup
    fitted = fit_profile(profiles, profile(decay, warms, steps))
    path = posthoc_path(run_dir, end, decay, warms)
    metadata = {
        "images": str(end),
        "decay": repr(decay),
        "warmup": str(warms),
        "profile_error": repr(fitted.error),
    }
    metadata["coefficients"] = " ".join(
        f"{at}:{x!r}" for at, x in zip(used, fitted.coefficients.tolist(), strict=True)
    )
    checkpoints.write_tensors(path, combine(list(used.values()), fitted.coefficients), metadata)
    return path, fitted


def about_average(run_dir: Path, path: Path) -> dict[str, str]:
    """What `rebuild` noted in a file: images, decay, warmup, profile_error, coefficients.

    Raises ValueError unless it is one of this run's.
    """
    if path.resolve().parent != posthoc_path(run_dir, 0, 0, False).resolve().parent:
        raise ValueError(
            f"{path} is not of this run: "
            f"python -m bench.posthoc_ema run={run_dir} decay=... makes one"
        )
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): python -m bench.posthoc_ema writes it anew"
        ) from error
    if not {"images", "decay", "warmup", "profile_error"} <= found.keys():
        raise ValueError(
            f"{path} does not say which average it is: python -m bench.posthoc_ema writes it anew"
        )
    return found
