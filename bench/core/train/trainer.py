"""The one training loop, for every method: counted in images, exact on resume.

A `Learner` makes the steps; here are the lines of metrics.jsonl, checkpoints, snapshots and
stopping. A checkpoint is the learner's state, the window of numbers since the last line, and the
length of metrics.jsonl.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from bench.core.data.base import Examples
from bench.core.model.sizes import Size
from bench.core.store import checkpoints
from bench.core.store.folder import MetricsLog, RunFolder
from bench.core.train import sharding
from bench.core.train.learner import Learner
from bench.core.train.meter import Window
from bench.core.train.settings import Settings

MIN_SAVING_INTERVAL = 5.0  # seconds between checkpoints that nobody asked for by number
MEASURED_STEPS = 5  # after which a start says how long it will take, by those after the first
TRIAL_SECONDS, TRIAL_STEPS = 60.0, 64  # a run that is below one of them is soon made anew
TRIAL_BYTES = 2**28  # of a backbone's weights, above which what a few steps leave is no trifle


class Stopped(Exception):
    """Training ended early, on request, with everything saved; `reason` is the signal's name."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Trainer:
    """Trains one arm in its run folder.

    `run` returns when all images are seen, or raises `Stopped` or `NotFinite`. on_beginning: called
    before the first step of a run that goes on from no checkpoint, in every process.
    """

    def __init__(self, learner: Learner, folder: RunFolder):
        self.learner, self.folder = learner, folder
        self.cfg, self.processes, self.watch = learner.cfg, learner.processes, learner.watch
        self.seconds = 0.0  # of training, over all starts of this run
        self.window = Window()
        self.metrics: MetricsLog | None = None  # the main process's
        self.stop_reason: Callable[[], str | None] = lambda: None
        self.on_progress: Callable[[dict[str, Any]], None] = lambda line: None
        self.on_step: Callable[[int], None] = lambda images: None
        self.on_speed: Callable[[float], None] = lambda seconds_per_step: None
        self.on_beginning: Callable[[Learner], None] = lambda learner: None

    def read_window(self) -> Tensor:
        """The window's numbers, all finite. Raises NotFinite."""
        steps, lr = self.learner.images // self.learner.batch, self.cfg.optimizer.lr
        first = steps - len(self.window.rows) + 1
        remedy = f"lower optimizer.lr={lr:g}, or use precision=float32"
        return self.window.read(self.processes.mean, first, remedy)

    def log(self) -> None:
        """Write a line of metrics.jsonl, tell the heartbeat and the progress bar."""
        values, learner = self.read_window(), self.learner
        of_parts = learner.of_parts(self.window.columns, values)
        steps, means = len(values), self.window.means(values)
        means["diagnostics"] = learner.diagnostics | means["diagnostics"]
        learner.diagnostics = {}
        times = self.watch.read()
        self.seconds += times["seconds"]
        speed = steps * learner.batch / times["seconds"]
        line = {"images": learner.images, "step": learner.images // learner.batch} | means
        line |= of_parts | {"lr": learner.optimizer.param_groups[0]["lr"]}
        line |= {"time": times | {"images_per_second": speed, "total_seconds": self.seconds}}
        if self.metrics is not None:
            self.folder.check_exists()
            self.metrics.append(line)
            self.folder.status(
                images=learner.images,
                loss=means["loss"]["velocity"],
                images_per_second=speed,
                seconds_left=(self.cfg.images - learner.images) / speed,
            )
            self.on_progress(line)

    def save(self) -> None:
        """A resume checkpoint, after everything in the window was found finite.

        The window goes with it, so lines stay the same.
        """
        window = self.read_window()
        state = self.learner.state()
        if self.metrics is None:
            return
        self.folder.check_exists()
        state |= {
            "seconds": self.seconds,
            "metrics_bytes": self.metrics.synced_bytes(),
            "columns": self.window.columns,
            "window": window.float(),
            # as text: the class itself is refused when weights alone are loaded
            "torch": str(torch.__version__),
            "device": str(self.processes.device.type),
        }
        start = time.monotonic()
        checkpoints.save_checkpoint(self.folder.path / "checkpoints", state["images"], state)
        self.saved_at, self.saved_images = time.monotonic(), state["images"]
        self.save_seconds = self.saved_at - start

    def snapshot(self) -> None:
        """The EMA backbone, kept for good, after everything in the window was found finite."""
        self.read_window()
        state = sharding.whole(self.learner.ema.state_dict(), self.processes.main)
        if self.processes.main:
            self.folder.check_exists()
            checkpoints.save_snapshot(self.folder.path, self.learner.images, state)

    def restore(self) -> int:
        """Load the newest good checkpoint, if any; returns how much of metrics.jsonl it knew."""
        if not self.processes.main:  # the main one goes first: it sets damaged checkpoints aside
            self.processes.barrier()
        folder = self.folder.path / "checkpoints"
        state = checkpoints.load_checkpoint(folder, self.learner.held, self.fault)
        if self.processes.main:
            self.processes.barrier()
        if state is None:
            self.on_beginning(self.learner)
            return 0
        self.learner.load(state)
        self.seconds = state["seconds"]
        self.window.columns = state["columns"]
        self.window.rows = list(state["window"].to(self.processes.device))
        return state["metrics_bytes"]

    def fault(self, state: dict[str, Any]) -> str:
        """Why a checkpoint's state is none that `save` made of this arm, "" where it is."""
        kinds = {"seconds": float, "metrics_bytes": int, "columns": list, "window": Tensor}
        for key, kind in kinds.items():
            if not isinstance(state.get(key), kind):
                return f"{key} is missing"
        return self.learner.fault(state)

    def step(self, source: Iterator[Examples]) -> None:
        """One step, its numbers in the window; where a term begins or ends, a line is written
        first.
        """
        columns, numbers = self.learner.step(source)
        if not self.window.fits(columns):
            self.log()
        self.window.add(columns, numbers)
        self.learner.images += self.learner.batch

    def run(self) -> None:
        """Train from the last checkpoint to the last image."""
        # where the run stands, and what is due when
        cfg, main, learner = self.cfg, self.processes.main, self.learner
        keep, total = self.restore(), self.cfg.images
        self.metrics = MetricsLog(self.folder.path / "metrics.jsonl", keep) if main else None
        due = [at for at in snapshots_of(cfg, learner.ctx.size) if at > learner.images]
        source = learner.batches(total)
        if main:
            here = {"phase": "training", "images": learner.images, "images_total": total}
            self.folder.status(now=True, state="running", message="", **here)
        self.saved_at, self.saved_images, self.save_seconds = time.monotonic(), learner.images, 0.0
        self.watch.read()
        ends: list[float] = []  # of the first steps
        if learner.images == total:  # the last snapshot was lost, or it would not be asked for
            self.snapshot()

        while (before := learner.images) < total:
            self.step(source)
            images = learner.images

            # who watches: once how long a step takes, the first apart, then the heartbeat
            if len(ends) < MEASURED_STEPS:
                learner.wait()
                ends.append(time.monotonic())
                if len(ends) == MEASURED_STEPS:
                    pairs = itertools.pairwise(ends)
                    self.on_speed(statistics.median(then - now for now, then in pairs))
            if main:
                self.folder.status(images=images)
                self.on_step(images)

            # lines, snapshots, checkpoints; a wish to stop is granted between two steps
            if images // cfg.log_images != before // cfg.log_images or images == total:
                self.log()
            if any(at <= images for at in due):
                self.snapshot()
                due = [at for at in due if at > images]
            reason = self.stop_reason()
            stop = self.processes.any(reason is not None)
            ended = images == total and not self.processes.any(main and self.is_trial())
            if stop or ended or self.processes.any(main and self.due_for_saving()):
                with self.watch.part("saving"):
                    self.save()
            if stop:
                raise Stopped(self.processes.first(reason))
        if main and self.is_trial():
            checkpoints.remove_checkpoints(self.folder.path / "checkpoints")

    def is_trial(self) -> bool:
        """Whether a run that has ended was so short that what it would resume from is worth less
        than its disk; not where checkpoints were asked for by number, nor where a longer run goes
        on from here, but for a few steps of a large model.
        """
        few = self.cfg.images < TRIAL_STEPS * self.learner.batch
        goes_on = not self.cfg.optimizer.has_length and not is_large_trial(
            self.cfg, self.learner.ctx.size
        )
        short = few or self.seconds < TRIAL_SECONDS
        return short and not goes_on and not self.cfg.checkpoint_images

    def due_for_saving(self) -> bool:
        """Whether it is time for a resume checkpoint.

        After so many images if they are stated, else after a tenth of all unless that would take
        more than a tenth of the time; and after so many minutes in any case.
        """
        cfg, since = self.cfg, time.monotonic() - self.saved_at
        images = self.learner.images - self.saved_images
        if self.learner.images == cfg.images and self.is_trial():
            return False
        if cfg.checkpoint_images:
            by_images = images >= cfg.checkpoint_images
        else:
            worth_it = since > max(MIN_SAVING_INTERVAL, 10 * self.save_seconds)
            by_images = images >= cfg.images / 10 and worth_it
        return by_images or since > 60 * cfg.checkpoint_minutes


def is_large_trial(cfg: Settings, size: Size) -> bool:
    """Whether a run is a few steps of a model whose snapshots are gigabytes."""
    weights = 4 * 18 * size.depth * size.width**2
    return cfg.images < TRIAL_STEPS * cfg.batch and weights > TRIAL_BYTES


def snapshots_of(cfg: Settings, size: Size) -> list[int]:
    """Images at which the snapshots of a run are taken: `snapshot_counts`, and of a trial of a
    large model the end alone.
    """
    counts = snapshot_counts(cfg.images, cfg.batch, cfg.snapshots)
    return counts[-1:] if is_large_trial(cfg, size) else counts


def snapshot_counts(images: int, batch: int, count: int) -> list[int]:
    """Images at which snapshots are taken: `count` log-spaced from images/64 on, and the end;
    whole steps.
    """
    spaced = (images * 64 ** (-1 + k / count) for k in range(count))
    return sorted({max(1, round(at / batch)) * batch for at in spaced if at >= batch} | {images})
