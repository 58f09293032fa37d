"""What an arm costs: parameters and FLOPs of backbone, heads, teacher and encoder apart; counted,
not estimated.

The arm's own loss is run forward and backward on two images under PyTorch's FLOP counter, so a
method's extra passes are in the count whatever they are; without an encoder a large one on the meta
device (shapes without numbers), so that even XL costs nothing. A multiplication and its addition
are two FLOPs; element-wise work is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.core.model.backbone import SiT
from bench.core.model.conditions import Condition
from bench.core.model.encoder import Encoder
from bench.core.model.method import Arm, Batch, Context, Method, Step
from bench.core.model.sizes import Size
from bench.core.model.streams import Draw
from bench.core.model.tokens import TokenGrid
from bench.core.store.files import Json
from bench.core.train.ema import ema_copy

_PARTS = ("backbone", "heads", "teacher", "encoder")
SMALL = 2**24  # work up to which numbers cost less than the meta device, whose operators are Python
IMAGES = 2  # at least: a method may compare more with each other


@dataclass(frozen=True)
class Cost:
    """Parameters and training FLOPs an image, by group (with "total"); forward_flops:
    one image's forward pass.

    ends: images after which a term of the loss ends, and an image costs flops_per_image_after;
    parts: of data of several kinds, the cost of each by itself, of which this is the mean by share.
    """

    parameters: dict[str, int]
    flops_per_image: dict[str, float]
    forward_flops: float
    ends: int | None = None
    flops_per_image_after: dict[str, float] | None = None
    encoder_training_flops: float = 0.0
    not_counted: str = ""
    parts: dict[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As stored in cost.json."""
        stored = asdict(self)
        return stored if self.parts else {k: v for k, v in stored.items() if k != "parts"}


class _MetaDraw(Draw):
    """Draws that have a shape and no numbers."""

    def __init__(self, images: int) -> None:
        self.images = images

    def uniform(self, *shape: int) -> Tensor:
        return torch.empty(self.images, *shape, device="meta")

    normal = uniform


def count(
    method: Method,
    grid: TokenGrid,
    size: Size,
    condition: Condition | int,
    encoder: Encoder | None = None,
    clean: Sequence[int] = (),
) -> Cost:
    """Count an arm. condition: as `SiT` takes it; encoder, clean: the frozen encoder that the
    method needs and the shape of what it reads, (3, H, W) of a picture.
    """
    work = size.depth * size.width * grid.tokens * (size.width + grid.tokens)
    device = torch.device("cpu" if work <= SMALL else "meta")
    if encoder is not None:
        device = next(encoder.parameters()).device
    images = max(IMAGES, method.group)
    with device:
        # the arm as it is trained, and a batch of zeros
        backbone = SiT(grid, size, condition)
        teacher = ema_copy(backbone) if "ema" in method.needs else None
        ctx = Context(grid, size, ema=teacher, encoder=encoder)
        arm = Arm(backbone, method.heads(ctx), method)
        data, t = torch.zeros(images, grid.tokens, grid.token_dim), torch.full((images,), 0.5)
        rows = backbone.null.expand(images, *backbone.null.shape)
        index = torch.zeros(images, dtype=torch.long)
        given = None if encoder is None else torch.zeros(images, *clean, dtype=torch.uint8)
        batch = Batch(data, data, t, rows, given, index)

        # a forward pass alone, a step, and a step after terms have ended
        counter = FlopCounterMode(display=False)
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter as forward:
            backbone(data, t, rows)
        ends = method.ends(size)
        flops = _of_a_step(arm, batch, ctx, 0)
        after = _of_a_step(arm, batch, ctx, ends) if ends else None
    modules = (backbone, arm.heads, teacher, encoder)
    return Cost(
        parameters=dict(zip(_PARTS, map(_parameters, modules), strict=True)),
        flops_per_image=flops,
        forward_flops=forward.get_total_flops() / images,
        ends=ends,
        flops_per_image_after=after,
        encoder_training_flops=0.0 if encoder is None else encoder.training_flops,
        not_counted="" if encoder is None else encoder.not_counted,
    )


def of_mixed(costs: Mapping[str, Cost], share: Mapping[str, float], shared: int) -> Cost:
    """The cost of one backbone for several parts: FLOPs an image by the parts' shares of the
    images, and parameters with what the parts have in common once.

    shared: parameters of the backbone that all parts have in common; each part's own are "ports".
    Heads of one form are one head, as they are trained.
    """
    every = list(costs.values())
    ports = sum(cost.parameters["backbone"] - shared for cost in every)
    alone = any(cost.parameters["encoder"] for cost in every)  # each part has a head of its own
    heads = [cost.parameters["heads"] for cost in every]
    teacher = shared + ports if any(cost.parameters["teacher"] for cost in every) else 0
    ends = next((cost.ends for cost in every if cost.ends is not None), None)

    def mean(of_part: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        groups = next(iter(of_part.values()))
        return {
            group: sum(share[part] * flops[group] for part, flops in of_part.items())
            for group in groups
        }

    after = {
        part: cost.flops_per_image_after or cost.flops_per_image for part, cost in costs.items()
    }
    return Cost(
        parameters={
            "backbone": shared,
            "ports": ports,
            "heads": sum(heads) if alone or len(set(heads)) > 1 else heads[0],
            "teacher": teacher,
            "encoder": sum(cost.parameters["encoder"] for cost in every),
        },
        flops_per_image=mean({part: cost.flops_per_image for part, cost in costs.items()}),
        forward_flops=sum(share[part] * cost.forward_flops for part, cost in costs.items()),
        ends=ends,
        flops_per_image_after=mean(after) if ends is not None else None,
        encoder_training_flops=sum(cost.encoder_training_flops for cost in every),
        not_counted="; ".join(filter(None, dict.fromkeys(cost.not_counted for cost in every))),
        parts={part: cost.to_json() for part, cost in costs.items()},
    )


def _of_a_step(arm: Arm, batch: Batch, ctx: Context, seen: int) -> dict[str, float]:
    """Training FLOPs an image by group, forward and backward, after so many images."""
    images, device = len(batch.x0), batch.x0.device
    draw = _MetaDraw(images)
    if device.type != "meta":
        draw = Draw.of(0, "count", 0, images, slice(0, images), device)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        terms = arm(batch, ctx, Step(seen, draw)).values()
        loss = sum((term.value * term.weight for term in terms), torch.zeros(()))
        by_module = {
            name: sum(ops.values()) / images for name, ops in counter.get_flop_counts().items()
        }
        loss.backward()
    # The counter knows modules in the forward pass alone. A head's backward pass is twice its
    # forward pass (gradients of input and weights), teacher and encoder have none, and what remains
    # is the backbone's.
    flops = {
        "heads": 3.0 * _below(by_module, "Arm.heads."),
        "teacher": by_module.get("SiT", 0.0),  # called outside the arm, so under its own name
        "encoder": by_module.get(type(ctx.encoder).__name__, 0.0),
    }
    flops["total"] = counter.get_total_flops() / images
    flops["backbone"] = flops["total"] - flops["heads"] - flops["teacher"] - flops["encoder"]
    return flops


def says_all(cost: Mapping[str, Any]) -> bool:
    """Whether a `Cost` as stored says what a plan reads of it; one of a damaged folder may not."""
    flops = [cost.get("flops_per_image")]
    flops += [cost.get("flops_per_image_after")] if cost.get("ends") is not None else []
    parameters = (cost.get("parameters") or {}).keys()
    return {"backbone", "heads"} <= parameters and all("total" in (one or {}) for one in flops)


def flops_until(cost: Mapping[str, Any], images: int) -> float:
    """Training FLOPs of the first `images` images, from a `Cost` as stored."""
    ends = cost.get("ends")
    before = images if ends is None else min(images, ends)
    flops = cost["flops_per_image"]["total"] * before
    if before < images:
        flops += cost["flops_per_image_after"]["total"] * (images - before)
    return flops


def images_of(cost: Mapping[str, Any], flops: float) -> float:
    """Images whose training these FLOPs pay for, the inverse of `flops_until`."""
    ends, each = cost.get("ends"), cost["flops_per_image"]["total"]
    if ends is None or flops <= each * ends:
        return flops / each
    return ends + (flops - each * ends) / cost["flops_per_image_after"]["total"]


def _below(by_module: dict[str, float], prefix: str) -> float:
    """FLOPs of the modules directly below a prefix (a ModuleDict has no forward pass)."""
    return sum(
        flops
        for name, flops in by_module.items()
        if name.startswith(prefix) and "." not in name[len(prefix) :]
    )


def _parameters(module: nn.Module | None) -> int:
    return sum(p.numel() for p in module.parameters()) if module is not None else 0
