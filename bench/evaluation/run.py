"""A run's own measurements: what its configuration asks of its snapshots, until it is complete.

python -m bench.run method=selfflow measure=full evaluation.metrics=[fd_local,fid]
"""

from __future__ import annotations

import contextlib
import shlex
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.cli import StopFlag
from bench.config.parts import part_configs
from bench.core.metrics import facts_of
from bench.core.store import weight_files
from bench.core.store.row_table import row_table
from bench.core.store.rows import CONTROL_OF_MOTION, YARDSTICKS
from bench.core.store.runs import read_run
from bench.core.store.tracking import numbers_of_rows
from bench.core.store.waiting import saying
from bench.core.train.trainer import Stopped, snapshots_of
from bench.evaluation.measure import Evaluator
from bench.evaluation.request import Request
from bench.evaluation.samples import sweep
from bench.evaluation.subject import snapshot_subject, untrained_subject
from bench.evaluation.tasks import Task, pending, planned
from bench.training.session import Session


def check_measurable(session: Session) -> None:
    """Raise ValueError, before a run is trained, for what its measurements will lack."""
    cfg, processes = session.cfg, session.processes
    if cfg.measure == "none" or not processes.main:
        return
    for part, own in part_configs(cfg).items():
        request = Request.of_config(own, part)
        evaluator = Evaluator(request, processes, Path(cfg.cache))
        subject = untrained_subject(session, part)
        for name in request.metrics:
            try:
                evaluator.check(subject, name)
            except ValueError as error:
                raise ValueError(
                    f"{name} could not be measured ({error}): mend that, leave it out of "
                    "evaluation.metrics or evaluation.encoders, or train with measure=none"
                ) from error


def seconds_to_prepare(session: Session) -> float:
    """What training the networks that a run's measurements read with will take here, each once; 0
    where the cache has them. In the main process, which measures.
    """
    cfg, processes = session.cfg, session.processes
    if cfg.measure == "none" or not processes.main:
        return 0.0
    tasks, _ = planned(session, snapshots_of(cfg, cfg.size))
    seconds = 0.0
    for part, own in part_configs(cfg).items():
        evaluator = Evaluator(Request.of_config(own, part), processes, Path(cfg.cache))
        subject = untrained_subject(session, part)
        names = dict.fromkeys(n for task in tasks if task.part == part for n in task.metrics)
        seconds += sum(
            evaluator.metric(subject, name).seconds_to_prepare(evaluator.inputs(subject, name))
            for name in names
        )
    return seconds


def measure_run(session: Session, stop: StopFlag) -> None:
    """Make a run's pending measurements and declare it complete.

    Raises Stopped between two of them, and between blocks of samples.
    """
    folder, processes, cfg = session.folder, session.processes, session.cfg
    total = cfg.images
    if processes.main:
        folder.status(
            now=True,
            state="running",
            phase="measuring",
            images=total,
            images_total=total,
            seconds_left=None,
            message="",
        )

    def stop_if_asked() -> None:
        if processes.main:
            folder.check_exists()
        if not processes.any(stop.reason is not None):
            return
        reason = processes.first(stop.reason)
        message = f"stopped by {reason} while measuring; the same command goes on"
        if processes.main:
            folder.status(now=True, state="stopped", message=message)
        raise Stopped(reason)

    evaluators = {
        part: Evaluator(
            Request.of_config(own, part),
            processes,
            Path(cfg.cache),
            between=stop_if_asked,
            graphs=cfg.compute.graphs,
        )
        for part, own in part_configs(cfg).items()
    }
    tasks = pending(session)
    quiet = not (processes.main and cfg.compute.progress)
    bar = tqdm(
        total=len(tasks), desc="measuring", unit="result", disable=quiet or None, leave=False
    )
    for _, of_subject in groupby(tasks, lambda task: (task.images, task.part)):
        here = list(of_subject)
        _measure_subject(session, evaluators[here[0].part], here, bar)
    bar.close()
    if processes.main:
        for images in weight_files.snapshots(folder.path):
            for samples in folder.path.glob(f"samples/*-{images:012d}-*/"):
                sweep(samples)
        folder.status(now=True, state="complete", message="")
        print(run_summary(session))
        print_left_out(session)


def _measure_subject(session: Session, evaluator: Evaluator, tasks: list[Task], bar: tqdm) -> None:
    """Measure one snapshot on one kind of data; what fails is said with what was being measured."""
    folder, processes = session.folder, session.processes
    images, part = tasks[0].images, tasks[0].part
    evaluator.between()
    left = iter(tasks)
    task = tasks[0]
    try:
        subject = snapshot_subject(session, images, part)
        results = evaluator.results(subject, tasks)
        for task in left:
            what = f"measuring {task.name} at {images} images, {bar.n + 1:.0f} of {bar.total}"
            with saying(what) if processes.main else contextlib.nullcontext():
                _, rows = next(results)
                if processes.main:
                    folder.check_exists()
                    evaluator.illustrate(subject, task)
            if processes.main:
                evaluator.write(subject, task, rows)
                session.track(images, numbers_of_rows(rows))
                folder.status()
            bar.update()
        next(results, None)
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        verb = "stored" if isinstance(error, OSError) else "measured"
        what = f"{task.name} at {images} images could not be {verb} ({reason})"
        if processes.main:
            folder.status(now=True, state="failed", message=what)
        again = f"{what}: mend that and run the same command again, or with measure=none"
        raise (
            OSError(error.errno, again) if isinstance(error, OSError) else ValueError(again)
        ) from error


def print_left_out(session: Session) -> None:
    """What measure=quick or none left out, and the command that measures it."""
    left_out = planned(session)[1]
    if not left_out:
        return
    counts: dict[str, int] = {}
    for task in left_out:
        counts[task.name] = counts.get(task.name, 0) + 1
    kinds = ", ".join(f"{kind} of {n} snapshot(s)" for kind, n in counts.items())
    words = [word for word in session.argv if not word.startswith("measure=")]
    command = f"python -m bench.run {shlex.join([*words, 'measure=full'])}"
    print(f"not measured: {kinds}. To do it: {command}")


def run_summary(session: Session) -> str:
    """The run's last numbers, for the terminal."""
    frame = row_table([read_run(session.path)], [])
    frame = frame[(frame["images"] == session.cfg.images) & frame["value"].notna()]
    lines = [f"{session.path} is complete: {session.cfg.images} images"]
    for data in dict.fromkeys(frame["data"]):
        of_data = frame[frame["data"] == data]
        if data != session.cfg.data.name:
            lines.append(f"{data}:")
        lines += _numbers(of_data)
    return "\n".join(lines)


def _numbers(frame: Any) -> list[str]:
    """A line a number of one kind of data."""
    lines, plain = list[str](), frame[frame["block"].isna()]
    for row in plain.itertuples():
        beside = [f"{facts_of(row.metric).real}: {row.real:.4g}"] if row.real == row.real else []
        if (control := (row.details or {}).get(CONTROL_OF_MOTION)) is not None:
            beside.append(f"those with their frames shuffled: {control:.4g}")
        for name, value in (row.details or {}).get(YARDSTICKS, {}).items():
            beside.append(f"{name}: {value:.4g}")
        said = f"   ({'; '.join(beside)})" if beside else ""
        lines.append(
            f"  {row.metric:22}{row.value:<10.4g}{said}{'   related' if row.related else ''}"
        )
    probes = frame[frame["block"].notna()]
    for metric, rows in probes.groupby("metric"):
        best = rows.loc[rows["value"].idxmax()]
        where = f"block {best['block']:.0f}, t = {best['t']:g}"
        lines.append(f"  {metric:22}{best['value']:<10.4g}   (highest of {len(rows)}: {where})")
    return lines
