"""What bench.run does: train one arm in its folder, measure it, and stop when asked to."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from bench.cli import EXIT_OF_SIGNAL, StopFlag
from bench.config.compose import compose
from bench.config.schema import Config
from bench.core.compat import use_threads
from bench.core.data.mixed import found_in
from bench.core.model.sizes import SIZES
from bench.core.store.untrusted import printable
from bench.core.store.waiting import EVERY, saying
from bench.core.train import distributed
from bench.core.train.cost import flops_until
from bench.core.train.meter import NotFinite
from bench.core.train.trainer import Stopped
from bench.evaluation.run import check_measurable, measure_run, seconds_to_prepare
from bench.evaluation.tasks import flops_to_measure, pending
from bench.machine.estimate import refuse_what_cannot_fit
from bench.machine.pace import pace
from bench.training.session import Session

WORTH_TELLING = 3.0  # seconds


def train_and_measure(cfg: str | None, overrides: list[str]) -> int:
    """Train and measure, or find that both are done; cfg "job": only print the configuration.

    Returns the exit code. Raises ValueError for words that no run could use.
    """
    config = compose(overrides)
    if cfg == "job":
        print(yaml.safe_dump(config.to_dict(), sort_keys=False), end="")
        return 0
    return complete(config, overrides)


def complete(cfg: Config, words: list[str]) -> int:
    """Do what is missing of a run, in this process; words: noted in its folder."""
    if cfg.compute.name == "slurm" and "SLURM_JOB_ID" not in os.environ:
        raise ValueError(
            "bench.run trains in this process, and compute=slurm is for jobs: "
            "submit with python -m bench.sweep "
            "study=NAME compute=slurm, or leave compute= out"
        )
    session = Session(cfg, words)
    if session.trained() and not pending(session) and session.closed():
        print(f"{session.path} is complete: {cfg.images} images, measured (measure={cfg.measure})")
        return 0
    if session.published():
        print(
            f"{session.path} is complete: {cfg.images} images, a copy with its results and without "
            "its weights; runs=DIR of your own trains it again"
        )
        return 0
    # this process
    if cfg.compute.threads:
        use_threads(cfg.compute.threads)
    if cfg.deterministic:
        # without it cuBLAS refuses to be deterministic
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    warnings.showwarning = lambda message, *_: print(
        f"warning: {printable(str(message))}", file=sys.stderr
    )
    stop, began = StopFlag().install(), time.monotonic()
    # train what is missing, measure what is missing
    processes = distributed.start(cfg.compute.device)
    try:
        what = f"{session.path}: building its data, method and encoder"
        with saying(what, after=1.0) if processes.main else contextlib.nullcontext():
            session.assemble(processes, None if session.begun() else refuse_what_cannot_fit)
        if not session.trained():
            check_measurable(session)
        session.open_folder()
        if not session.trained():
            _train(session, stop, time.monotonic() - began)
        elif not session.cost_known():
            session.write_cost()
        measure_run(session, stop)
        return 0
    except Stopped as stopped:
        print(
            f"stopped by {stopped.reason} with everything saved in {session.path} "
            f"({disk_text(session.path)}); the same command resumes",
            file=sys.stderr,
        )
        return EXIT_OF_SIGNAL.get(stopped.reason, 1)
    except NotFinite as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        session.close()
        distributed.finish()


def _train(session: Session, stop: StopFlag, before: float) -> None:
    """With a line of what it costs before, a bar or a line a minute while, and an estimate: at once
    from counted FLOPs, better once steps are timed. before: seconds that went by until now.
    """
    cfg, processes = session.cfg, session.processes
    main_process = processes.main
    estimate = Expected.of(session, before)
    if main_process:
        print(f"{_announcement(session)}\n{estimate}", flush=True)
    quiet = not (main_process and cfg.compute.progress and sys.stderr.isatty())
    bar = tqdm(total=cfg.images, unit="img", unit_scale=True, disable=quiet, dynamic_ncols=True)
    seen, loss, began = 0, "", (time.monotonic(), 0)

    def on_step(images: int) -> None:
        nonlocal seen, began
        began = began if seen else (time.monotonic(), images)
        seen = images
        bar.update(images - bar.n)

    def on_progress(line: dict[str, Any]) -> None:
        nonlocal loss
        loss = " ".join(f"{name} {value:.4f}" for name, value in line["loss"].items())
        bar.set_postfix_str(loss)

    def on_speed(seconds_per_step: float) -> None:
        better = estimate.timed(seconds_per_step)
        smaller = smaller_size(cfg, better.training) if better.training > 3600 else None
        if main_process:
            tqdm.write(
                f"measured {seconds_per_step:.3g} s a step: {better}"
                + (f"; size={smaller} would end within ten minutes" if smaller else ""),
                file=sys.stdout,
            )

    def on_beginning(said: str) -> None:
        if main_process:
            tqdm.write(said, file=sys.stdout)

    def minute(_: int) -> str:
        done, seconds = seen - began[1], time.monotonic() - began[0]
        left = f", {duration(seconds / done * (cfg.images - seen))} left" if done > 0 else ""
        said = f", {loss}" if loss else ""
        return f"training: {seen} of {cfg.images} images, {seen / cfg.images:.1%}{said}{left}"

    # a bar says the same on a terminal
    lines = saying(minute, after=EVERY) if main_process and quiet else contextlib.nullcontext()
    with lines:
        session.train(lambda: stop.reason, on_step, on_progress, on_speed, on_beginning)
    bar.close()


@dataclass(frozen=True)
class Expected:
    """Seconds that a run will take, of training and of what is measured afterwards.

    before: what it took until its training could begin, as of data and an encoder; readers: of
    training the networks that measurements read with; flops: of training and measuring; how: what
    it rests on.
    """

    training: float
    measuring: float
    flops: tuple[float, float]
    steps: int
    how: str
    before: float = 0.0
    readers: float = 0.0

    @classmethod
    def of(cls, session: Session, before: float) -> Expected:
        """From counted FLOPs and half a second of this machine."""
        cfg, arm, processes = session.cfg, session.arm, session.processes
        rows = min(cfg.micro_batch or cfg.batch, -(-cfg.batch // processes.world))
        speed = pace(arm.data.grid, cfg.size, arm.data.condition, processes.device, rows)
        training = flops_until(arm.cost.to_json(), cfg.images)
        flops = training, flops_to_measure(session)
        how = "an estimate, by half a second of this machine"
        seconds = training / speed / processes.world, flops[1] / speed / processes.world
        readers = seconds_to_prepare(session)
        return cls(*seconds, flops, cfg.images // cfg.batch, how, before, readers)

    def timed(self, seconds_per_step: float) -> Expected:
        """Once a step is timed: measuring is as fast by its FLOPs as training is."""
        training = seconds_per_step * self.steps
        measuring = self.flops[1] * training / self.flops[0]
        return replace(self, training=training, measuring=measuring, how="")

    def __str__(self) -> str:
        parts = f"training {duration(self.training)}, measuring {duration(self.measuring)}"
        if self.before >= WORTH_TELLING:
            parts += f", preparing {duration(self.before)}"
        if self.readers >= WORTH_TELLING:
            parts += f", training the networks that measure {duration(self.readers)}"
        said = f" ({parts}{'; ' if self.how else ''}{self.how})"
        in_all = self.before + self.training + self.readers + self.measuring
        return f"about {duration(in_all)} in all{said}"


def _announcement(session: Session) -> str:
    cost, cfg = session.arm.cost, session.cfg
    parameters = ", ".join(f"{group} {n / 1e6:.2f}M" for group, n in cost.parameters.items() if n)
    flops, in_all = cost.flops_per_image["total"], flops_until(cost.to_json(), cfg.images)
    disk = {kind: n / 1e9 for kind, n in session.arm.disk_bytes().items()}
    free = shutil.disk_usage(session.path).free / 1e9
    return (
        f"{session.path}\n"
        f"  data: {found_in(session.arm.data)}\n"
        f"  parameters: {parameters}\n"
        f"  FLOPs: {flops:.3g} an image, {in_all:.3g} in all\n"
        f"  disk: {sum(disk.values()):.2g} GB of {free:.3g} GB free "
        f"({disk['checkpoints']:.2g} GB checkpoints, {disk['snapshots']:.2g} GB snapshots)\n"
        f"  device: {session.processes.device}, {session.processes.world} process(es)"
    )


def smaller_size(cfg: Config, seconds: float, limit: float = 600.0) -> str | None:
    """The largest size that would end within `limit` seconds,
    judged by parameters (FLOPs go with them), or None.
    """
    here = cfg.size.depth * cfg.size.width**2
    for size in reversed(SIZES.values()):
        there = size.depth * size.width**2
        if there < here and seconds * there / here < limit:
            return size.name
    return None


def disk_text(folder: Path) -> str:
    """What a folder takes of its disk: "36.6 MB", "22 GB"."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def duration(seconds: float) -> str:
    """A length of time as people say it: "48 s", "12 min", "3.4 h", "6 days"."""
    for unit, length in (("days", 2 * 86400), ("h", 2 * 3600), ("min", 120)):
        if seconds >= length:
            in_unit = seconds / {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{in_unit:.1f} {unit}" if in_unit < 10 else f"{in_unit:.0f} {unit}"
    return f"{seconds:.0f} s"
