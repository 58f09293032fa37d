"""What the runs of a study cost: as runs that have begun wrote it down, else counted; and how many
images an arm sees for the FLOPs that vanilla flow matching spends (`match: flops` of a study file).

    costs = Costs()
    costs.read(cfg, folder)                # a run of any seed, if it has begun
    costs.images_at_equal_flops(cfg)       # None while its encoder is not at hand
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.config.groups import build
from bench.config.parts import part_configs
from bench.config.recipes import shape_of
from bench.config.schema import Config, Option
from bench.core.data.mixed import sizes_of
from bench.core.model.conditions import Condition
from bench.core.model.method import Method
from bench.core.model.tokens import TokenGrid
from bench.core.store.files import Json
from bench.core.store.runs import COST, read_part
from bench.core.train.cost import Cost, count, flops_until, images_of, says_all
from bench.core.train.distributed import Processes
from bench.training.arm import assemble, cost_of_parts


@dataclass(frozen=True)
class ArmCost:
    """counted: a `bench.core.train.cost.Cost` as stored; at_least: of the backbone alone, since the
    encoder, and so the head, is not at hand.
    """

    counted: Json
    at_least: bool = False


class Costs:
    """Costs of arms at a size, each counted once.

    build_encoders: what a run would do at its start, training or fetching an encoder, may be done
    to count it. Otherwise an arm with one is planned as vanilla until its first run has begun.
    """

    def __init__(self, build_encoders: bool = False):
        self.build_encoders = build_encoders
        self._known: dict[str, ArmCost | None] = {}
        self._vanilla: dict[str, Json | None] = {}
        self._pictures: dict[str, Mapping[str, int]] = {}

    def read(self, cfg: Config, folder: Path) -> None:
        """Take over what a run of this arm and size has written down."""
        if says_all(stored := read_part(folder, COST)):
            self._known[_key(cfg)] = ArmCost(stored)

    def of(self, cfg: Config) -> ArmCost | None:
        """None where the data set is not here and its recipe does not tell its shape.

        Raises ValueError where an encoder that is to be built cannot be.
        """
        key = _key(cfg)
        if key not in self._known:
            self._known[key] = self._counted(cfg)
        return self._known[key]

    def pictures(self, cfg: Config) -> Mapping[str, int]:
        """{split: pictures} of the data set, {} where it is not at hand."""
        key = _key(cfg, ("data",))
        if key not in self._pictures:
            self._pictures[key] = {}
            with contextlib.suppress(ValueError, OSError):
                self._pictures[key] = sizes_of(build(cfg.data, cache=Path(cfg.cache)))
        return self._pictures[key]

    def images_at_equal_flops(self, cfg: Config) -> int | None:
        """Images, whole steps, that cost this arm what cfg.images cost vanilla flow matching; None
        where its encoder is not at hand.

        The encoder's own training by the harness counts, as in the FLOPs of result rows. Raises
        ValueError where they cannot be counted, or where that training alone costs as much.
        """
        vanilla, own = self._of_vanilla(cfg), self.of(cfg)
        if vanilla is None or own is None:
            raise ValueError(
                f"match: flops counts FLOPs, and the shape of data={cfg.data.name} is not known "
                "here: say where it is, data.root=DIR"
            )
        if own.at_least:
            return None
        flops = flops_until(vanilla, cfg.images) - (own.counted["encoder_training_flops"] or 0)
        if flops <= 0:
            raise ValueError(
                f"match: flops: {cfg.images} images of vanilla cost less than the training of "
                f"encoder {cfg.encoder.name if cfg.encoder else ''}: give more images"
            )
        return max(1, round(images_of(own.counted, flops) / cfg.batch)) * cfg.batch

    def _counted(self, cfg: Config) -> ArmCost | None:
        if cfg.encoder is None:
            counted = _of_parts(cfg, lambda own: build(own.method))
            return None if counted is None else ArmCost(counted.to_json())
        if not self.build_encoders:
            vanilla = self._of_vanilla(cfg)
            return None if vanilla is None else ArmCost(vanilla, at_least=True)
        what = f"{cfg.method.name} with encoder {cfg.encoder.name} at size {cfg.size.name}"
        print(f"counting the FLOPs of {what} ...", flush=True)
        arm = assemble(cfg, Processes(0, 1, torch.device("cpu")))
        return ArmCost(arm.cost.to_json())

    def _of_vanilla(self, cfg: Config) -> Json | None:
        """The cost of the backbone trained by velocity matching and nothing else."""
        key = _key(cfg, ("size", "data"))
        if key not in self._vanilla:
            counted = _of_parts(cfg, lambda own: Method())
            self._vanilla[key] = counted and counted.to_json()
        return self._vanilla[key]


def _of_parts(cfg: Config, method: Callable[[Config], Method]) -> Cost | None:
    """Counted without an encoder; None where a part of the data has no known shape."""
    counted: dict[str, Cost] = {}
    for name, own in part_configs(cfg).items():
        known = grid_and_condition(own.data, Path(cfg.cache))
        if known is None:
            return None
        counted[name] = count(method(own), known[0], cfg.size, known[1])
    return cost_of_parts(cfg, counted)


def _key(cfg: Config, groups: Sequence[str] = ("method", "size", "encoder", "data")) -> str:
    parts = cfg.to_dict()
    return json.dumps([parts[group] for group in groups])


def grid_and_condition(option: Option, cache: Path) -> tuple[TokenGrid, Condition] | None:
    """Of the data set, or, where it is not at hand (a login node),
    of what its recipe says of it; None if neither.
    """
    try:
        data = build(option, cache=cache)
        return data.grid, data.condition
    except (ValueError, OSError):
        return shape_of(option)
