"""What is to be measured and how: asked by a run's configuration or by the words of bench.evaluate.

    request = Request.of_config(cfg)                      # evaluation.metrics=[fd_local, fid]
    request = Request.of_words({"metrics": ("fid",), "reference": "train", ...})
    request.of("fid")     # {"metrics": "fid", "samples": 50000, ...}: what its rows keep

A row's request is data whose keys are those of bench.evaluate: who wants that number of another
model asks for it with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.config.checks import check_metrics
from bench.config.schema import Config, Evaluation
from bench.core.metrics import MetricEntry, find_entry, metric_entries, of_reference
from bench.core.model.sampling_protocol import CHANGEABLE, Protocol, sampling_protocol
from bench.core.model.tokens import TokenGrid
from probes.metric import PICTURES, REFERENCE, TOKENS, metric_class

Plain = str | int | float
GUIDING = ("guidance_low", "guidance_high", "guided_channels")
OF_RUN, OF_FILE = ("images", "ema", "part"), ("format", "size", "data", "out", "aligned")


@dataclass(frozen=True, kw_only=True)
class Request:
    """metrics: names of bench/conf/metrics.yaml; sampling: protocol, samples, seed and changes of
    the protocol, as they are said; reference: a file, a folder, or train; settings: what is said to
    single metrics; encoder: values of the one encoder that the metrics read; keeps_pictures: the
    .npz of samples is wanted for its own sake; part: of data of several kinds.
    """

    metrics: tuple[str, ...]
    sampling: Mapping[str, Plain]
    reference: str = ""
    settings: Mapping[str, Plain] = field(default_factory=dict)
    encoder: Mapping[str, str] = field(default_factory=dict)
    keeps_pictures: bool = False
    part: str = ""

    @classmethod
    def of_config(cls, cfg: Config, part: str = "") -> Request:
        """What a run's `evaluation` asks for; part: whose configuration this is."""
        asked = cfg.evaluation
        own = cfg.encoder.name if cfg.encoder else ""
        sampling = {"protocol": asked.protocol, "samples": asked.samples, "seed": asked.seed}
        if asked.guidance != 1:
            sampling["guidance"] = float(asked.guidance)
        if asked.shift != 1:
            sampling["shift"] = float(asked.shift)
        if asked.labels != "random":
            sampling["labels"] = asked.labels
        usual = asked.probe_images == Evaluation.probe_images
        most = {} if usual else {"probe_images": asked.probe_images}
        return cls(
            metrics=tuple(_of_encoders(asked.metrics, own, asked.encoders)),
            sampling=sampling,
            reference=asked.reference,
            settings={**most, **asked.settings},
            part=part,
        )

    @classmethod
    def of_words(cls, words: Mapping[str, Any], encoder: Mapping[str, str]) -> Request:
        """What the words of bench.evaluate ask for; None: not said; encoder: its encoder.KEY words.

        Raises ValueError for what does not go together.
        """
        said = {key: value for key, value in words.items() if value is not None}
        metrics = said.get("metrics") or (of_reference() if "reference" in said else ())
        changes = {key: said[key] for key in CHANGEABLE if key in said}
        check_metrics("metrics", metrics)
        _check_words(metrics, said, changes, encoder)
        sampling = {"protocol": "sde250", "samples": 50_000, "seed": 0}
        sampling |= {key: said[key] for key in sampling if key in said} | changes
        takes = {word for entry in metric_entries().values() for word in entry.settings}
        return cls(
            metrics=tuple(metrics),
            sampling=sampling,
            reference=said.get("reference", ""),
            settings={key: said[key] for key in takes if key in said},
            encoder=encoder,
            keeps_pictures="samples" in said or not metrics,
            part=said.get("part", ""),
        )

    def protocol(self, grid: TokenGrid) -> Protocol:
        """The sampling protocol with the changes that were asked for; grid: of the data."""
        changes = {key: value for key, value in self.sampling.items() if key in CHANGEABLE}
        if "guided_channels" in changes:
            if not 1 <= int(changes["guided_channels"]) <= grid.channels:
                raise ValueError(
                    f"guided_channels={changes['guided_channels']}: "
                    f"the data has {grid.channels} channel(s)"
                )
            # the protocol counts numbers of a token, which are in (c, p1, p2) order
            per_channel = grid.token_dim // grid.channels
            changes["guided_channels"] = int(changes["guided_channels"]) * per_channel
        return sampling_protocol(str(self.sampling["protocol"]), **changes)

    @property
    def samples(self) -> int:
        return int(self.sampling["samples"])

    @property
    def seed(self) -> int:
        return int(self.sampling["seed"])

    def parts(self, metrics: Iterable[str]) -> set[str]:
        """Which parts of samples these metrics need: tokens, pictures, both or neither."""
        return {part for name in metrics for part in metric_class(name).needs} & {TOKENS, PICTURES}

    def settings_of(self, metric: str) -> dict[str, Plain]:
        """What is said to one metric."""
        return {
            key: self.settings[key] for key in entry_of(metric).settings if key in self.settings
        }

    def of(self, metric: str) -> dict[str, Plain]:
        """What would have to be asked to get one metric's rows again."""
        asked: dict[str, Plain] = {"metrics": metric}
        if self.parts([metric]):
            asked |= self.sampling
        if REFERENCE in metric_class(metric).needs:
            asked["reference"] = self.reference
        asked |= self.settings_of(metric)
        if self.part:
            asked["part"] = self.part
        if reads_encoder(entry_of(metric)):
            asked |= {f"encoder.{key}": value for key, value in self.encoder.items()}
        return asked


def entry_of(metric: str) -> MetricEntry:
    """The table's entry of a metric that has been checked."""
    entry = find_entry(metric)
    assert entry is not None, metric
    return entry


def reads_encoder(entry: MetricEntry) -> bool:
    """Whether a metric reads an encoder of the registry, which encoder.KEY=VALUE changes."""
    return entry.network.get("encoder") == "*"


def _of_encoders(names: Iterable[str], own: str, listed: Iterable[str]) -> Iterable[str]:
    """Names of metrics, a family without its encoder standing for those of the run: its own, and
    of an arm without one (or always, where the table says so) the listed ones.
    """
    for name in names:
        family = metric_entries().get(f"{name}_*")
        if find_entry(name) is not None or family is None:
            yield name
            continue
        others = [other for other in listed if other != own]
        if own:
            yield f"{name}_{own}"
        if not own or family.network.get("of_run") == "all":
            yield from (f"{name}_{other}" for other in others)


def check_subject_words(words: Mapping[str, Any]) -> None:
    """Raise ValueError unless the words of bench.evaluate name one model, a run's or a file's."""
    said = {key: value for key, value in words.items() if value is not None}
    if ("run" in said) == ("checkpoint" in said):
        raise ValueError(
            "say what to evaluate: "
            "run=DIR, or checkpoint=FILE format=... size=... data=... (one of the two)"
        )
    named = "run" if "run" in said else "checkpoint"
    for key in OF_FILE if named == "run" else OF_RUN:
        if key in said:
            raise ValueError(f"{key}={said[key]} does not go with {named}=... (see --help)")
    missing = [key for key in OF_FILE[:3] if key not in said]
    if named == "checkpoint" and missing:
        raise ValueError(
            f"checkpoint={said['checkpoint']} needs "
            f"{', '.join(f'{key}=...' for key in missing)} as well"
        )


def _check_words(
    metrics: Iterable[str],
    said: Mapping[str, Any],
    changes: Mapping[str, Any],
    encoder: Mapping[str, str],
) -> None:
    """Raise ValueError for words of bench.evaluate that say nothing without others."""

    def needed_by(keys: Iterable[str], needed: str) -> None:
        for key in keys:
            if key in said:
                raise ValueError(f"{key}={said[key]} needs {needed} or is left out")

    # how it is sampled
    if changes.get("guidance", 1.0) < 1:
        raise ValueError(
            f"guidance={changes['guidance']} guides nothing: above 1 it does, 1 is none"
        )
    if not changes.get("guidance", 1.0) > 1:
        for key in GUIDING:
            if key in changes:
                raise ValueError(
                    f"{key}={changes[key]} says nothing without guidance above 1: "
                    "guidance=W, or leave it out"
                )

    # what samples are compared with
    names, table = list(metrics), metric_entries()
    comparing = [name for name in names if REFERENCE in metric_class(name).needs]
    if comparing and "reference" not in said:
        raise ValueError(
            f"metrics={comparing[0]} needs reference=FILE.npz|FOLDER|train to compare with"
        )
    if comparing and said["reference"] != "train" and not Path(said["reference"]).exists():
        raise ValueError(
            f"reference={said['reference']} does not exist: "
            "python -m bench.prepare reference=imagenet256 fetches one"
        )
    if names and not comparing:
        could = [n.replace("*", "<encoder>") for n in table if REFERENCE in metric_class(n).needs]
        needed_by(["reference"], f"a metric of samples, metrics={' or '.join(could)},")
    of_samples = any({TOKENS, PICTURES} & set(metric_class(name).needs) for name in names)
    if names and not of_samples and "samples" not in said:
        needed_by(("protocol", "seed", *CHANGEABLE), "samples=N: these metrics sample nothing, so")

    # what single metrics are told
    for word in {word for entry in table.values() for word in entry.settings}:
        if not any(word in entry_of(name).settings for name in names):
            takers = [name for name, entry in table.items() if word in entry.settings]
            shown = " or ".join(name.replace("*", "<encoder>") for name in takers)
            needed_by([word], f"metrics={shown if names else '...'}")
    readers = [name for name in names if reads_encoder(entry_of(name))]
    if encoder and len(readers) != 1:
        key, value = next(iter(encoder.items()))
        could = [n.replace("*", "<encoder>") for n, entry in table.items() if reads_encoder(entry)]
        needed = f"one encoder, metrics={' or '.join(could)}, and no second one:"
        raise ValueError(
            f"encoder.{key}={value} needs {needed if names else 'metrics=...'} or is left out"
        )
