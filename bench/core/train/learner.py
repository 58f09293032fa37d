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

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from bench.core.compat import buffers_stay
from bench.core.data.base import DataSet, Examples
from bench.core.model.backbone import SiT
from bench.core.model.graphs import REPLAYED, begin_step
from bench.core.model.method import Arm, Batch, Context, Method, Step
from bench.core.model.noise import TimeDistribution
from bench.core.model.ports import Backbone, views_of
from bench.core.model.streams import Draw, generator
from bench.core.store.files import Json
from bench.core.train import loading, sharding
from bench.core.train.diagnostics import diagnose, is_due
from bench.core.train.distributed import Processes
from bench.core.train.ema import ema_copy, ema_decay, ema_update
from bench.core.train.meter import Stopwatch
from bench.core.train.parts import TrainedPart, Turns
from bench.core.train.settings import Settings

TURN_COLUMN = "part"
"""The column of a step's numbers that says which part it was of, where there are several."""


class Learner:
    """One arm while it learns. parts: what its steps are made of, under "" where all are of one
    kind of data; images: seen so far; diagnostics: the latest, until a line of metrics takes them.
    """

    def __init__(
        self,
        cfg: Settings,
        parts: Mapping[str, TrainedPart],
        backbone: Backbone,
        processes: Processes,
    ):
        self.cfg, self.parts, self.processes = cfg, dict(parts), processes
        device = processes.device
        self.batch, self.images = cfg.batch, 0
        self.steps = cfg.images // self.batch
        self.turns = Turns({name: one.share for name, one in parts.items()}, cfg.seed, cfg.batch)
        self.pieces = loading.micro_rows(processes.rows(self.batch), cfg.micro_batch)
        self.sharded = cfg.compute.shard and processes.world > 1
        # sharded, only slices go to the device
        self.held = torch.device("cpu") if self.sharded else device

        # the arm: backbone, its average, and heads whose initialisation is apart from every stream
        self.backbone = backbone = backbone.to(self.held)
        for view in views_of(backbone).values():
            view.recompute = cfg.compute.recompute
        self.ema = ema_copy(backbone)
        self.contexts = {name: self._context(name, one) for name, one in parts.items()}
        self.heads, heads = self._make_heads()
        self.arms = {
            name: Arm(view, heads[name], parts[name].method)
            for name, view in views_of(backbone).items()
        }
        self.net: torch.nn.Module | None = None  # what goes before an arm, of other processes

        # compiled, sharded or in step with other processes
        if cfg.compute.compile:
            # one graph for all blocks of a kind, and not one of the whole depth: XL in seconds
            for block in (*backbone.blocks, *self.ema.blocks):
                block.compile(**(REPLAYED if cfg.compute.graphs else {}))
        if self.sharded:
            sharding.shard(self.arm, self.arm.backbone, processes)
            sharding.shard(self.averaged, self.averaged, processes)
        elif processes.world > 1:
            self.net = DistributedDataParallel(self.arm, **buffers_stay())

        # the optimiser and the precision
        o = cfg.optimizer
        learned = (*backbone.parameters(), *self.heads.parameters())
        self.parameters = [p for p in learned if p.requires_grad]
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
        for module in self._of_methods():
            self.watch.watch(module)
        self.diagnostics: dict[str, float] = {}

    def _context(self, name: str, part: TrainedPart) -> Context:
        """What is lent to the method of a part."""
        teacher = views_of(self.ema)[name] if "ema" in part.method.needs else None
        times = TimeDistribution(**asdict(part.time or self.cfg.time))
        return Context(part.data.grid, self.backbone.size, times, teacher, part.encoder)

    def _make_heads(self) -> tuple[torch.nn.ModuleDict, dict[str, torch.nn.ModuleDict]]:
        """All heads as one module, and those of each part: the same ones where they are of one
        form, as the backbone's blocks are; a part's own where they learn from its encoder.
        """
        made: dict[str, torch.nn.ModuleDict] = {}
        for name, part in self.parts.items():
            purpose = f"heads {name}" if made else "heads"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(generator(self.cfg.seed, purpose, 0).initial_seed())
                made[name] = part.method.heads(self.contexts[name]).to(self.held)
        first, *others = made.values()
        alike = all(_shapes(one.state_dict()) == _shapes(first.state_dict()) for one in others)
        if alike and not any(part.encoder for part in self.parts.values()):
            return first, dict.fromkeys(made, first)
        return (first if not others else torch.nn.ModuleDict(made)), made

    def _of_methods(self) -> list[torch.nn.Module]:
        """The methods' own modules, each once: heads, teachers, encoders."""
        found = [
            module
            for name, ctx in self.contexts.items()
            for module in (*self.arms[name].heads.values(), ctx.ema, ctx.encoder)
            if module is not None
        ]
        return list(dict.fromkeys(found))

    # Whose turn it is -----------------------------------------------------------------------------

    @property
    def turn(self) -> str:
        """The part of the next step, which the images seen tell."""
        return self.turns.at(self.images)

    @property
    def data(self) -> DataSet:
        """The data of the next step."""
        return self.parts[self.turn].data

    @property
    def method(self) -> Method:
        return self.parts[self.turn].method

    @property
    def ctx(self) -> Context:
        return self.contexts[self.turn]

    @property
    def arm(self) -> Arm:
        """Backbone and heads of the next step."""
        return self.arms[self.turn]

    @property
    def averaged(self) -> SiT:
        """The average of that backbone."""
        return views_of(self.ema)[self.turn]

    def batches(self, until: int) -> Iterator[Examples]:
        """Micro-batches of this process on its device, from the images seen so far to so many."""
        return loading.ahead(self.read(until), self.processes.device)

    def read(self, until: int) -> Iterator[Examples]:
        """The same as they are read, on the CPU."""
        seen = self.turns.seen(self.images)
        sources = {name: self._read_part(name, seen[name], until) for name in self.parts}
        for images in range(self.images, until, self.batch):
            for _ in self.pieces:
                yield next(sources[self.turns.at(images)])

    def _read_part(self, name: str, seen: int, until: int) -> Iterator[Examples]:
        """Micro-batches of a part of which so many images were seen, if all steps were of it."""
        part = self.parts[name]
        return loading.batches(
            part.data,
            self.cfg.seed,
            seen,
            seen + until - self.images,
            self.batch,
            self.pieces,
            "clean" in part.method.needs and part.cached is None,
            self.cfg.compute.data_workers,
            part.cached,
            pin=self.processes.device.type == "cuda",
            hears=part.encoder is not None and part.encoder.hears,
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
        part, net = self.parts[self.turn], self.arm if self.net is None else self.net
        if self.cfg.compute.graphs:
            begin_step()
        for rows in self.pieces:
            with self.watch.part("data"):
                batch = self.make_batch(next(source), rows)
            if due and rows is self.pieces[0]:
                self.diagnose(batch, rows)

            # forward and backward; gradients add up over the pieces
            shown = Step(self.images, self.draw("method", rows))
            with self.gradients_synchronised(rows is self.pieces[-1]):
                with self.autocast:
                    terms = net(batch, self.ctx, shown)
                weighted = [term.value * term.weight for term in terms.values()]
                total = torch.stack(weighted).sum() / len(self.pieces)
                (total if part.weight == 1 else total * part.weight).backward()

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
        columns, numbers = [*columns, "grad_norm"], [sums, norm.detach().float().reshape(1)]
        if len(self.parts) > 1:
            columns.append(TURN_COLUMN)
            numbers.append(numbers[-1].new_tensor([self.turns.number(self.images)]))
        return columns, torch.cat(numbers)

    def of_parts(self, columns: list[str], rows: Tensor) -> Json:
        """What a line of metrics says of each part where there are several: images seen of it, and
        its losses in the steps of these rows.
        """
        if TURN_COLUMN not in columns:
            return {}
        turn = rows[:, columns.index(TURN_COLUMN)]
        losses: dict[str, dict[str, float]] = {}
        for number, name in enumerate(self.parts):
            own = rows[turn == number]
            if len(own):
                means = dict(zip(columns, own.mean(dim=0).tolist(), strict=True))
                losses[name] = {
                    column.removeprefix("loss."): mean
                    for column, mean in means.items()
                    if column.startswith("loss.")
                }
        return {"seen": self.turns.seen(self.images), "loss_of": losses}

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
        ema_update(self.ema, self.backbone, decay)

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
            net: Any = self.arm  # fully_shard gave it FSDPModule's methods
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
        return {"backbone": self.backbone, "heads": self.heads, "ema": self.ema}

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
