"""What a configuration trains: data, method, encoder and backbone, built here, and their cost.

arm = assemble(cfg, distributed.start("cpu"))
arm.learner()                            # before its first step
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.config.checks import check_group, never_ends
from bench.config.groups import build
from bench.config.needs import missing
from bench.config.parts import part_configs
from bench.config.schema import Config
from bench.core.data.base import DataSet, read_by_encoder
from bench.core.data.mixed import Mixed
from bench.core.model.backbone import SiT
from bench.core.model.conditions import Condition
from bench.core.model.encoder import Encoder
from bench.core.model.graphs import check_device
from bench.core.model.method import Context, Method, described_heads
from bench.core.model.ports import Ported, shared_parameters
from bench.core.model.streams import generator
from bench.core.model.tokens import TokenGrid
from bench.core.store import checkpoints
from bench.core.store.files import Json
from bench.core.train.cost import Cost, count, of_mixed
from bench.core.train.distributed import Processes
from bench.core.train.feature_cache import patch_tokens
from bench.core.train.learner import Learner
from bench.core.train.loading import micro_rows
from bench.core.train.parts import TrainedPart
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
    def of(
        cls,
        cfg: Config,
        processes: Processes,
        fits: Fits | None = None,
        data: DataSet | None = None,
    ) -> AssembledArm:
        """Build everything that can fail for the user's reasons. Raises ValueError.

        fits: asked once the data are known, and before anything is built of the size asked for;
        data: those that are built already.
        """
        # data, and what tracking and measuring will need of them
        data = build(cfg.data, cache=Path(cfg.cache)) if data is None else data
        assert data is not None
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

        clean: tuple[int, ...] = ()
        if encoder is not None:
            clean = tuple(read_by_encoder(data, encoder.hears, "train", slice(0, 1)).shape[1:])
        cost = count(method, data.grid, cfg.size, data.condition, encoder, clean)
        return cls(cfg, processes, data, method, blocks, encoder, cost)

    @property
    def arms(self) -> dict[str, AssembledArm]:
        """The arm of each part of the data: of one kind itself."""
        return {"": self}

    def backbone(self, part: str = "") -> SiT:
        """A backbone with this run's initial weights; part: of the data, of whose numbers its own
        are.
        """
        backbone = SiT(self.data.grid, self.cfg.size, self.data.condition)
        return backbone.initialise(generator(self.cfg.seed, f"init {part}".rstrip(), 0))

    def part(self) -> TrainedPart:
        """What the steps on these data are made of."""
        cached = None
        keeps = "attention" not in self.method.needs  # maps are not kept
        if self.encoder is not None and keeps and self.cfg.compute.cache_features:
            main, cache = self.processes.main, Path(self.cfg.cache)
            cached = patch_tokens(self.encoder, self.data, "train", cache, progress=main)
        return TrainedPart(self.data, self.method, self.encoder, cached, self.cfg.time)

    def learner(self) -> Learner:
        """What will be trained, before its first step."""
        return Learner(self.cfg, {"": self.part()}, self.backbone(), self.processes)

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
        return _disk_bytes(self.cfg, self.cost)


@dataclass
class MixedArm:
    """An arm on data of several kinds: what each part is given, by name, and one backbone for all.

    data: the parts together, of which each arm has its own.
    """

    cfg: Config
    processes: Processes
    data: Mixed
    arms: dict[str, AssembledArm]

    @classmethod
    def of(
        cls, cfg: Config, processes: Processes, data: Mixed, fits: Fits | None = None
    ) -> MixedArm:
        """Build what each part needs. Raises ValueError, with the part."""
        if processes.world > 1:
            raise ValueError(
                f"data={cfg.data.name} is trained in one process, and {processes.world} were "
                "started: leave torchrun out, or train each part by itself"
            )
        arms: dict[str, AssembledArm] = {}
        for name, own in part_configs(cfg).items():
            share = max(cfg.batch, round(data.share[name] * cfg.images / cfg.batch) * cfg.batch)

            def of_share(
                own: Config, grid: TokenGrid, told: Condition, here: Processes, share: int = share
            ) -> None:
                if fits:
                    fits(replace(own, images=share), grid, told, here)

            try:
                arms[name] = AssembledArm.of(own, processes, of_share, data.parts[name])
            except ValueError as error:
                raise ValueError(f"data={cfg.data.name}, {name}: {error}") from error
        return cls(cfg, processes, data, arms)

    @property
    def first(self) -> AssembledArm:
        return next(iter(self.arms.values()))

    @property
    def blocks(self) -> dict[str, int]:
        """That the method reads, by role, the same in every part."""
        return self.first.blocks

    @property
    def cost(self) -> Cost:
        """Of an image of any part, by their shares."""
        return cost_of_parts(self.cfg, {name: arm.cost for name, arm in self.arms.items()})

    def backbone(self) -> Ported:
        """One for all parts with this run's initial weights: those of the first as if alone."""
        first = next(iter(self.arms))
        return Ported(
            {name: arm.backbone("" if name == first else name) for name, arm in self.arms.items()}
        )

    def learner(self) -> Learner:
        """What will be trained, before its first step."""
        parts = {
            name: replace(arm.part(), share=self.data.share[name], weight=self.data.weights[name])
            for name, arm in self.arms.items()
        }
        return Learner(self.cfg, parts, self.backbone(), self.processes)

    def aligned(self) -> Json | None:
        """What the encoder of each part is, by part."""
        found = {name: arm.aligned() for name, arm in self.arms.items()}
        return found if any(found.values()) else None

    def heads(self) -> str:
        """The method's heads in words."""
        return _all(arm.heads() for arm in self.arms.values())

    def fingerprints(self) -> dict[str, str]:
        """Hashes of what a resumed run must find unchanged."""
        of_parts = [arm.fingerprints() for arm in self.arms.values()]
        together: dict[str, str] = {}
        for what in dict.fromkeys(key for one in of_parts for key in one):
            whole = " ".join(one.get(what, "") for one in of_parts)
            together[what] = hashlib.sha256(whole.encode()).hexdigest()[:16]
        return together

    def disk_bytes(self) -> dict[str, int]:
        """As `AssembledArm.disk_bytes`."""
        return _disk_bytes(self.cfg, self.cost)


def assemble(
    cfg: Config, processes: Processes, fits: Fits | None = None
) -> AssembledArm | MixedArm:
    """Build everything of a run that can fail for the user's reasons. Raises ValueError."""
    if cfg.compute.graphs:
        check_device("compute.graphs", processes.device)
    data = build(cfg.data, cache=Path(cfg.cache))
    if isinstance(data, Mixed):
        return MixedArm.of(cfg, processes, data, fits)
    return AssembledArm.of(cfg, processes, fits, data)


def cost_of_parts(cfg: Config, costs: Mapping[str, Cost]) -> Cost:
    """The cost of an image from that of each part's; of data of one kind its own."""
    if not cfg.data.parts:
        (cost,) = costs.values()
        return cost
    said = cfg.data.values["share"] or dict.fromkeys(costs, 1.0)
    share = {name: said[name] / sum(said.values()) for name in costs}
    return of_mixed(costs, share, shared_parameters(cfg.size))


def _all(words: Iterable[str]) -> str:
    return "; ".join(filter(None, dict.fromkeys(words)))


def _disk_bytes(cfg: Config, cost: Cost) -> dict[str, int]:
    backbone = cost.parameters["backbone"] + cost.parameters.get("ports", 0)
    heads = cost.parameters["heads"]
    trial = is_large_trial(cfg, cfg.size) and not cfg.checkpoint_images
    kept = 1 if trial else checkpoints.KEPT + 1
    counts = snapshots_of(cfg, cfg.size)
    checkpoint = 4 * (3 * (backbone + heads) + backbone)  # weights, two moments, the EMA
    return {
        "checkpoints": kept * checkpoint,
        "snapshots": 4 * backbone * len(counts),
    }
