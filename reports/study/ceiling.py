"""Where a distance or a share has no room left: an arm that is as near to the data as held-out
pictures are, or that comes near by copying, is *saturated*, and no better or worse is said of it.

    saturated(cells.final, rows_of_the_group, rows)   # {("selfflow", "tiny"): "why"}

A distance of N samples does not fall to zero but to that of N held-out pictures (the rows' `real`).
Below it, or within one run's deviation of it, differences are those of the sample of pictures; and
what copies its training pictures passes below it without being better. So does a share of samples
that are read as asked end where held-out pictures do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from bench.core.metrics import facts_of
from reports.study.contrasts import CONFIDENCE, LEAST_SEEDS, ArmSize, BySeed, pooled_variance

if TYPE_CHECKING:
    import pandas as pd

CEILED = ("distance", "share")  # families whose rows say what held-out pictures would have
COPY_RATE = "copy_rate"
# Below it a part of the samples is copies. Smooth samples are nearer to everything than pictures
# are: after 1.3 passes over 50,000 pictures, of which nothing can be copied, it is 0.97 to 1.03.
OF_COPIES = 0.9


def saturated(
    final: Mapping[ArmSize, BySeed], group: pd.DataFrame, rows: pd.DataFrame
) -> dict[ArmSize, str]:
    """Why nothing better or worse can be said of a cell, for those of which it cannot.

    final: log distances, or shares, by seed; group: the rows that they are of, with the number of
    held-out pictures; rows: of the study, with the copy rates of the same runs.
    """
    facts = facts_of(str(group["metric"].iloc[0]))
    last = group[group["final"].astype(bool)]
    copies = rows[(rows["metric"] == COPY_RATE) & rows["final"]]
    copies = copies[copies["run"].isin(set(last["run"]))]
    real_of, copies_of = _by_cell(last, "real"), _by_cell(copies, "value")
    # one run's variance, pooled over the cells of a size
    of_size: dict[str, list[np.ndarray]] = {}
    for (_, size), values in final.items():
        of_size.setdefault(size, []).append(np.array(list(values.values())))
    variances = {size: pooled_variance(of_cells)[0] for size, of_cells in of_size.items()}
    out: dict[ArmSize, str] = {}
    for cell, values in final.items():
        arm, size = cell
        mean = float(np.mean(list(values.values())))
        real, deviation = float(np.mean(real_of.get(cell, math.nan))), math.sqrt(variances[size])
        if facts.is_distance:
            shown, full = math.exp(mean), real > 0 and mean - deviation <= math.log(real)
        else:
            shown, full = mean, mean + deviation >= real
        if full:
            out[cell] = (
                f"{arm} at {size} is saturated: its {facts.family} of {shown:.3g} is within one "
                f"run's deviation of that of held-out pictures, {real:.3g}"
            )
            continue
        # what copies is near to the data, and not what was asked for
        rates = copies_of.get(cell) if facts.is_distance else None
        if rates is not None and len(rates) >= LEAST_SEEDS:
            t = float(stdtrit(len(rates) - 1, (1 + CONFIDENCE) / 2))
            highest = float(np.mean(rates) + t * np.std(rates, ddof=1) / math.sqrt(len(rates)))
            if highest < OF_COPIES:
                out[cell] = (
                    f"{arm} at {size} is saturated: its copy rate of {np.mean(rates):.3f} is below "
                    f"{OF_COPIES}, so a part of its nearness is copying"
                )
    return out


def _by_cell(rows: pd.DataFrame, column: str) -> dict[ArmSize, list[float]]:
    """The numbers of a column that there are, by arm and size."""
    found: dict[ArmSize, list[float]] = {}
    columns = (rows[name].tolist() for name in ("arm", "size", column))
    for arm, size, value in zip(*columns, strict=True):
        if value == value:
            found.setdefault((str(arm), str(size)), []).append(value)
    return found
