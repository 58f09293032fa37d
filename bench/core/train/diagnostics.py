"""Numbers that explain a training run, measured now and then on the step's own batch, beside it.

    gradient_agreement    cos(g_v, g_r) of the gradients of the velocity term and of all other
                          weighted terms in the parameters of the student's block (1: they pull
                          alike, 0: unrelated, -1: they fight); not under compute.shard
    feature_norm          root mean square of that block's output
    loss_t0 .. loss_t3    velocity loss of the tokens whose level lies in [0, 1/4), .. [3/4, 1]
    gap_t0 .. gap_t3      1 - cosine of student and target (teacher or encoder), by the student's
                          noise level

A second pass of at most 64 pictures a process, through the arm itself and not its DDP wrapper:
neither parameters nor their `.grad` nor random streams are touched, so a run's weights are the same
bits with and without. What the student's pass was like, the step shows (`Step.taps`,
`Step.observed`, `Step.logged`).

Cost: one forward and two partial backward passes, once in `diagnostics_images` images;
metrics.jsonl has the seconds as time.diagnostics. Measured with digits, nano, batch 64 on one CPU
thread (22 times in 2048 steps): 0.4 % of the training time for vanilla, 1.0 % for a method with a
teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from bench.core.model.flow import squared_error
from bench.core.model.method import ALIGNMENT, Arm, Batch, Context, Step, Term
from bench.core.model.streams import Draw
from bench.core.train.sharding import is_sharded

BINS = 4
MOST_ROWS = 64  # of a process's micro-batch: bounds time and memory at every scale
Mean = Callable[[Tensor], Tensor]
"""The mean over processes."""


def is_due(images: int, batch: int, every: int | None) -> bool:
    """Whether the step after `images` images is looked at: the first,
    and the first of each further `every`.
    """
    return bool(every) and images // every != (images - batch) // every


def shared_block(arm: Arm) -> int:
    """The block that is looked at: the student's; without one (vanilla) a third of the depth,
    a usual place.
    """
    size = arm.backbone.size
    return arm.method.blocks(size).get("student", max(1, round(size.depth / 3)))


def diagnose(
    arm: Arm,
    batch: Batch,
    ctx: Context,
    images: int,
    draw: Callable[[slice], Draw],
    rows: slice,
    mean: Mean,
    autocast: AbstractContextManager[object],
) -> dict[str, float]:
    """The numbers above for the first rows of a micro-batch, averaged over processes;
    what is undefined is left out.

    images: seen so far; draw: the method's stream from its beginning, for a slice of the global
    batch; rows: where the batch lies in it.
    """
    # the first rows, in whole groups of those that the loss compares
    group = arm.method.group
    count = min(max(group, MOST_ROWS // group * group), len(batch.x0))
    batch, block = _first(batch, count), shared_block(arm)
    step = Step(images, draw(slice(rows.start, rows.start + count)), taps=(block,))

    # a sharded block's parameters are whole only while it computes: no gradients from outside
    sharded = is_sharded(arm)
    with autocast, torch.set_grad_enabled(not sharded):
        terms = arm(batch, ctx, step)

    found = _of_the_pass(batch, step, block, mean, arm.backbone.weight)
    parameters = list(arm.backbone.blocks[block - 1].parameters())
    agreement = None if sharded else gradient_agreement(terms, parameters, mean)
    if agreement is not None:
        found["gradient_agreement"] = agreement
    return {name: value for name, value in found.items() if math.isfinite(value)}


@torch.no_grad()
def _of_the_pass(
    batch: Batch, step: Step, block: int, mean: Mean, weight: Tensor | None
) -> dict[str, float]:
    """What the student's pass shows; nothing of a method that did not make it by `predict`.
    weight [N, C]: what each number counts in the loss.
    """
    if step.observed is None:
        return {}
    noise, prediction, features = step.observed
    levels = noise.per_token(batch.x0.shape[1])
    error = squared_error(prediction, batch.x0, batch.x1, weight).mean(dim=-1)
    square = features[block].float().square().mean()
    found = {"feature_norm": math.sqrt(mean(square).item())}
    found |= by_noise_level("loss", error, levels, mean)
    if ALIGNMENT in step.logged:
        gap = 1 - step.logged[ALIGNMENT]
        found |= by_noise_level("gap", gap, levels[:, : gap.shape[1]], mean)
    return found


def by_noise_level(name: str, values: Tensor, levels: Tensor, mean: Mean) -> dict[str, float]:
    """{name_t0: mean of the values [B, N] whose levels [B, N] lie in the first quarter, ...};
    no empty quarters.
    """
    bins = (levels * BINS).long().clamp(max=BINS - 1)
    inside = (bins == torch.arange(BINS, device=bins.device)[:, None, None]).double()
    sums = mean(
        torch.stack([(inside * values.detach()).sum(dim=(1, 2)), inside.sum(dim=(1, 2))])
    ).tolist()
    return {f"{name}_t{i}": total / n for i, (total, n) in enumerate(zip(*sums, strict=True)) if n}


def gradient_agreement(
    terms: dict[str, Term], parameters: Sequence[Tensor], mean: Mean
) -> float | None:
    """The cosine between the gradients of the velocity term and of the weighted sum of the others;
    None without others.

    Gradients are averaged over processes first; NaN where one of them is zero, as at adaLN-Zero's
    initial weights.
    """
    others = [
        term.value * term.weight
        for name, term in terms.items()
        if name != "velocity" and term.weight
    ]
    if not others:
        return None
    first = torch.autograd.grad(
        terms["velocity"].value, parameters, retain_graph=True, allow_unused=True
    )
    second = torch.autograd.grad(torch.stack(others).sum(), parameters, allow_unused=True)
    pairs = [
        (mean(a), mean(b))
        for a, b in zip(first, second, strict=True)
        if a is not None and b is not None
    ]
    dot, aa, bb = (
        torch.stack([(x * y).sum() for x, y in products]).sum().double().item()
        for products in (pairs, [(a, a) for a, _ in pairs], [(b, b) for _, b in pairs])
    )
    return dot / math.sqrt(aa * bb) if aa * bb > 0 else math.nan


def _first(batch: Batch, count: int) -> Batch:
    parts = {name: None if part is None else part[:count] for name, part in vars(batch).items()}
    return Batch(**parts)  # type: ignore[arg-type]
