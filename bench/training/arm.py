"""What a configuration trains: data, method, encoder and backbone, built here, and their cost.

arm = AssembledArm.of(cfg, distributed.start("cpu"))
arm.learner()                            # before its first step
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.config.checks import check_group, never_ends
from bench.config.groups import build
from bench.config.needs import missing
from bench.config.schema import Config
from bench.core.data.base import DataSet
from bench.core.model.backbone import SiT
from bench.core.model.conditions import Condition
from bench.core.model.encoder import Encoder
from bench.core.model.method import Context, Method, described_heads
from bench.core.model.streams import generator
from bench.core.model.tokens import TokenGrid
from bench.core.store import checkpoints
from bench.core.train.cost import Cost, count
from bench.core.train.distributed import Processes
from bench.core.train.feature_cache import patch_tokens
from bench.core.train.learner import Learner
from bench.core.train.loading import micro_rows
from bench.core.train.trainer import is_large_trial, snapshots_of

Fits = Callable[[Config, TokenGrid, Condition, Processes], None]
"""Raises ValueError where a run of this configuration cannot be done here."""


@dataclass
class AssembledArm:
    """The parts of one run; blocks: that the method reads, by role; encoder: the frozen one."""

    cfg: Config
    processes: Processes
    data: DataSet
    method: Method
    blocks: dict[str, int]
    encoder: Encoder | None
    cost: Cost

    @classmethod
    def of(cls, cfg: Config, processes: Processes, fits: Fits | None = None) -> AssembledArm:
        """Build everything that can fail for the user's reasons. Raises ValueError.

        fits: asked once the data are known, and before anything is built of the size asked for.
        """
        # data, and what tracking and measuring will need of them
        data = build(cfg.data, cache=Path(cfg.cache))
        if fits:
            fits(cfg, data.grid, data.condition, processes)
        for problem in missing(cfg, data):
            raise ValueError(problem)

        # method
        method = build(cfg.method)
        blocks = method.blocks(cfg.size)
        for piece in micro_rows(processes.rows(cfg.batch), cfg.micro_batch):
            check_group(method, piece.stop - piece.start)
        if processes.main and (problem := never_ends(method, cfg)):
            warnings.warn(problem, stacklevel=2)

        # encoder: one process at a time trains or downloads, the others find it in the cache
        encoder = None
        if cfg.encoder:
            for turn in (True, False):
                if processes.main is turn:
                    parts = {
                        "token_grid": data.grid.seen,
                        "dataset": data,
                        "cache": Path(cfg.cache),
                    }
                    encoder = build(cfg.encoder, **parts).to(processes.device)
                processes.barrier()

        clean = () if encoder is None else tuple(data.images("train", slice(0, 1)).shape[1:])
        cost = count(method, data.grid, cfg.size, data.condition, encoder, clean)
        return cls(cfg, processes, data, method, blocks, encoder, cost)

    def backbone(self) -> SiT:
        """A backbone with this run's initial weights."""
        backbone = SiT(self.data.grid, self.cfg.size, self.data.condition)
        return backbone.initialise(generator(self.cfg.seed, "init", 0))

    def learner(self) -> Learner:
        """What will be trained, before its first step."""
        cached, parts = None, (self.data, self.method, self.backbone(), self.encoder)
        keeps = "attention" not in self.method.needs  # maps are not kept
        if self.encoder is not None and keeps and self.cfg.compute.cache_features:
            main, cache = self.processes.main, Path(self.cfg.cache)
            cached = patch_tokens(self.encoder, self.data, "train", cache, progress=main)
        return Learner(self.cfg, *parts, self.processes, cached)

    def aligned(self) -> dict[str, str] | None:
        """What the arm's encoder is, for marking related metrics."""
        if self.encoder is None:
            return None
        return {key: getattr(self.encoder, key) for key in ("family", "trained_on", "labels")}

    def heads(self) -> str:
        """The method's heads in words."""
        context = Context(self.data.grid, self.cfg.size, encoder=self.encoder)
        return described_heads(self.method, context)

    def fingerprints(self) -> dict[str, str]:
        """Hashes of what a resumed run must find unchanged: its data and its encoder."""
        encoder = {} if self.encoder is None else {"encoder": self.encoder.fingerprint}
        return self.data.fingerprints() | encoder

    def disk_bytes(self) -> dict[str, int]:
        """Bytes that checkpoints (the last two and one being written; of a trial of a large model
        the one that a stop leaves) and snapshots will take.
        """
        backbone, heads = self.cost.parameters["backbone"], self.cost.parameters["heads"]
        trial = is_large_trial(self.cfg, self.cfg.size) and not self.cfg.checkpoint_images
        kept = 1 if trial else checkpoints.KEPT + 1
        counts = snapshots_of(self.cfg, self.cfg.size)
        checkpoint = 4 * (3 * (backbone + heads) + backbone)  # weights, two moments, the EMA
        return {
            "checkpoints": kept * checkpoint,
            "snapshots": 4 * backbone * len(counts),
        }
