"""What happens when in a run: the learning rate of a step,
and the image counts at which snapshots are taken.
"""

from __future__ import annotations

import math


def learning_rate(base: float, schedule: str, warmup_steps: int, step: int, steps: int) -> float:
    """Linear warm-up over the first steps, then constant,
    or cosine to a tenth of the base at the last step.
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "constant":
        return base * warm
    done = min(1.0, max(0.0, (step - warmup_steps) / max(1, steps - warmup_steps)))
    return base * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


def snapshot_counts(images: int, batch: int, count: int) -> list[int]:
    """Images at which snapshots are taken: `count` log-spaced from images/64 on, and the end;
    whole steps.
    """
    spaced = (images * 64 ** (-1 + k / count) for k in range(count))
    return sorted({max(1, round(at / batch)) * batch for at in spaced if at >= batch} | {images})
