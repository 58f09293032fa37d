"""What bench.run does: train one arm in its folder, measure it, and stop when asked to."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import torch
import yaml
from tqdm import tqdm

from bench.cli import EXIT_OF_SIGNAL, StopFlag
from bench.config.compose import compose
from bench.config.schema import Config
from bench.core.compat import use_threads
from bench.core.data.base import described
from bench.core.model.sizes import SIZES
from bench.core.store.untrusted import printable
from bench.core.train import distributed
from bench.core.train.cost import flops_until
from bench.core.train.meter import NotFinite
from bench.core.train.trainer import Stopped
from bench.evaluation.run import check_measurable, measure_run
from bench.evaluation.tasks import pending
from bench.machine.estimate import refuse_what_cannot_fit
from bench.training.session import Session


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
    stop = StopFlag().install()
    # train what is missing, measure what is missing
    processes = distributed.start(cfg.compute.device)
    try:
        session.assemble(processes, None if session.begun() else refuse_what_cannot_fit)
        if not session.trained():
            check_measurable(session)
        session.open_folder()
        if not session.trained():
            _train(session, stop)
        elif not session.cost_known():
            session.write_cost()
        measure_run(session, stop)
        return 0
    except Stopped as stopped:
        print(
            f"stopped by {stopped.reason} with everything saved; the same command resumes",
            file=sys.stderr,
        )
        return EXIT_OF_SIGNAL.get(stopped.reason, 1)
    except NotFinite as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        session.close()
        distributed.finish()


def _train(session: Session, stop: StopFlag) -> None:
    """With a line of what it costs before, a bar while, and an estimate once steps are timed."""
    cfg = session.cfg
    main_process = session.processes.main
    if main_process:
        print(_announcement(session), flush=True)
    quiet = not (main_process and cfg.compute.progress and sys.stderr.isatty())
    bar = tqdm(total=cfg.images, unit="img", unit_scale=True, disable=quiet, dynamic_ncols=True)

    def on_step(images: int) -> None:
        bar.update(images - bar.n)

    def on_progress(line: dict[str, Any]) -> None:
        loss = " ".join(f"{name} {value:.4f}" for name, value in line["loss"].items())
        bar.set_postfix_str(loss)

    def on_speed(seconds_per_step: float) -> None:
        seconds = seconds_per_step * cfg.images / cfg.batch
        text = f"measured {seconds_per_step:.3g} s a step: about {duration(seconds)} in all"
        smaller = smaller_size(cfg, seconds) if seconds > 3600 else None
        if main_process:
            tqdm.write(
                text + (f"; size={smaller} would end within ten minutes" if smaller else ""),
                file=sys.stdout,
            )

    session.train(lambda: stop.reason, on_step, on_progress, on_speed)
    bar.close()


def _announcement(session: Session) -> str:
    cost, cfg = session.arm.cost, session.cfg
    parameters = ", ".join(f"{group} {n / 1e6:.2f}M" for group, n in cost.parameters.items() if n)
    flops, in_all = cost.flops_per_image["total"], flops_until(cost.to_json(), cfg.images)
    disk = {kind: n / 1e9 for kind, n in session.arm.disk_bytes().items()}
    return (
        f"{session.path}\n"
        f"  data: {described(session.arm.data)}\n"
        f"  parameters: {parameters}\n"
        f"  FLOPs: {flops:.3g} an image, {in_all:.3g} in all\n"
        f"  disk: {disk['checkpoints']:.2g} GB checkpoints, {disk['snapshots']:.2g} GB snapshots\n"
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


def duration(seconds: float) -> str:
    """A length of time as people say it: "48 s", "12 min", "3.4 h", "6 days"."""
    for unit, length in (("days", 2 * 86400), ("h", 2 * 3600), ("min", 120)):
        if seconds >= length:
            in_unit = seconds / {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{in_unit:.1f} {unit}" if in_unit < 10 else f"{in_unit:.0f} {unit}"
    return f"{seconds:.0f} s"
