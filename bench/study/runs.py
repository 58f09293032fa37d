"""The runs of a study, each named by what it is (`identity.run_id`), never by its study: a run that
two studies share is trained once.

    >>> for run in runs("demo", "digits"):
    ...     print(run.arm, run.id, run.overrides)

    python -m bench.sweep study=demo dry_run=true
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.config.checks import never_ends
from bench.config.compose import compose
from bench.config.groups import build
from bench.config.identity import OF_FLOPS, earlier_id, found_id, run_id, run_name
from bench.config.parts import part_configs
from bench.config.schema import Config
from bench.config.words import last_of_each, values_of
from bench.core.store.runs import is_run
from bench.core.store.waiting import OFTEN, counted
from bench.study.costs import Costs
from bench.study.studies import Study, asked_seeds, load


@dataclass(frozen=True)
class RunSpec:
    """One run of a study. arm: its key in the file; id: the run folder's name,
    None where `reason` says why not; earlier: the name that its words made before options were
    added whose default is another now, "" where it is another run's of the study.

    matched: the comparisons that it is for, at equal "images", "flops" or both (`match` of the
    file); counted: whether its images are known, which at equal FLOPs depend on an encoder's.
    """

    arm: str
    overrides: tuple[str, ...]
    id: str | None
    reason: str = ""
    cfg: Config | None = field(default=None, repr=False, compare=False)
    earlier: str = ""
    matched: tuple[str, ...] = ("images",)
    counted: bool = True

    def found_in(self, runs: Path) -> RunSpec:
        """Itself, or, where its folder is not there and the earlier one is, that run."""
        if not self.id or self.cfg is None or is_run(runs / self.id):
            return self
        before = self.earlier if self.earlier and is_run(runs / self.earlier) else None
        return dataclasses.replace(self, id=before or found_id(self.cfg, runs))


@dataclass(frozen=True)
class _Variant:
    """An arm at a size for any seed: its configuration or why there is none, and its last words.

    of_flops: it is not the run that is compared at equal images.
    """

    made: Config | str
    matched: tuple[str, ...]
    words: tuple[str, ...] = ()
    of_flops: bool = False
    counted: bool = True

    def at(self, seed: int) -> Config | str:
        """The configuration for a seed, on which no other key depends but the name."""
        if isinstance(self.made, str):
            return self.made
        cfg = dataclasses.replace(self.made, seed=seed)
        return named_by_flops(cfg) if self.of_flops else cfg


def named_by_flops(cfg: Config) -> Config:
    """The run beside that of equal images, which the number of images alone does not tell apart:
    where the rate is constant it is no part of a run's identity, and a cost is looked up before it
    is known.
    """
    return dataclasses.replace(cfg, name=f"{run_name(cfg)}{OF_FLOPS}")


def runs(
    name: str, data: str = "digits", extra: Iterable[str] = (), build_encoders: bool = False
) -> list[RunSpec]:
    """All runs of a study, seeds outermost, so that every arm has one run before any has two.

    extra: `key=value` words given to every run; `size=...` and `seed=...` among them narrow the
    study to these. build_encoders: train or fetch those whose FLOPs `match: flops` needs. Raises
    ValueError when a word of `extra` is wrong or makes two arms one; an arm that cannot be run here
    gets a reason instead of an id.
    """
    study, extra = load(name, data), tuple(extra)
    given = values_of(extra)
    checked = [word for word in extra if not word.startswith(("method", "seed="))]
    if "seed" in given:
        checked.append(f"seed={max(asked_seeds(given['seed']))}")
    compose([f"data={data}", *checked])
    extra = tuple(word for word in extra if not word.startswith(("size=", "seed=")))
    costs, specs = Costs(build_encoders), []
    cells = list(itertools.product(study.chosen_sizes(given.get("size")), study.arms.items()))
    for size, (arm, own) in counted(f"reading the arms of {name}", cells, len(cells), every=OFTEN):
        of_size = (f"size={size}", *study.of_sizes.get(size, ())) if size else ()
        seeds = study.chosen_seeds(size, given.get("seed"))
        words = (f"data={data}", *study.overrides, *own, *of_size)
        for variant in _variants(study, (*words, *extra), seeds, costs):
            for seed in seeds:
                said = (*words, f"seed={seed}", *extra, *variant.words)
                specs.append(_spec(arm, said, variant, seed))
    specs.sort(key=lambda spec: int(values_of(spec.overrides)["seed"]))  # else as in the file
    _check_distinct(name, specs, extra)
    ids = {spec.id for spec in specs}
    return [
        dataclasses.replace(spec, earlier="") if spec.earlier in ids else spec for spec in specs
    ]


def _variants(
    study: Study, words: tuple[str, ...], seeds: Iterable[int], costs: Costs
) -> Iterator[_Variant]:
    """An arm at a size, composed once for all seeds: for equal images, for equal FLOPs, or one for
    both where it costs what vanilla costs.
    """
    plain = _possible(words)
    if isinstance(plain, str) or "flops" not in study.match:
        yield _Variant(plain, study.match)
        return
    # what a run of any seed has written down of its cost
    for seed in seeds:
        cfg = dataclasses.replace(plain, seed=seed)
        for folder in (run_id(cfg), run_id(named_by_flops(cfg))):
            costs.read(plain, Path(plain.runs) / folder)
    try:
        images = costs.images_at_equal_flops(plain)
    except ValueError as error:
        yield _Variant(str(error).splitlines()[0], study.match)
        return
    if images == plain.images and plain.encoder is None:
        yield _Variant(plain, study.match)
        return
    if "images" in study.match:
        yield _Variant(plain, ("images",))
    if images is None:
        yield _Variant(plain, ("flops",), of_flops=True, counted=False)
        return
    more = (f"images={images}",)
    yield _Variant(_possible((*words, *more)), ("flops",), more, of_flops=True)


def _possible(words: tuple[str, ...]) -> Config | str:
    """The configuration of these words for any seed, as no other key depends on it,
    or why there is no such run.
    """
    try:
        cfg = compose(words)
        problems = (never_ends(build(own.method), own) for own in part_configs(cfg).values())
        return next(filter(None, problems), cfg)
    except ValueError as error:
        return str(error)


def spec_of(arm: str, words: tuple[str, ...]) -> RunSpec:
    """The run of these words, seed= among them."""
    made = _possible(words)
    seed = int(values_of(words)["seed"])
    return _spec(arm, words, _Variant(made, ("images",)), seed)


def _spec(arm: str, words: tuple[str, ...], variant: _Variant, seed: int) -> RunSpec:
    made, matched = variant.at(seed), variant.matched
    if isinstance(made, str):
        return RunSpec(arm, tuple(last_of_each(words)), None, made, matched=matched)
    named = (f"name={made.name}",) if variant.of_flops else ()
    overrides = tuple(last_of_each((*words, *named)))
    return RunSpec(
        arm,
        overrides,
        run_id(made),
        cfg=made,
        earlier=earlier_id(made),
        matched=matched,
        counted=variant.counted,
    )


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


def run_ids(name: str, data: str = "digits", extra: Iterable[str] = ()) -> list[str]:
    """The run folders' names of a study, for reports."""
    return [spec.id for spec in runs(name, data, extra) if spec.id]
