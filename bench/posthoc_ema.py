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

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.cli import guarded

if TYPE_CHECKING:
    from torch import Tensor

HELP = """\
usage: python -m bench.posthoc_ema run=DIR decay=D[,D...] [images=N] [warmup=true|false]

Rebuild the EMA of other decays from a run's snapshots, in DIR/posthoc/<images>-decay<D>[-warmup].safetensors.

  run=DIR      a run folder with snapshots
  decay=D,..   the decays wanted, below 1: an average over about 1 / (1 - D) steps
  images=N     where the average ends (default: the last snapshot; counts like 64Ki)
  warmup=...   whether the average warms up, min(D, (1 + n) / (10 + n)); default: as in the run

python -m bench.evaluate run=DIR ema=FILE samples and measures it.

Example:
  python -m bench.posthoc_ema run=runs/digits-vanilla-nano-s0-1a2b3c4d decay=0.99,0.998"""


@dataclass(frozen=True)
class Fit:
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
    from bench.core.train.ema import ema_decay

    decays = np.array([ema_decay(decay, warmup, n) for n in range(steps)])
    kept = np.concatenate(
        [np.cumprod(decays[::-1])[::-1], [1.0]]
    )  # what is left at the end of what stood after step n
    own = np.concatenate([[1.0], 1 - decays])
    weights = np.zeros((length if length is not None else steps) + 1)
    weights[: steps + 1] = own * kept
    return weights


def fit(profiles: Sequence[np.ndarray], target: np.ndarray) -> Fit:
    """Least squares under sum x = 1, one multiplier:
    the last snapshot takes what the others leave.
    """
    basis = np.stack(profiles, axis=1)
    last = basis[:, -1]
    rest = np.linalg.lstsq(basis[:, :-1] - last[:, None], target - last, rcond=None)[0]
    coefficients = np.append(rest, 1 - rest.sum())
    error = np.linalg.norm(basis @ coefficients - target) / np.linalg.norm(target)
    return Fit(coefficients, float(error), age=float(target @ np.arange(len(target))[::-1]))


def combine(paths: Sequence[Path], coefficients: np.ndarray) -> dict[str, Tensor]:
    """sum_i x_i e_i of snapshot files, summed in float64;
    what is equal in all of them is kept bit for bit.
    """
    import torch

    from bench.core.store.checkpoints import read_tensors

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
) -> tuple[Path, Fit]:
    """Write the EMA of `decay` that ends at `images` from all snapshots up to there.

    Raises ValueError for a folder without snapshots, a decay outside [0, 1) or an end before the
    first snapshot.
    """
    from bench.core.store import checkpoints
    from bench.core.store.runs import CONFIGURATION, read_part

    if not 0 <= decay < 1:
        raise ValueError(f"decay={decay} must be at least 0 and below 1")
    cfg = read_part(run_dir, CONFIGURATION)
    snapshots = checkpoints.snapshots(run_dir)
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
    fitted = fit(profiles, profile(decay, warms, steps))
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


def about(run_dir: Path, path: Path) -> dict[str, str]:
    """What `rebuild` noted in a file: images, decay, warmup, profile_error, coefficients.

    Raises ValueError unless it is one of this run's.
    """
    from safetensors import SafetensorError, safe_open

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


def main(argv: list[str]) -> int:
    """The command."""
    if not argv or {"--help", "-h"} & set(argv):
        print(HELP)
        return 0
    words = _words(argv)
    run_dir = Path(words["run"])
    images = _images(words["images"], run_dir) if "images" in words else None
    warmup = {"true": True, "false": False}[words["warmup"]] if "warmup" in words else None
    for decay in words["decay"].split(","):
        path, fitted = rebuild(run_dir, _number(decay), images, warmup)
        print(
            f"{path}: weights {fitted.age:.0f} steps old in the mean, "
            f"profile error {fitted.error:.2%}"
        )
        if fitted.error > 0.1:
            print("  the snapshots do not hold this profile; a run with more snapshots=... would")
    return 0


def _words(argv: list[str]) -> dict[str, str]:
    words: dict[str, str] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if not equals or key not in ("run", "decay", "images", "warmup"):
            raise ValueError(
                f"'{word}' is unknown: "
                "this command takes run=, decay=, images= and warmup= (see --help)"
            )
        words[key] = value
    for key in ("run", "decay"):
        if key not in words:
            raise ValueError(f"{key}=... is missing (see --help)")
    if words.get("warmup", "true") not in ("true", "false"):
        raise ValueError(f"warmup={words['warmup']} is neither true nor false")
    return words


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"decay={text} is no number: write it like 0.998") from None


def _images(text: str, run_dir: Path) -> int:
    from bench.config.compose import parse_count
    from bench.core.store.runs import CONFIGURATION, read_part

    return parse_count("images", text, int(read_part(run_dir, CONFIGURATION).get("batch", 1)))


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
