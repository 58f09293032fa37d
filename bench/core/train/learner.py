"""What training changes (weights, optimiser state, EMA, images seen) and the step that changes it,
for every method.

Everything random in a step is drawn from streams keyed by (seed, purpose, images seen), so what a
step does is a function of the weights and of the images seen alone.

    columns, numbers = learner.step(learner.batches(until=65536))
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bench.core.data.base import DataSet, Examples
from bench.core.model.backbone import SiT
from bench.core.model.encoder import Encoder
from bench.core.model.method import Arm, Batch, Context, Method, Step
from bench.core.model.noise import TimeDistribution
from bench.core.model.streams import Draw, generator
from bench.core.train import loading, sharding
from bench.core.train.diagnostics import diagnose, is_due
from bench.core.train.distributed import Processes
from bench.core.train.ema import ema_copy, ema_decay, ema_update
from bench.core.train.meter import Stopwatch
from bench.core.train.settings import Settings


class Learner:
    """One arm while it learns. images: seen so far; diagnostics: the latest,
    until a line of metrics takes them.
    """

    def __init__(
        self,
        cfg: Settings,
        data: DataSet,
        method: Method,
        backbone: SiT,
        encoder: Encoder | None,
        processes: Processes,
        cached: np.ndarray | None = None,
    ):
        self.cfg, self.data, self.method, self.processes = cfg, data, method, processes
        device = processes.device
        self.batch, self.images = cfg.batch, 0
        self.steps = cfg.images // self.batch
        self.pieces = loading.micro_rows(processes.rows(self.batch), cfg.micro_batch)
        self.sharded = cfg.compute.shard and processes.world > 1
        self.held = (
            torch.device("cpu") if self.sharded else device
        )  # sharded, only slices go to the device
        backbone = backbone.to(self.held)
        time_distribution = TimeDistribution(**asdict(cfg.time))
        self.ema = ema_copy(backbone)
        teacher = self.ema if "ema" in method.needs else None
        self.ctx = Context(data.grid, backbone.size, time_distribution, teacher, encoder, cached)
        # the heads' own initialisation, apart from every other stream
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(cfg.seed, "heads", 0).initial_seed())
            heads = method.heads(self.ctx).to(self.held)
        self.arm = Arm(backbone, heads, method)
        self.net: torch.nn.Module = self.arm
        if cfg.compute.compile:
            for block in backbone.blocks:
                block.compile()
        if self.sharded:
            sharding.shard(self.arm, backbone, processes)
            sharding.shard(self.ema, self.ema, processes)
        elif processes.world > 1:
            self.net = DistributedDataParallel(self.arm, broadcast_buffers=False)
        o = cfg.optimizer
        self.parameters = [p for p in self.arm.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=o.lr,
            betas=(o.beta1, o.beta2),
            eps=o.eps,
            weight_decay=o.weight_decay,
            foreach=True,
        )
        bf16 = cfg.precision == "bf16" or (
            cfg.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        self.watch = Stopwatch(device)
        for module in (
            *heads.values(),
            *([teacher] if teacher else []),
            *([encoder] if encoder is not None else []),
        ):
            self.watch.watch(module)
        self.diagnostics: dict[str, float] = {}

    def batches(self, until: int) -> Iterator[Examples]:
        """Micro-batches of this process, from the images seen so far until so many."""
        return loading.batches(
            self.data,
            self.cfg.seed,
            self.images,
            until,
            self.batch,
            self.pieces,
            "image" in self.method.needs,
            self.cfg.compute.data_workers,
        )

    def draw(self, purpose: str, rows: slice) -> Draw:
        """This step's generator of a purpose."""
        return Draw.of(self.cfg.seed, purpose, self.images, self.batch, rows, self.processes.device)

    def make_batch(self, examples: Examples, rows: slice) -> Batch:
        """The shared streams of a micro-batch: the same for every method,
        however many processes and pieces.
        """
        device = self.processes.device
        index, stored, label = (part.to(device, non_blocking=True) for part in examples[:3])
        image = examples.image
        x0 = self.data.draw(stored, self.draw("posterior", rows))
        time_draw = self.draw("time", rows)
        dropped = self.draw("label_drop", rows).uniform() < self.cfg.label_drop
        return Batch(
            x0=x0,
            x1=self.draw("noise", rows).normal(*x0.shape[1:]),
            t=self.ctx.time(time_draw.uniform(), time_draw.normal()),
            label=torch.where(dropped, self.arm.backbone.null_label, label),
            image=None if image is None else image.to(device, non_blocking=True),
            index=index,
        )

    def step(self, source: Iterator[Examples]) -> tuple[list[str], Tensor]:
        """Accumulate over the pieces, clip, update weights and EMA; `images` is left to the caller.

        Returns the step's numbers, on the device, and their names. Nothing here waits for the
        device.
        """
        o, done = self.cfg.optimizer, self.images // self.batch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(o.lr, o.schedule, o.warmup_steps, done, self.steps)
        columns: list[str] = []
        sums: Tensor | float = 0.0
        for rows in self.pieces:
            with self.watch.part("data"):
                batch = self.make_batch(next(source), rows)
            if rows is self.pieces[0] and is_due(
                self.images, self.batch, self.cfg.diagnostics_images
            ):
                self.diagnose(batch, rows)
            shown = Step(self.images, self.draw("method", rows))
            with self.gradients_synchronised(rows is self.pieces[-1]):
                with self.autocast:
                    terms = self.net(batch, self.ctx, shown)
                total = torch.stack(
                    [term.value * term.weight for term in terms.values()]
                ).sum() / len(self.pieces)
                total.backward()
            numbers = {f"loss.{name}": term.value for name, term in terms.items()}
            numbers |= {f"diagnostics.{name}": values for name, values in shown.logged.items()}
            columns = list(numbers)
            sums = sums + torch.stack(
                [value.detach().float().mean() for value in numbers.values()]
            ) / len(self.pieces)
        norm = sharding.full(torch.nn.utils.clip_grad_norm_(self.parameters, o.clip))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        ema_update(
            self.ema,
            self.arm.backbone,
            ema_decay(self.cfg.ema.decay, self.cfg.ema.warmup, done),
        )
        assert isinstance(sums, Tensor)
        return [*columns, "grad_norm"], torch.cat([sums, norm.detach().float().reshape(1)])

    def gradients_synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Within it a backward pass exchanges gradients if it is the step's last;
        earlier pieces add up at home.
        """
        if isinstance(self.net, DistributedDataParallel):
            return contextlib.nullcontext() if last else self.net.no_sync()
        if self.sharded:
            net: Any = self.net  # fully_shard gave it FSDPModule's methods
            net.set_requires_gradient_sync(last)
        return contextlib.nullcontext()

    def diagnose(self, batch: Batch, rows: slice) -> None:
        """Look at the first micro-batch before the step; all processes do."""
        compiled = self.cfg.compute.compile
        # two backward passes through one graph: compiled ones may free what the second needs
        eager = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
        with self.watch.aside("diagnostics"), eager:
            self.diagnostics = diagnose(
                self.arm,
                batch,
                self.ctx,
                self.images,
                lambda rows: self.draw("method", rows),
                rows,
                self.processes.mean,
                self.autocast,
            )

    # Saving and going on --------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on exactly; whole on the main process,
        which alone may write it.
        """
        parts = {
            "backbone": self.arm.backbone,
            "heads": self.arm.heads,
            "ema": self.ema,
            "optimizer": self.optimizer,
        }
        learned = {
            name: sharding.whole(part.state_dict(), self.processes.main)
            for name, part in parts.items()
        }
        return learned | {"images": self.images, "diagnostics": self.diagnostics}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`, made by any number of processes."""
        for name, module in (
            ("backbone", self.arm.backbone),
            ("heads", self.arm.heads),
            ("ema", self.ema),
        ):
            sharding.load_module(module, state[name])
        sharding.load_optimizer(self.optimizer, state["optimizer"])
        self.images, self.diagnostics = state["images"], state["diagnostics"]


def learning_rate(base: float, schedule: str, warmup_steps: int, step: int, steps: int) -> float:
    """Linear warm-up over the first steps, then constant, or cosine to a tenth of the base at the
    last step.
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "constant":
        return base * warm
    done = min(1.0, max(0.0, (step - warmup_steps) / max(1, steps - warmup_steps)))
    return base * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
