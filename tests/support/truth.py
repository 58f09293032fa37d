"""Comparable runs and result rows with known truth, for the tests of verdicts;
nothing is trained or written.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bench.core.metrics import facts_of
from bench.core.store.row_table import ROW_COLUMNS
from reports.findings.claims import Claim
from reports.study.cells import Comparable, Curve
from reports.study.groups import Group
from reports.study.strengths import MeasuredStrength

SPREAD = 0.02  # deviation of a run, log distance or accuracy
SLOPE = 0.5  # of log distance over log images
IMAGES = np.array([1, 2, 4, 8, 16, 32, 64]) * 1e5
FALL = -SLOPE * np.log(IMAGES / IMAGES[-1])
COST = 1.1  # FLOPs of an image of the dearer arm, where arms are compared at equal FLOPs
SIZES = ("small", "middle", "large")
ENCODERS = {"s": 0.7, "m": 0.8, "l": 0.9}
STRENGTHS = {name: MeasuredStrength(value) for name, value in ENCODERS.items()}
PROPERTIES = dict.fromkeys(
    ("encoder_linear_probe", "encoder_parameters", "encoder_structure"), STRENGTHS
)
PICTURES = 10_000


def arms_of(claim: Claim) -> list[str]:
    """Three arms that a claim can be tested with; the worst of all has all of its rivals."""
    if claim.statistic == "level_trend":
        return [f"repa/{encoder}" for encoder in ENCODERS]
    left, right = (
        [name.replace("*", "m") for name in names] for names in (claim.left, claim.right)
    )
    return [*left, *right] if claim.statistic == "worst" else [left[0], right[0], "spare"]


def shifts(claim: Claim, deviations: float) -> dict[tuple[str, str], float]:
    """What makes the statistic of a claim as large as so many deviations of a run, in the claim's
    direction, by cell.
    """
    known = binomial() if facts_of(claim.measure).per_block else 0.0
    unit = np.sqrt(SPREAD**2 + known)
    effect = claim.sign * deviations * unit
    if claim.statistic == "level_trend":
        return {
            (f"repa/{name}", size): effect * i / 2
            for i, name in enumerate(ENCODERS)
            for size in SIZES
        }
    if claim.statistic == "gap_trend":
        return {(arms_of(claim)[0], size): effect * i / 2 for i, size in enumerate(SIZES)}
    return {(arms_of(claim)[0], size): effect for size in SIZES}


def binomial() -> float:
    """Variance of an accuracy of one half over the pictures."""
    return 0.25 / PICTURES


def luck(
    arms: list[str], seeds: int, rng: np.random.Generator, correlation: float
) -> dict[tuple[str, str], np.ndarray]:
    """Deviations of the runs of each cell, of variance 1; those of one seed have the correlation
    inside a size, between the sizes of an arm, and 0.6 of it between anything else.
    """
    shared, part = 0.6 * correlation, 0.4 * correlation
    of_seed = np.sqrt(shared) * rng.standard_normal(seeds)
    of_size = {size: np.sqrt(part) * rng.standard_normal(seeds) for size in SIZES}
    of_arm = {arm: np.sqrt(part) * rng.standard_normal(seeds) for arm in arms}
    rest = np.sqrt(1 - shared - 2 * part)
    return {
        (arm, size): of_seed + of_size[size] + of_arm[arm] + rest * rng.standard_normal(seeds)
        for arm in arms
        for size in SIZES
    }


def table(
    claim: Claim,
    seeds: int,
    rng: np.random.Generator,
    shift: dict[tuple[str, str], float],
    correlation: float = 0.0,
) -> Comparable:
    """A study of the claim's arms and three sizes with normal seeds; shift: of the mean of a cell;
    correlation: of the runs of one seed, as in `luck`.
    """
    distance = claim.measure == "distance"
    metric = "fd_pixels" if distance else claim.measure
    of_probes = facts_of(metric).per_block
    group = Group("digits", metric, "p", int(IMAGES[-1]), 64, not distance, of_probes)
    made = Comparable(group, SIZES, dict(zip(SIZES, (1e5, 1.6e5, 2.6e5), strict=True)))
    for cell, deviations in luck(arms_of(claim), seeds, rng, correlation).items():
        arm, _ = cell
        if "/" in arm:
            made.encoders[arm] = arm.partition("/")[2]
        values = (0.0 if distance else 0.5) + shift.get(cell, 0.0) + SPREAD * deviations
        cost = 1.0
        if claim.statistic == "equal_flops" and arm == arms_of(claim)[0]:
            # it spends more on an image and is as much better at equal images as that costs it
            cost, values = COST, values - SLOPE * np.log(COST)
        if distance:
            # a snapshot has luck of its own beside that of its run; where a change since then is
            # asked for, that luck is all of its error, and the effect comes after it
            curves = FALL + values[:, None]
            of_change = claim.statistic == "over_training"
            own = SPREAD / 2 if of_change else SPREAD / 4
            curves[:, :-1] += own * rng.standard_normal(curves[:, :-1].shape)
            curves[:, :-1] -= shift.get(cell, 0.0) * of_change
            flops = 10 * cost * IMAGES
            made.curves[cell] = {
                seed: Curve(IMAGES, flops, curve) for seed, curve in enumerate(curves)
            }
            made.schedules[cell] = {"constant"}
        elif of_probes:
            # the pictures' share of the error: all seeds of an arm see the same ones
            values = values + np.sqrt(binomial()) * rng.standard_normal()
            made.binomial[cell] = binomial()
        made.final[cell] = dict(enumerate(values.tolist()))
    return made


def rows(means: dict[str, float], seeds: int = 3, **common: object) -> pd.DataFrame:
    """Result rows of one size: arm -> mean distance at the end, falling towards it; common:
    columns of every row.
    """
    rng = np.random.default_rng(0)
    records = []
    for arm, mean in means.items():
        encoder = arm.partition("/")[2] or None
        for number in range(seeds):
            luck = np.exp(SPREAD * rng.standard_normal())
            for images in IMAGES:
                value = mean * luck * (images / IMAGES[-1]) ** -SLOPE
                record = {
                    "run": f"{arm}-s{number}",
                    "arm": arm,
                    "method": arm.partition("/")[0],
                    "encoder": encoder,
                    "size": "nano",
                    "depth": 4,
                    "width": 32,
                    "data": "digits",
                    "seed": number,
                    "batch": 64,
                    "streams": "",
                    "schedule": "constant",
                    "parameters": 1e5,
                    "images": int(images),
                    "images_total": int(IMAGES[-1]),
                    "final": images == IMAGES[-1],
                    "flops": 10.0 * images,
                    "hours": 1e-9 * images,
                    "state": "complete",
                    "kind": "samples",
                    "metric": "fd_pixels",
                    "value": value,
                    "n": 600,
                    "higher_is_better": False,
                    "related": "",
                    "protocol_id": "p",
                    "metric_version": 1,
                    "note": "",
                }
                records.append(record | common)
    return pd.DataFrame(records, columns=list(ROW_COLUMNS))
