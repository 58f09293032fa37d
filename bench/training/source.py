"""The weights that a run begins from where another one is told to it, `init=runs/<run>`.

    source = InitialWeights.of(cfg)     # ValueError where they are gone
    source.check(arm)                   # ValueError where they are of another layout
    source.load(arm.learner())          # "begins from ...", where there is nothing to resume

Backbone and average are both the other run's average, strictly; heads are its own where the method
is the same and their shapes are. Optimiser, images seen and every stream begin as in any run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.config.beginning import files_of, trains_alike
from bench.config.schema import Config
from bench.core.model.ports import PORTS, state_of_part
from bench.core.store.checkpoints import read_checkpoint, read_tensors
from bench.core.store.files import Json
from bench.core.store.runs import RunRecord, read_run
from bench.core.train import sharding
from bench.core.train.learner import Learner
from bench.training.arm import AssembledArm, MixedArm

TOLD = "y_embedder."
PLACES = 1e-3  # by which the embeddings of places may differ: another machine's sines

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class InitialWeights:
    """cfg: of the run that begins; run: the one that it begins from; heads: the checkpoint that
    has them, None where they begin anew.
    """

    cfg: Config
    run: RunRecord
    snapshot: Path
    heads: Path | None

    @classmethod
    def of(cls, cfg: Config) -> InitialWeights:
        """Raises ValueError or OSError where the weights of `init_weights` are gone."""
        folder = Path(cfg.init or "")
        snapshot, heads = files_of(folder, cfg.init_weights or "")
        return cls(cfg, read_run(folder), snapshot, heads)

    @property
    def images(self) -> int:
        """Training images that the weights have seen, of their own run."""
        return int(self.snapshot.stem)

    def described(self) -> Json:
        """What run.json says of it."""
        return {"run": self.run.folder.name, "arm": self.run.arm, "images": self.images}

    def check(self, arm: AssembledArm | MixedArm) -> None:
        """Raise ValueError, one sentence, where the snapshot is damaged or not of the layout of an
        arm.
        """
        theirs, own = read_tensors(self.snapshot), arm.backbone().state_dict()
        if found := list(self._differences(theirs, own)):
            raise ValueError(
                f"init={self.cfg.init} is of another layout: {'; '.join(found)}: begin from a run "
                "that has these alike, or leave init= out"
            )

    def _differences(self, theirs: State, own: State) -> Iterator[str]:
        """In what the other run's backbone differs from this one's, in words."""
        stored, size = self.run.configuration.get("size", {}), self.cfg.size
        sizes = [
            f"size.{key} is {stored.get(key)} there (size={self.run.size}) and {here} here"
            for key in ("depth", "width", "heads")
            if stored.get(key) != (here := getattr(size, key))
        ]
        parts = _parts(theirs), _parts(own)
        if sizes:
            yield from sizes
        elif parts[0] != parts[1]:
            there, here = (", ".join(names) if any(names) else "of one kind" for names in parts)
            yield f"its data are {there} and here {here}"
        else:
            for part in parts[0]:
                yield from _of_data(state_of_part(theirs, part), state_of_part(own, part), part)

    def load(self, learner: Learner) -> str:
        """Give a learner the weights before its first step; returns what they are, in words."""
        state = read_tensors(self.snapshot)
        for module in (learner.backbone, learner.ema):
            sharding.load_module(module, state)
        of = f"begins from {self.run.id}, its average after {self.images} images"
        if not learner.heads.state_dict():
            return of
        if self.heads is None:
            why = f"has no checkpoint after {self.images} images any more"
            if not trains_alike(self.run, self.cfg):
                why = "trained another method, or with another encoder"
            return f"{of}; heads begin anew: that run {why}"
        heads = read_checkpoint(self.heads)["heads"]
        if _shapes_of(heads) != _shapes_of(learner.heads.state_dict()):
            return f"{of}; heads begin anew: those of that run have other shapes"
        sharding.load_module(learner.heads, heads)
        return f"{of}, and from its heads"


def _parts(state: State) -> list[str]:
    """The parts of the data that a backbone has layers of, "" where they are of one kind."""
    names = {key.split(".")[1] for key in state if key.startswith(PORTS)}
    return sorted(names) or [""]


def _shapes_of(state: State) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _of_data(theirs: State, own: State, part: str) -> Iterator[str]:
    """In what two backbones of one size differ: tokens, and what they are told."""
    of = f" of {part}" if part else ""
    numbers = [state["x_embedder.proj.weight"].shape[1] for state in (theirs, own)]
    places = theirs["pos_embed"], own["pos_embed"]
    if numbers[0] != numbers[1]:
        yield f"a token{of} has {numbers[0]} numbers there and {numbers[1]} here"
    if (there := places[0].shape[-2]) != (here := places[1].shape[-2]):
        yield f"there are {there} tokens{of} there and {here} here"
    elif not torch.allclose(places[0], places[1], atol=PLACES):  # 16 tokens are 2 x 8 or 4 x 4
        yield f"the {here} tokens{of} have other places there"
    shapes = _shapes_of(theirs), _shapes_of(own)
    told = [
        f"{name.removeprefix(TOLD)} {_written(shapes[0], name)} there and "
        f"{_written(shapes[1], name)} here"
        for name in {**shapes[0], **shapes[1]}
        if name.startswith(TOLD) and shapes[0].get(name) != shapes[1].get(name)
    ]
    if told:
        yield f"what its model is told{of} is of another form ({', '.join(told)})"


def _written(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    """The shape of a tensor, "11x64"."""
    return "x".join(map(str, shapes[name])) if name in shapes else "none"
