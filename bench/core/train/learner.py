"""What training changes (weights, optimiser state, EMA, images seen) and the step that changes it,
for every method.

Everything random in a step is drawn from streams keyed by (seed, purpose, images seen), so what a
step does is a function of the weights and of the images seen alone.

    columns, numbers = learner.step(learner.batches(until=65536))
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
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
    """One arm while it learns. images: seen so far; diagnostics: the latest, until a line of
    metrics takes them. cached: the encoder's patch tokens, where they were computed before.
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
        # sharded, only slices go to the device
        self.held = torch.device("cpu") if self.sharded else device

        # the arm: backbone, its average, and heads whose initialisation is apart from every stream
        backbone = backbone.to(self.held)
        backbone.recompute = cfg.compute.recompute
        self.ema = ema_copy(backbone)
        teacher = self.ema if "ema" in method.needs else None
        times = TimeDistribution(**asdict(cfg.time))
        self.ctx, self.cached = Context(data.grid, backbone.size, times, teacher, encoder), cached
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(cfg.seed, "heads", 0).initial_seed())
            heads = method.heads(self.ctx).to(self.held)
        self.arm = Arm(backbone, heads, method)
        self.net: torch.nn.Module = self.arm

        # compiled, sharded or in step with other processes
        if cfg.compute.compile:
            # one graph for all blocks of a kind, and not one of the whole depth: XL in seconds
            for block in (*backbone.blocks, *self.ema.blocks):
                block.compile()
        if self.sharded:
            sharding.shard(self.arm, backbone, processes)
            sharding.shard(self.ema, self.ema, processes)
        elif processes.world > 1:
            self.net = DistributedDataParallel(self.arm, broadcast_buffers=False)

        # the optimiser and the precision
        o = cfg.optimizer
        self.parameters = [p for p in self.arm.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=o.lr,
            betas=(o.beta1, o.beta2),
            eps=o.eps,
            weight_decay=o.weight_decay,
            fused=True,
        )
        bf16 = cfg.precision == "bf16"
        if cfg.precision == "auto":
            bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.precision = "bf16" if bf16 else "float32"
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)

        # what is measured: the time of the method's own modules, and diagnostics
        self.watch = Stopwatch(device)
        for module in (*heads.values(), teacher, encoder):
            if module is not None:
                self.watch.watch(module)
        self.diagnostics: dict[str, float] = {}

    def batches(self, until: int) -> Iterator[Examples]:
        """Micro-batches of this process on its device, from the images seen so far to so many."""
        return loading.ahead(self.read(until), self.processes.device)

    def read(self, until: int) -> Iterator[Examples]:
        """The same as they are read, on the CPU."""
        return loading.batches(
            self.data,
            self.cfg.seed,
            self.images,
            until,
            self.batch,
            self.pieces,
            "clean" in self.method.needs and self.cached is None,
            self.cfg.compute.data_workers,
            self.cached,
            pin=self.processes.device.type == "cuda",
        )

    def draw(self, purpose: str, rows: slice) -> Draw:
        """This step's generator of a purpose."""
        return Draw.of(self.cfg.seed, purpose, self.images, self.batch, rows, self.processes.device)

    def make_batch(self, examples: Examples, rows: slice) -> Batch:
        """The shared streams of a micro-batch: the same for every method, however many processes
        and pieces.
        """
        device = self.processes.device
        index, stored, condition, clean, patches = (
            None if part is None else part.to(device, non_blocking=True) for part in examples
        )
        assert stored is not None and condition is not None
        x0 = self.data.draw(stored, self.draw("posterior", rows))
        time_draw = self.draw("time", rows)
        dropped = self.draw("label_drop", rows).uniform() < self.cfg.label_drop
        # a whole row of a condition, or nothing of it
        dropped = dropped.reshape(-1, *(1,) * (condition.dim() - 1))
        return Batch(
            x0=x0,
            x1=self.draw("noise", rows).normal(*x0.shape[1:]),
            t=self.ctx.time(time_draw.uniform(), time_draw.normal()),
            condition=torch.where(dropped, self.arm.backbone.null.to(device), condition),
            clean=clean,
            index=index,
            patches=patches,
        )

    def step(self, source: Iterator[Examples]) -> tuple[list[str], Tensor]:
        """Accumulate over the pieces, clip, update weights and EMA; `images` is left to the caller.

        Returns the step's numbers, on the device, and their names. Nothing here waits for the
        device.
        """
        o, done = self.cfg.optimizer, self.images // self.batch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(o.lr, o.schedule, o.warmup(self.steps), done, self.steps)
        due = is_due(self.images, self.batch, self.cfg.diagnostics_images)
        columns: list[str] = []
        sums: Tensor | float = 0.0
        for rows in self.pieces:
            with self.watch.part("data"):
                batch = self.make_batch(next(source), rows)
            if due and rows is self.pieces[0]:
                self.diagnose(batch, rows)

            # forward and backward; gradients add up over the pieces
            shown = Step(self.images, self.draw("method", rows))
            with self.gradients_synchronised(rows is self.pieces[-1]):
                with self.autocast:
                    terms = self.net(batch, self.ctx, shown)
                weighted = [term.value * term.weight for term in terms.values()]
                total = torch.stack(weighted).sum() / len(self.pieces)
                total.backward()

            # what the step says of itself, averaged over the pieces
            numbers = {f"loss.{name}": term.value for name, term in terms.items()}
            numbers |= {f"diagnostics.{name}": values for name, values in shown.logged.items()}
            columns = list(numbers)
            means = [values.detach().float().mean() for values in numbers.values()]
            sums = sums + torch.stack(means) / len(self.pieces)

        # clip, update, average
        norm = self.update()
        self.average(done)
        assert isinstance(sums, Tensor)
        return [*columns, "grad_norm"], torch.cat([sums, norm.detach().float().reshape(1)])

    def update(self) -> Tensor:
        """Clip the gradients and update the weights; returns the norm before."""
        clip = self.cfg.optimizer.clip
        norm = sharding.full(torch.nn.utils.clip_grad_norm_(self.parameters, clip))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def average(self, done: int) -> None:
        """Let the EMA follow the weights; done: steps before this one."""
        decay = ema_decay(self.cfg.ema.decay, self.cfg.ema.warmup, done)
        ema_update(self.ema, self.arm.backbone, decay)

    def wait(self) -> None:
        """Until a GPU has done what it was given."""
        if self.processes.device.type == "cuda":
            torch.cuda.synchronize(self.processes.device)

    def gradients_synchronised(self, last: bool) -> contextlib.AbstractContextManager[object]:
        """Within it a backward pass exchanges gradients if it is the step's last; earlier pieces
        add up at home.
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

    def modules(self) -> dict[str, torch.nn.Module]:
        """What is learned, by its name in a checkpoint."""
        return {"backbone": self.arm.backbone, "heads": self.arm.heads, "ema": self.ema}

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs to go on exactly; whole on the main process, which alone may
        write it.
        """
        learned = {
            name: sharding.whole(part.state_dict(), self.processes.main)
            for name, part in (*self.modules().items(), ("optimizer", self.optimizer))
        }
        return learned | {"images": self.images, "diagnostics": self.diagnostics}

    def fault(self, state: dict[str, Any]) -> str:
        """Why a `state` is none of this arm, "" where it is; nothing is changed."""
        for name, module in self.modules().items():
            if _shapes(state.get(name)) != _shapes(module.state_dict()):
                return f"{name} has not the tensors of this arm"
        shapes = dict(enumerate(tuple(p.shape) for p in self.parameters))
        kept = state.get("optimizer")
        moments = kept.get("state") if isinstance(kept, dict) else None
        if not isinstance(moments, dict) or any(
            set(_shapes(entries).values()) - {(), shapes.get(index)}
            for index, entries in moments.items()
        ):
            return "the optimizer's moments are not of this arm"
        whole = isinstance(state.get("images"), int) and isinstance(state.get("diagnostics"), dict)
        return "" if whole else "images or diagnostics are missing"

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`, made by any number of processes."""
        for name, module in self.modules().items():
            sharding.load_module(module, state[name])
        sharding.load_optimizer(self.optimizer, state["optimizer"])
        self.images, self.diagnostics = state["images"], state["diagnostics"]


def _shapes(tensors: object) -> dict[object, tuple[int, ...] | None]:
    """Shapes by name, None for what is no tensor."""
    items = tensors.items() if isinstance(tensors, Mapping) else ()
    return {key: tuple(one.shape) if isinstance(one, Tensor) else None for key, one in items}


def learning_rate(base: float, schedule: str, warmup_steps: int, step: int, steps: int) -> float:
    """Linear warm-up over the first steps, then constant, or cosine to a tenth of the base at the
    last step.
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "constant":
        return base * warm
    done = min(1.0, max(0.0, (step - warmup_steps) / max(1, steps - warmup_steps)))
    return base * warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))
