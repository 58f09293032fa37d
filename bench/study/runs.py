"""A study is a file: arms x sizes x seeds on one data set,
and the claims that it is for (bench/conf/study/*.yaml).

What such a file may hold is described at the head of bench/study/file.py.

    >>> for run in runs("demo", "digits"):
    ...     print(run.arm, run.id, run.overrides)

A run is named by what it is (`identity.run_id`), never by its study: a run that two studies share
is trained once.

    python -m bench.sweep study=demo dry_run=true
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.config.checks import never_ends
from bench.config.compose import compose
from bench.config.groups import CONF, build
from bench.config.identity import earlier_id, run_id
from bench.config.schema import Config, nearest
from bench.config.words import last_of_each, values_of
from bench.core.store.runs import is_run
from bench.study import file as study_file
from bench.study.arms import Sizes, arms_of, words_of_sizes

FOLDER = CONF / "study"


@dataclass(frozen=True)
class RunSpec:
    """One run of a study. arm: its key in the file; id: the run folder's name,
    None where `reason` says why not; earlier: the name that its words made before options were
    added whose default is another now, "" where it is another run's of the study.
    """

    arm: str
    overrides: tuple[str, ...]
    id: str | None
    reason: str = ""
    cfg: Config | None = field(default=None, repr=False, compare=False)
    earlier: str = ""

    def found_in(self, runs: Path) -> RunSpec:
        """Itself, or, where its folder is not there and the earlier one is, that run."""
        if not self.id or not self.earlier or is_run(runs / self.id):
            return self
        return dataclasses.replace(self, id=self.earlier) if is_run(runs / self.earlier) else self


@dataclass(frozen=True)
class Study:
    """A study on one data set. arms: name -> overrides; sizes: () is the recipe's; of_sizes: size
    -> further overrides; seeds: of every size, the most where `seeds_by_size` says it of each.
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

    def chosen_seeds(self, size: str | None, seed: str | None) -> range:
        """The seeds of a size, from 0 on, or the one that was asked for."""
        if seed is not None:
            return range(int(seed), int(seed) + 1)
        return range(self.seeds_by_size.get(size or "", self.seeds))


def names() -> list[str]:
    """The studies that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def scales(name: str) -> list[str]:
    """The data sets that a study is for, as its file has them in order."""
    return list(study_file.read(FOLDER / f"{name}.yaml")["data"])


def load(name: str, data: str = "digits") -> Study:
    """Read a study file.

    Raises ValueError for an unknown study or data set, and for a file that is no study.
    """
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        raise ValueError(
            f"study={name} is unknown{nearest(name, names())} (choices: {', '.join(names())})"
        )
    content = study_file.read(path)
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
        lasts=here["lasts"],
        overrides=tuple(here.get("overrides", ())),
        arms=arms_of(content, here),
        sizes=tuple(sizes),
        seeds=seeds if isinstance(seeds, int) else max(seeds.values()),
        of_sizes={size: tuple(own) for size, own in words_of_sizes(sizes).items()},
        seeds_by_size={} if isinstance(seeds, int) else seeds,
    )


def runs(name: str, data: str = "digits", extra: Iterable[str] = ()) -> list[RunSpec]:
    """All runs of a study, seeds outermost, so that every arm has one run before any has two.

    extra: `key=value` words given to every run; `size=...` and `seed=...` among them narrow the
    study to these. Raises ValueError when a word of `extra` is wrong or makes two arms one; an arm
    that cannot be run here gets a reason instead of an id.
    """
    study, extra = load(name, data), tuple(extra)
    given = values_of(extra)
    compose([f"data={data}", *(word for word in extra if not word.startswith("method"))])
    extra = tuple(word for word in extra if not word.startswith(("size=", "seed=")))
    specs = []
    for size in study.chosen_sizes(given.get("size")):
        of_size = (f"size={size}", *study.of_sizes.get(size, ())) if size else ()
        seeds = study.chosen_seeds(size, given.get("seed"))
        for arm, own in study.arms.items():
            words = (f"data={data}", *study.overrides, *own, *of_size)
            made = _possible((*words, *extra))  # composed once for all seeds
            specs += [_spec(arm, (*words, f"seed={seed}", *extra), seed, made) for seed in seeds]
    specs.sort(key=lambda spec: int(values_of(spec.overrides)["seed"]))  # else as in the file
    _check_distinct(name, specs, extra)
    ids = {spec.id for spec in specs}
    return [
        dataclasses.replace(spec, earlier="") if spec.earlier in ids else spec for spec in specs
    ]


def _check_distinct(study: str, specs: Iterable[RunSpec], extra: Iterable[str]) -> None:
    """Raise ValueError where two arms are one run, as words given to every arm can make them."""
    arms: dict[str, str] = {}
    for spec in specs:
        if spec.id and (other := arms.setdefault(spec.id, spec.arm)) != spec.arm:
            remedy = f"leave out {' '.join(extra)}, or write a study of your own"
            raise ValueError(
                f"study={study}: the arms {other} and {spec.arm} are one run, {spec.id}: "
                + (remedy if extra else "leave one of them, or make them differ")
            )


def _possible(words: tuple[str, ...]) -> Config | str:
    """The configuration of these words for any seed, as no other key depends on it,
    or why there is no such run.
    """
    try:
        cfg = compose(words)
        return never_ends(build(cfg.method), cfg) or cfg
    except ValueError as error:
        return str(error)


def _spec(arm: str, words: tuple[str, ...], seed: int, made: Config | str) -> RunSpec:
    overrides = tuple(last_of_each(words))
    if isinstance(made, str):
        return RunSpec(arm, overrides, None, made)
    cfg = dataclasses.replace(made, seed=seed)
    return RunSpec(arm, overrides, run_id(cfg), cfg=cfg, earlier=earlier_id(cfg))


def run_ids(name: str, data: str = "digits", extra: Iterable[str] = ()) -> list[str]:
    """The run folders' names of a study, for reports."""
    return [spec.id for spec in runs(name, data, extra) if spec.id]
