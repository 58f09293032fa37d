"""What bench.evaluate does: sample a run or a released model, and measure it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.words import split_word
from bench.core.compat import use_threads
from bench.core.model.graphs import check_device
from bench.core.store.files import Json
from bench.core.store.rows import kind_of_part, result_path
from bench.core.store.runs import is_readable
from bench.core.store.waiting import saying
from bench.core.train import distributed
from bench.core.train.distributed import Processes
from bench.evaluation.measure import Evaluator
from bench.evaluation.request import Request, check_subject_words, entry_of
from bench.evaluation.samples import sweep
from bench.evaluation.subject import Subject, released_subject, run_subject
from bench.evaluation.tasks import Task, rows_of
from bench.machine.estimate import estimate_samples, what_cannot_fit
from probes.metric import PICTURES


def evaluate(overrides: list[str], **words: Any) -> int:
    """What the words of bench.evaluate ask for: sample, then measure; returns the exit code."""
    check_subject_words(words)
    of_data, of_encoder = (
        dict(split_word(word.removeprefix(group)) for word in overrides if word.startswith(group))
        for group in ("data.", "encoder.")
    )
    request = Request.of_words(words, of_encoder)
    use_threads(words["threads"])
    processes = distributed.start(words["device"])
    try:
        if words["graphs"]:
            check_device("graphs", processes.device)
        loading = saying(f"loading {words['run'] or words['checkpoint']}")
        with loading if processes.main else contextlib.nullcontext():
            subject = _subject(words, of_data, processes)
        if not words["anyway"] and (request.keeps_pictures or request.parts(request.metrics)):
            refuse_samples(request, subject, processes)
        cache = words["cache"] or subject.folder.parent / "cache"
        evaluator = Evaluator(
            request, processes, cache, progress=processes.main, graphs=words["graphs"]
        )
        evaluate_subject(evaluator, subject)
        return 0
    finally:
        distributed.finish()


def _subject(words: Json, of_data: dict[str, str], processes: Processes) -> Subject:
    """The snapshot or the released model that the words name."""
    if words["run"]:
        return run_subject(
            words["run"],
            processes.device,
            words["images"],
            average=words["ema"],
            data_words=of_data,
            cache=words["cache"] or words["run"].parent / "cache",
            part=words["part"],
        )
    return released_subject(
        words["checkpoint"],
        processes.device,
        format_name=words["format"],
        size=words["size"],
        data_name=words["data"],
        data_words=of_data,
        out=words["out"],
        aligned=words["aligned"],
        argv=[f"{key}={value}" for key, value in words.items() if value not in (None, False)],
    )


def refuse_samples(request: Request, subject: Subject, processes: Processes) -> None:
    """Raise ValueError, with the estimate, for more samples than can be made here."""
    backbone = subject.backbone
    evaluations = request.protocol(backbone.grid).evaluations
    n, size = request.samples, backbone.size
    least = estimate_samples(n, evaluations, backbone.grid, size, processes)
    if lacks := what_cannot_fit(least, subject.folder, processes.device):
        raise ValueError(
            f"samples={n} cannot be made here, they take at least {'; '.join(lacks)}: fewer "
            "samples=, or say anyway=true"
        )


def evaluate_subject(evaluator: Evaluator, subject: Subject) -> None:
    """Measure what the request asks and is not measured yet, a file each, and say its rows."""
    request, processes = evaluator.request, evaluator.processes
    request.protocol(subject.backbone.grid)  # whether there is such a one

    # what is there already is measured no second time
    tasks = []
    if processes.main:
        for name in request.metrics:
            evaluator.check(subject, name)
            kind = evaluator.kind(subject, name)
            task = Task(kind, subject.images, 0.0, (name,))
            if (path := measured_in(subject, request, task)) is not None:
                said = [
                    row
                    for row in rows_of(path)
                    if row.get("request", {}).get("metrics") in (name, None)
                ]
                say_rows(said, f"{path}: measured already")
            else:
                tasks.append(task)
    tasks = processes.first(tasks if processes.main else None)

    sampled = None
    if request.keeps_pictures:
        needed = {part for task in tasks for part in request.parts(task.metrics)}
        sampled = evaluator.sample(subject, needed | {PICTURES})
    for task, rows in evaluator.results(subject, tasks, sampled):
        if processes.main:
            path = evaluator.write(subject, task, rows)
            say_rows([row.to_json() for row in rows], str(path))
    if processes.main and request.parts(request.metrics):
        sweep(evaluator.store(subject).folder)


def measured_in(subject: Subject, request: Request, task: Task) -> Path | None:
    """The result file that has a metric's rows as they are asked for, or None."""
    path = result_path(subject.folder, task.kind, subject.images)
    if is_readable(path):
        return path
    own = entry_of(task.metrics[0]).kind
    by_run = result_path(subject.folder, kind_of_part(own, subject.part), subject.images)
    asked = request.of(task.metrics[0])
    found = (
        own and not subject.average and any(row.get("request") == asked for row in rows_of(by_run))
    )
    return by_run if found else None


def say_rows(rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Rows as they are stored, for the terminal, and their file."""
    for row in rows:
        place = "" if row["block"] is None else f"block {row['block']}, t = {row['t']:g}"
        value = "missing" if row["value"] is None else f"{row['value']:.5g}"
        said = "; ".join(part for part in (place, row["note"]) if part)
        print(f"  {row['metric']:20}{value:12}{said}".rstrip())
    print(where)
