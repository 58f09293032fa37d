"""The evaluator: measures what a request asks of a subject, for bench.run and for bench.evaluate.

    evaluator = Evaluator(request, processes, cache)
    for task, rows in evaluator.results(subject, tasks):
        evaluator.write(subject, task, rows)

Each task is one file in results/, so measuring goes on where it stopped, between two of them and
between two blocks of samples. Whatever could be missing is looked for before anything is sampled.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.config.groups import build, encoder_option, locate
from bench.core.data.base import DataSet
from bench.core.model.sampling import block_prompts
from bench.core.store.environment import environment
from bench.core.store.files import short_hash
from bench.core.store.folder import RunFolder
from bench.core.store.rows import Row, kind_of_part, write_rows
from bench.core.store.waiting import saying
from bench.core.train.distributed import Processes
from bench.evaluation.pictures import save_clips, save_real_grid, save_sample_grid
from bench.evaluation.request import Request, entry_of, reads_encoder
from bench.evaluation.samples import SampleStore, decoder, painter, sampler
from bench.evaluation.subject import (
    Subject,
    read_values,
)
from bench.evaluation.tasks import Task
from probes.metric import DATA, PICTURES, REFERENCE, TOKENS, Inputs, Metric, Sampled, metric_class


class Evaluator:
    """Holds what the measurements of one command share, made when first needed: metrics with their
    references, and networks.

    progress: whether it says what it does where that takes long; between: called between two tasks
    and two rounds of blocks, by every process equally often; it may raise to stop; graphs: samples
    are made by CUDA graphs.
    """

    def __init__(
        self,
        request: Request,
        processes: Processes,
        cache: Path,
        progress: bool = False,
        between: Callable[[], None] = lambda: None,
        graphs: bool = False,
    ):
        self.request, self.processes, self.cache = request, processes, cache
        self.progress, self.between, self.graphs = progress, between, graphs
        self._metrics: dict[str, Metric] = {}
        self._networks: dict[str, nn.Module] = {}
        self._checked: set[str] = set()
        self._records: dict[str, dict[str, Any]] = {}

    # What is measured -----------------------------------------------------------------------------

    def results(
        self, subject: Subject, tasks: Sequence[Task], sampled: Sampled | None = None
    ) -> Iterator[tuple[Task, list[Row]]]:
        """The rows of each task, one after another; every process samples, the main one measures.

        sampled: samples that are at hand. Raises ValueError, before anything is sampled, for what
        is missing.
        """
        if self.processes.main:
            for task in tasks:
                for name in task.metrics:
                    self.check(subject, name)
        for place, task in enumerate(tasks):
            self.between()
            parts = self.request.parts(task.metrics)
            if parts and sampled is None:
                # at once for all that follow: a block is sampled once
                later = [name for later in tasks[place:] for name in later.metrics]
                sampled = self.sample(subject, self.request.parts(later))
            rows = []
            if self.processes.main:
                for name in task.metrics:
                    with self._telling(f"measuring {name}, {place + 1} of {len(tasks)}"):
                        rows += self.measure(subject, name, sampled)
            yield task, rows
            self.processes.barrier()

    def _telling(self, what: str) -> contextlib.AbstractContextManager[None]:
        return saying(what) if self.progress else contextlib.nullcontext()

    def check(self, subject: Subject, name: str) -> None:
        """Say once what will be missing. Raises ValueError where a metric cannot be measured."""
        key = f"{name} {subject.sha256}"
        if key in self._checked:
            return
        self._checked.add(key)
        data = subject.data
        if PICTURES in metric_class(name).needs and data is not None and data.noun != "picture":
            raise ValueError(
                f"metrics={name} reads pictures, and {data.name} are {data.noun}s: choose "
                "fd_local, which is of the data themselves"
            )
        with self._telling(f"preparing {name}"):
            metric = self.metric(subject, name)
        if DATA in metric.needs and subject.data is None:
            raise ValueError(f"metrics={name} reads the data set, which is not here: data.root=DIR")
        with self._telling(f"preparing {name}"):
            lacking = metric.check(self.inputs(subject, name))
        for number, why in lacking.items():
            print(f"  {number:20}{why}")

    def measure(self, subject: Subject, name: str, sampled: Sampled | None) -> list[Row]:
        """Rows of one metric, with what was asked for."""
        inputs = self.inputs(subject, name, sampled)
        asked = self.request.of(name)
        rows = self.metric(subject, name).measure(inputs)
        return [replace(row, request=asked, part=subject.part) for row in rows]

    def illustrate(self, subject: Subject, task: Task) -> None:
        """Pictures that a page shows beside a run's own measurements."""
        if TOKENS in self.request.parts(task.metrics):
            protocol = self.request.protocol(subject.backbone.grid)
            save_sample_grid(subject, protocol, self.processes.device)
            save_real_grid(subject, protocol.block)
        for name in task.metrics:
            metric, inputs = self.metric(subject, name), self.inputs(subject, name)
            metric.illustrate(inputs, subject.shown, subject.images)
            if (clips := metric.clips(inputs)) is not None:
                save_clips(clips, subject.shown, subject.images)

    # What a metric reads --------------------------------------------------------------------------

    def metric(self, subject: Subject, name: str) -> Metric:
        """The metric, with its network."""
        if name not in self._metrics:
            self._metrics[name] = metric_class(name)(name, self.network(subject, name))
        return self._metrics[name]

    def network(self, subject: Subject, name: str) -> nn.Module | None:
        """What the table says is built for a metric: an encoder, or another network of its YAML."""
        entry = entry_of(name)
        encoder, target = entry.encoder(name), entry.network.get("target", "")
        if not encoder:
            return None
        words = self.request.encoder if reads_encoder(entry) else {}
        own = subject.encoder
        if own is not None and own.name == encoder and not target and not words:
            return own
        key = f"{encoder} {target}"
        if key not in self._networks:
            option = encoder_option(encoder)
            option = option.changed(**read_values("encoder", option, words))
            parts = {
                "token_grid": subject.backbone.grid.seen,
                "dataset": subject.data,
                "cache": self.cache,
            }
            made = locate(target)(option.values) if target else build(option, **parts)
            self._networks[key] = made.to(self.processes.device)
        return self._networks[key]

    def inputs(self, subject: Subject, name: str, sampled: Sampled | None = None) -> Inputs:
        """What a metric may read of a subject."""
        needs = metric_class(name).needs
        return Inputs(
            backbone=subject.backbone,
            weights=subject.weights,
            sha256=subject.sha256,
            data=subject.data,
            data_name=subject.data_name,
            aligned=subject.aligned,
            device=self.processes.device,
            cache=self.cache,
            reference=self.reference(subject) if REFERENCE in needs else None,
            settings=self.request.settings_of(name),
            samples=sampled,
            progress=self.progress and sys.stderr.isatty(),
        )

    def reference(self, subject: Subject) -> Path | DataSet:
        """What samples are compared with: a path, or the data set whose training split it is.

        Raises ValueError where the subject has no data set.
        """
        if self.request.reference != "train":
            return Path(self.request.reference)
        if subject.data is None:
            raise ValueError(
                "reference=train needs a data set whose pictures are here: "
                "data.root=DIR, or give an ADM file or a folder"
            )
        return subject.data

    # Samples --------------------------------------------------------------------------------------

    def record(self, subject: Subject) -> dict[str, Any]:
        """The complete record of how a subject's samples are made."""
        asked = self.request
        if subject.sha256 not in self._records:
            self._records[subject.sha256] = (
                asked.protocol(subject.backbone.grid).to_json()
                | {"weights": subject.weights, "seed": asked.seed, "samples": asked.samples}
                | subject.decoded_by()
            )
        return self._records[subject.sha256]

    def samples_key(self, subject: Subject) -> str:
        """8 digits of everything that a subject's samples depend on, and its average."""
        of_part = [subject.part] if subject.part else []
        return short_hash([subject.sha256, self.record(subject), *of_part]) + subject.average

    def store(self, subject: Subject) -> SampleStore:
        """Where a subject's samples are."""
        protocol = self.request.protocol(subject.backbone.grid)
        name = f"{protocol.name}-{subject.images:012d}-{self.samples_key(subject)}"
        folder = subject.folder / "samples" / name
        return SampleStore(folder, self.request.samples, protocol.block)

    def sample(self, subject: Subject, parts: set[str]) -> Sampled:
        """Make the samples that are not there yet, as tokens, as pictures in one .npz, or both."""
        request, processes, samples = self.request, self.processes, self.store(subject)
        protocol = request.protocol(subject.backbone.grid)
        folder = RunFolder(samples.folder)
        if processes.main:
            folder.claim()
        try:
            processes.barrier()
            samples.make(
                parts,
                sampler(subject, protocol, request.seed, processes.device, self.graphs),
                decoder(subject, protocol),
                painter(protocol),
                processes,
                self.between,
                self.progress,
            )
            processes.barrier()
            if processes.main and PICTURES in parts:
                samples.finish()
                left_out = samples.not_finite()
                print(
                    f"{samples.path}: {request.samples - left_out} pictures"
                    + (f"; {left_out} samples were not finite" if left_out else "")
                )
            if not processes.main:
                return Sampled(sampling={})
            tokens = samples.tokens() if TOKENS in parts else None
        finally:
            folder.release()
        asked = None
        if tokens is not None:
            blocks = [
                block_prompts(protocol, len(subject.prompts.rows), request.seed, block)
                for block in range(samples.count)
            ]
            asked = torch.cat(blocks)[: len(tokens)]
        return Sampled(
            sampling=self.record(subject),
            tokens=tokens,
            asked=asked,
            labels=None if asked is None else subject.prompts.label[asked],
            file=samples.path if PICTURES in parts else None,
            not_finite=samples.not_finite() if PICTURES in parts else 0,
        )

    # Files ----------------------------------------------------------------------------------------

    def kind(self, subject: Subject, name: str) -> str:
        """The name of a metric's own result file: of its samples or features, of what they are
        compared with, of the network that reads them, of what is said to the metric, and of a part
        of the data.
        """
        return kind_of_part(self._kind(subject, name), subject.part)

    def _kind(self, subject: Subject, name: str) -> str:
        parts = self.request.parts([name])
        by = self.metric(subject, name).reading
        told = metric_class(name).measured_of(self.request.settings_of(name))
        own = short_hash([by, told] if told else [by])
        if not parts:
            return f"evaluate-features{subject.average}-{name}-{own}"
        against = self.request.reference if REFERENCE in metric_class(name).needs else ""
        key = self.samples_key(subject)
        return f"evaluate-{key}-{short_hash([against])}-{name}-{own}"

    def write(self, subject: Subject, task: Task, rows: list[Row]) -> Path:
        """Store the rows of a task."""
        kind = task.stem or self.kind(subject, task.metrics[0])
        subject.describe()
        context = {"environment": environment(self.processes.device, torch.get_num_threads())}
        context |= subject.context | {"snapshot_sha256": subject.sha256}
        return write_rows(subject.folder, kind, subject.images, rows, context)
