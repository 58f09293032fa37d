"""The one training loop, for every method: counted in images, exact on resume, fair between arms.

Everything random in a step is drawn from streams keyed by (seed, purpose, images seen), so what a step does is a
function of the weights and of the images seen alone; a checkpoint is weights, optimiser state, that count, and the
length of metrics.jsonl.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from bench.core import checkpoints, loading, sharding
from bench.core.backbone import SiT
from bench.core.diagnostics import diagnose, is_due
from bench.core.distributed import Processes
from bench.core.ema import ema_copy, ema_decay, ema_update
from bench.core.method import Arm, Batch, Context, Method
from bench.core.noise import TimeDistribution
from bench.core.run_folder import MetricsLog, RunFolder
from bench.core.schedule import learning_rate, snapshot_counts
from bench.core.streams import Draw, generator
from bench.core.timing import Stopwatch
from bench.core.window import Window

MIN_SAVING_INTERVAL = 5.0  # seconds between checkpoints that nobody asked for by number
MEASURED_STEPS = 10  # after which a start says how long it will take (or after 20 seconds)


class Stopped(Exception):
    """Training ended early, on request, with everything saved; `reason` is the signal's name."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Trainer:
    """Trains one arm in its run folder. `run` returns when all images are seen, or raises `Stopped` or `NotFinite`."""

    def __init__(
        self,
        cfg: dict[str, Any],
        folder: RunFolder,
        data: Any,
        method: Method,
        backbone: SiT,
        encoder: Any,
        processes: Processes,
    ):
        self.cfg, self.folder, self.data, self.method, self.processes = cfg, folder, data, method, processes
        device = processes.device
        self.batch, self.images = cfg["batch"], 0
        self.steps = cfg["images"] // self.batch
        self.pieces = loading.micro_rows(processes.rows(self.batch), cfg["micro_batch"])
        self.sharded = cfg["compute"]["shard"] and processes.world > 1
        held = torch.device("cpu") if self.sharded else device  # sharded, only slices go to the device
        backbone = backbone.to(held)
        time_distribution = TimeDistribution(**cfg["time"])
        self.ema = ema_copy(backbone)
        teacher = self.ema if "ema" in method.needs else None
        self.ctx = Context(data.grid, backbone.size, time_distribution, ema=teacher, encoder=encoder)
        # the heads' own initialisation, apart from every other stream
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(cfg["seed"], "heads", 0).initial_seed())
            heads = method.heads(self.ctx).to(held)
        self.arm = Arm(backbone, heads, method)
        self.net: torch.nn.Module = self.arm
        if cfg["compute"]["compile"]:
            for block in backbone.blocks:
                block.compile()
        if self.sharded:
            sharding.shard(self.arm, backbone, processes)
            sharding.shard(self.ema, self.ema, processes)
        elif processes.world > 1:
            self.net = DistributedDataParallel(self.arm, broadcast_buffers=False)
        o = cfg["optimizer"]
        self.parameters = [p for p in self.arm.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=o["weight_decay"],
            foreach=True,
        )  # fmt: skip
        bf16 = cfg["precision"] == "bf16" or (
            cfg["precision"] == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        self.watch = Stopwatch(device)
        for module in (*heads.values(), *([teacher] if teacher else []), *([encoder] if encoder is not None else [])):
            self.watch.watch(module)
        self.seconds = 0.0  # of training, over all starts of this run
        self.window = Window()
        self.diagnostics: dict[str, float] = {}  # the latest, until the next line of metrics takes them
        self.metrics: MetricsLog | None = None  # the main process's
        self.stop_reason: Callable[[], str | None] = lambda: None
        self.on_progress: Callable[[dict[str, Any]], None] = lambda line: None
        self.on_step: Callable[[int], None] = lambda images: None
        self.on_speed: Callable[[float], None] = lambda seconds_per_step: None

    # One step ----------------------------------------------------------------------------------------

    def draw(self, purpose: str, rows: slice) -> Draw:
        """This step's generator of a purpose."""
        return Draw.of(self.cfg["seed"], purpose, self.images, self.batch, rows, self.processes.device)

    def make_batch(self, loaded: loading.Loaded, rows: slice) -> Batch:
        """The shared streams of a micro-batch: the same for every method, however many processes and pieces."""
        device = self.processes.device
        index, x0, label, image = (part.to(device, non_blocking=True) if part is not None else None for part in loaded)
        assert x0 is not None and label is not None
        if self.data.latent:
            x0 = self.data.draw(x0, self.draw("posterior", rows).normal(*x0.shape[2:]))
        time_draw = self.draw("time", rows)
        dropped = self.draw("label_drop", rows).uniform() < self.cfg["label_drop"]
        return Batch(
            x0=x0,
            x1=self.draw("noise", rows).normal(*x0.shape[1:]),
            t=self.ctx.time(time_draw.uniform(), time_draw.normal()),
            label=torch.where(dropped, self.arm.backbone.null_label, label),
            image=image,
            index=index,
        )

    def step(self, source: Any) -> None:
        """Accumulate over the pieces, clip, update weights and EMA. Nothing here waits for the device."""
        o, done = self.cfg["optimizer"], self.images // self.batch
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(o["lr"], o["schedule"], o["warmup_steps"], done, self.steps)
        columns: list[str] = []
        sums: Tensor | float = 0.0
        for rows in self.pieces:
            with self.watch.part("data"):
                batch = self.make_batch(next(source), rows)
            self.ctx.images = self.images
            if rows is self.pieces[0] and is_due(self.images, self.batch, self.cfg["diagnostics_images"]):
                self.diagnose(batch, rows)
            self.ctx.draw, self.ctx.diagnostics = self.draw("method", rows), {}
            with self.gradients_synchronised(rows is self.pieces[-1]):
                with self.autocast:
                    terms = self.net(batch, self.ctx)
                total = torch.stack([term.value * term.weight for term in terms.values()]).sum() / len(self.pieces)
                total.backward()
            numbers = {f"loss.{name}": term.value for name, term in terms.items()}
            numbers |= {f"diagnostics.{name}": value for name, value in self.ctx.diagnostics.items()}
            columns = list(numbers)
            sums = sums + torch.stack([value.detach().float().mean() for value in numbers.values()]) / len(self.pieces)
        norm = sharding.full(torch.nn.utils.clip_grad_norm_(self.parameters, o["clip"]))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        ema_update(self.ema, self.arm.backbone, ema_decay(self.cfg["ema"]["decay"], self.cfg["ema"]["warmup"], done))
        assert isinstance(sums, Tensor)
        columns.append("grad_norm")
        if not self.window.fits(columns):
            self.log()
        self.window.add(columns, torch.cat([sums, norm.detach().float().reshape(1)]))
        self.images += self.batch

    def gradients_synchronised(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Within it a backward pass exchanges gradients if it is the step's last; earlier pieces add up at home."""
        if isinstance(self.net, DistributedDataParallel):
            return contextlib.nullcontext() if last else self.net.no_sync()
        if isinstance(self.net, FSDPModule):
            self.net.set_requires_gradient_sync(last)
        return contextlib.nullcontext()

    def diagnose(self, batch: Batch, rows: slice) -> None:
        """Look at the first micro-batch before the step; all processes do."""
        compiled = self.cfg["compute"]["compile"]
        # two backward passes through one graph: compiled ones may free what the second needs
        eager = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
        with self.watch.aside("diagnostics"), eager:
            self.diagnostics = diagnose(
                self.arm,
                batch,
                self.ctx,
                lambda rows: self.draw("method", rows),
                rows,
                self.processes.mean,
                self.autocast,
            )

    # Once in a while ---------------------------------------------------------------------------------

    def read_window(self) -> Tensor:
        """The window's numbers, all finite. Raises NotFinite."""
        steps, lr = self.images // self.batch, self.cfg["optimizer"]["lr"]
        first = steps - len(self.window.rows) + 1
        return self.window.read(self.processes.mean, first, f"lower optimizer.lr={lr:g}, or use precision=float32")

    def log(self) -> None:
        """Write a line of metrics.jsonl, tell the heartbeat and the progress bar."""
        values = self.read_window()
        steps, means = len(values), self.window.means(values)
        means["diagnostics"] = self.diagnostics | means["diagnostics"]
        self.diagnostics = {}
        times = self.watch.read()
        self.seconds += times["seconds"]
        speed = steps * self.batch / times["seconds"]
        line = (
            {"images": self.images, "step": self.images // self.batch}
            | means
            | {"lr": self.optimizer.param_groups[0]["lr"]}
        )
        line |= {"time": times | {"images_per_second": speed, "total_seconds": self.seconds}}
        if self.metrics is not None:
            self.folder.check_exists()
            self.metrics.append(line)
            left = (self.cfg["images"] - self.images) / speed
            loss = means["loss"]["velocity"]
            self.folder.status(images=self.images, loss=loss, images_per_second=speed, seconds_left=left)
            self.on_progress(line)

    def save(self) -> None:
        """A resume checkpoint, after everything in the window was found finite.

        The window goes with it, so lines stay the same.
        """
        window = self.read_window()
        parts = {
            "backbone": self.arm.backbone, "heads": self.arm.heads, "ema": self.ema, "optimizer": self.optimizer
        }  # fmt: skip
        learned = {name: sharding.whole(part.state_dict(), self.processes.main) for name, part in parts.items()}
        if self.metrics is None:
            return
        state = learned | {
            "images": self.images,
            "seconds": self.seconds,
            "metrics_bytes": self.metrics.bytes,
            "columns": self.window.columns,
            "window": window.float(),
            "diagnostics": self.diagnostics,
            "torch": str(torch.__version__),  # the class itself is refused when weights alone are loaded
            "device": str(self.processes.device.type),
        }
        start = time.monotonic()
        checkpoints.save_checkpoint(self.folder.path / "checkpoints", self.images, state)
        self.saved_at, self.saved_images = time.monotonic(), self.images
        self.save_seconds = self.saved_at - start

    def snapshot(self) -> None:
        """The EMA backbone, kept for good, after everything in the window was found finite."""
        self.read_window()
        state = sharding.whole(self.ema.state_dict(), self.processes.main)
        if self.processes.main:
            checkpoints.save_snapshot(self.folder.path, self.images, state)

    def restore(self) -> int:
        """Load the newest good checkpoint, if any; returns how much of metrics.jsonl it knew."""
        held = torch.device("cpu") if self.sharded else self.processes.device
        if not self.processes.main:  # the main process goes first: it sets damaged checkpoints aside
            self.processes.barrier()
        state = checkpoints.load_checkpoint(self.folder.path / "checkpoints", held)
        if self.processes.main:
            self.processes.barrier()
        if state is None:
            return 0
        for name, module in (("backbone", self.arm.backbone), ("heads", self.arm.heads), ("ema", self.ema)):
            sharding.load_module(module, state[name])
        sharding.load_optimizer(self.optimizer, state["optimizer"])
        self.images, self.seconds = state["images"], state["seconds"]
        self.window.columns, self.window.rows = state["columns"], list(state["window"].to(self.processes.device))
        self.diagnostics = state["diagnostics"]
        return state["metrics_bytes"]

    def run(self) -> None:
        """Train from the last checkpoint to the last image."""
        cfg, main = self.cfg, self.processes.main
        keep = self.restore()
        self.metrics = MetricsLog(self.folder.path / "metrics.jsonl", keep) if main else None
        due = [at for at in snapshot_counts(cfg["images"], self.batch, cfg["snapshots"]) if at > self.images]
        source = loading.batches(
            self.data, cfg["seed"], self.images, cfg["images"], self.batch, self.pieces,
            "image" in self.method.needs, cfg["compute"]["data_workers"],
        )  # fmt: skip
        if main:
            self.folder.status(
                now=True, state="running", phase="training", images=self.images, images_total=cfg["images"], message=""
            )
        self.saved_at, self.saved_images, self.save_seconds = time.monotonic(), self.images, 0.0
        self.watch.read()
        started, first, told = time.monotonic(), self.images, False
        if self.images == cfg["images"]:  # the last snapshot was lost, or it would not be asked for
            self.snapshot()
        while self.images < cfg["images"]:
            self.step(source)
            if not told and (self.images - first == MEASURED_STEPS * self.batch or time.monotonic() - started > 20):
                self.on_speed((time.monotonic() - started) * self.batch / (self.images - first))
                told = True
            if main:
                self.folder.status(images=self.images)
                self.on_step(self.images)
            if (
                self.images // cfg["log_images"] != (self.images - self.batch) // cfg["log_images"]
                or self.images == cfg["images"]
            ):
                self.log()
            if any(at <= self.images for at in due):
                self.snapshot()
                due = [at for at in due if at > self.images]
            reason = self.stop_reason()
            stop = self.processes.any(reason is not None)
            if stop or self.images == cfg["images"] or self.processes.any(main and self.due_for_saving()):
                with self.watch.part("saving"):
                    self.save()
            if stop:
                raise Stopped(self.processes.first(reason))

    def due_for_saving(self) -> bool:
        """Whether it is time for a resume checkpoint.

        After so many images if they are stated, else after a tenth of all unless that would take more than a tenth of
        the time; and after so many minutes in any case.
        """
        cfg, since = self.cfg, time.monotonic() - self.saved_at
        images = self.images - self.saved_images
        if cfg["checkpoint_images"]:
            by_images = images >= cfg["checkpoint_images"]
        else:
            by_images = images >= cfg["images"] / 10 and since > max(MIN_SAVING_INTERVAL, 10 * self.save_seconds)
        return by_images or since > 60 * cfg["checkpoint_minutes"]
