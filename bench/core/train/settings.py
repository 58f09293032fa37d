"""What one training is told: optimiser, EMA, times, snapshots, machine, each with its range.

    settings.optimizer.lr, settings.time.kind, settings.compute.threads

What the settings mean is said in bench/conf/config.yaml and bench/conf/compute; a range is written
as an interval, "(0, 1]" leaves 0 out and takes 1 in, and null is allowed where the type has None.
Nothing here imports PyTorch: a help page reads these classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def within(default: Any, interval: str) -> Any:
    """A field whose value lies in an interval."""
    return field(default=default, metadata={"range": interval})


def one_of(*choices: str) -> Any:
    """A field with one of these values, by default the first."""
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True)
class Time:
    """p(t), see `bench.core.model.noise.TimeDistribution`."""

    kind: str = one_of("uniform", "logit_normal", "plateau_logit_normal")
    mean: float = within(0.0, "(-inf, inf)")
    std: float = within(1.0, "(0, inf)")
    shift: float = within(1.0, "(0, inf)")
    low_snr: float | None = within(None, "[0, 1]")


@dataclass(frozen=True)
class Optimizer:
    """AdamW, its learning rate over the run, and the largest gradient norm.

    warmup_share: of the run's steps, in place of warmup_steps where it is not None.
    """

    lr: float = within(1e-4, "(0, inf)")
    beta1: float = within(0.9, "[0, 1)")
    beta2: float = within(0.999, "[0, 1)")
    eps: float = within(1e-8, "(0, inf)")
    weight_decay: float = within(0.0, "[0, inf)")
    clip: float = within(1.0, "(0, inf)")
    warmup_steps: int = within(0, "[0, inf)")
    warmup_share: float | None = within(None, "[0, 1)")
    schedule: str = one_of("constant", "cosine")

    @property
    def has_length(self) -> bool:
        """Whether the learning rate of a step depends on how many there will be: a run of another
        length is then another run, and else the same one sooner.
        """
        return self.schedule != "constant" or bool(self.warmup_share)

    def warmup(self, steps: int) -> int:
        """Steps of the linear warm-up of a run of so many."""
        return self.warmup_steps if self.warmup_share is None else round(self.warmup_share * steps)


@dataclass(frozen=True)
class Ema:
    """The decay of the one EMA; warmup: min(decay, (1 + n) / (10 + n)) after n steps."""

    decay: float = within(0.9999, "[0, 1)")
    warmup: bool = False


@dataclass(frozen=True)
class Compute:
    """Where a process trains and how it uses the machine; changes no number but the last digits."""

    name: str = "local"
    device: str = "auto"
    threads: int | None = within(None, "[1, 1024]")
    shard: bool = False
    compile: bool = False
    graphs: bool = False
    recompute: bool = False
    data_workers: int = within(2, "[0, inf)")
    cache_features: bool = False
    progress: bool = True


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the trainer reads; counts are in images, `batch` is of all processes."""

    seed: int = within(0, "[0, inf)")
    images: int = 0
    batch: int = 0
    micro_batch: int | None = within(None, "[1, inf)")
    label_drop: float = within(0.1, "[0, 1]")
    precision: str = one_of("auto", "float32", "bf16")
    deterministic: bool = False
    time: Time = field(default_factory=Time)
    optimizer: Optimizer = field(default_factory=Optimizer)
    ema: Ema = field(default_factory=Ema)
    snapshots: int = within(8, "[0, inf)")
    checkpoint_images: int | None = None
    checkpoint_minutes: float = within(15.0, "(0, inf)")
    log_images: int = 0
    diagnostics_images: int | None = None
    compute: Compute = field(default_factory=Compute)
