"""The studies that there are: arms x sizes x seeds on one data set, and the claims that they are
for, each a file of bench/conf/study. What such a file may hold is described at the head of
bench/study/file.py.

    study = load("scaling", "cifar10")
    study.arms, study.sizes, study.seeds
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.config.groups import CONF
from bench.config.schema import nearest
from bench.study import file as study_file
from bench.study.arms import Sizes, arms_of, matches_of, words_of_sizes

FOLDER = CONF / "study"


@dataclass(frozen=True)
class Study:
    """A study on one data set. arms: name -> overrides; sizes: () is the recipe's; of_sizes: size
    -> further overrides; seeds: of every size, the most where `seeds_by_size` says it of each;
    match: of "images" and "flops", what arms are given alike; flops_per_second: that a worker is
    taken to do while no run has finished.
    """

    name: str
    data: str
    description: str
    claims: tuple[str, ...]
    lasts: str
    overrides: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]
    sizes: tuple[str, ...]
    seeds: int
    of_sizes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seeds_by_size: dict[str, int] = field(default_factory=dict)
    match: tuple[str, ...] = ("images",)
    flops_per_second: float | None = None

    def chosen_sizes(self, size: str | None) -> tuple[str | None, ...]:
        """The sizes to run, or the one that was asked for; None: the recipe's.

        Raises ValueError for one of which the file says neither words nor seeds where it says them
        of others.
        """
        if size is None:
            return self.sizes or (None,)
        if (self.of_sizes or self.seeds_by_size) and size not in self.sizes:
            raise ValueError(
                f"size={size}: study={self.name} says words or seeds by size, and of {size} "
                f"nothing: choose one of {', '.join(self.sizes)}, or add it to the study's file"
            )
        return (size,)

    def chosen_seeds(self, size: str | None, seeds: str | None) -> Sequence[int]:
        """The seeds of a size, from 0 on, or those that were asked for."""
        if seeds is not None:
            return asked_seeds(seeds)
        return range(self.seeds_by_size.get(size or "", self.seeds))


def asked_seeds(text: str) -> tuple[int, ...]:
    """Seeds as they are written, "6" or "6,7", each once. Raises ValueError for what is none."""
    parts = [part.strip() for part in text.strip("[]").split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"seed={text}: write whole numbers from 0 on, seed=6 or seed=6,7")
    return tuple(dict.fromkeys(map(int, parts)))


def names() -> list[str]:
    """The studies that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def scales(name: str) -> list[str]:
    """The data sets that a study is for, as its file has them in order.

    Raises ValueError for an unknown study.
    """
    return list(study_file.read(_file(name))["data"])


def _file(name: str) -> Path:
    if name not in names():
        raise ValueError(
            f"study={name} is unknown{nearest(name, names())} (choices: {', '.join(names())})"
        )
    return FOLDER / f"{name}.yaml"


def load(name: str, data: str = "digits") -> Study:
    """Read a study file.

    Raises ValueError for an unknown study or data set, and for a file that is no study.
    """
    content = study_file.read(_file(name))
    if data not in content["data"]:
        raise ValueError(
            f"data={data}: study={name} has no such scale (choices: {', '.join(content['data'])})"
        )
    here = content["data"][data]
    sizes: Sizes = here.get("sizes", [])
    seeds: int | dict[str, int] = here["seeds"]
    return Study(
        name=name,
        data=data,
        description=content["description"],
        claims=tuple(content["claims"]),
        lasts=here.get("lasts", ""),
        overrides=tuple(here.get("overrides", ())),
        arms=arms_of(content, here),
        sizes=tuple(sizes),
        seeds=seeds if isinstance(seeds, int) else max(seeds.values()),
        of_sizes={size: tuple(own) for size, own in words_of_sizes(sizes).items()},
        match=matches_of(content, here),
        seeds_by_size={} if isinstance(seeds, int) else seeds,
        flops_per_second=here.get("flops_per_second"),
    )
