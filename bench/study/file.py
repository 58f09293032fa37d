"""Reading bench/conf/study/*.yaml: what it may hold, and what is said of one that holds more.

description: One sentence
claims: [selfflow_faster]         # of reports/findings/claims.yaml, that it is for; [] for none
arms:                             # name -> KEY=VALUE words
  repa: [method=repa]
axes:                             # any keys: an arm for each combination of their values, here
  method.weight: [0.25, 0.5]      # "repa, method.weight=0.25" and "repa, method.weight=0.5";
                                  # without `arms` every combination is an arm of its own
match: images                     # every arm sees as many images; flops: as many as cost what
                                  # `images` cost vanilla; [images, flops]: both, see below
data:
  digits:                         # data=digits
    lasts: about five minutes on two cores      # for readers of the file; may be left out
    seeds: 3                      # 0, 1, 2; by size: {nano: 5, micro: 3}, every size of `sizes`
    sizes: [nano, micro]          # left out: the recipe's; or with words that a size's runs have,
                                  # {nano: [optimizer.lr=0.004], micro: []}: of its recipe alone,
                                  # so that an arm is the same arm at every size
    flops_per_second: 1.5e+14     # of a worker, if known: for hours before a run has finished
    overrides: [measure=full]     # words of every run; an arm's and a size's win over them
    arms: {}                      # further arms, or others in place of those above; `axes` and
                                  # `match` too

With `match: flops` each arm is trained to the end of its own schedule, on images x (FLOPs an image
of vanilla flow matching) / (its own, teacher and encoder included), less what the harness spent on
the encoder's training; rounded to a whole step. Such a run is named <name>-flops-<hash>, since the
number of images would not name it; an arm that costs what vanilla costs has one run
for both. An encoder's FLOPs are counted once it is at hand; a dry run shows its images as "?".
Who reads the study finds them in `RunSpec.matched`, of which a page's `PlannedRun` tells:

    [run.id for run in runs("mine") if "flops" in run.matched]       # cells of equal FLOPs
    read_study(folder, "mine", runs("mine")).rows_matched("flops")   # their rows
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeGuard

from bench.config.groups import options
from bench.config.schema import nearest
from bench.core.store.files import Json
from bench.study.arms import Arms, Sizes, arms_of, keys_of, matches_of, text, words_of_sizes
from reports.findings.claims import load_claims

KEYS = {"description", "claims", "arms", "axes", "match", "data"}
DATA_KEYS = {
    *("lasts", "overrides", "sizes", "seeds", "arms", "axes", "match"),
    "flops_per_second",
}
MATCHES = ("images", "flops")
FORBIDDEN_AXES = {
    "seed": "seeds: NUMBER",
    "size": "sizes: [NAME]",
    "data": "a key of its own under data:",
}
NOT_OF_SIZES = ("method", "encoder", "data", "size", "seed", "name")  # they say which run it is
FIRST_RATE_SEED = 1000  # from here on seeds are those of the search for learning rates


def read(path: Path) -> Json:
    """The checked content.

    Raises ValueError, one sentence that names file and key and says what to write instead.
    """
    try:
        content = _yaml(path)
        _check(content)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error.__cause__
    return content


def _yaml(path: Path) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Of two equal keys YAML's own takes the last, without a word."""

        def construct_mapping(
            self, node: yaml.MappingNode, deep: bool = False
        ) -> dict[Hashable, object]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    line = node.start_mark.line + 1
                    raise ValueError(
                        f"the key '{key}' stands twice in the mapping of line {line}: "
                        "leave one of them"
                    )
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise ValueError(
            f"is no YAML text{where}: mend it, or copy another study file and change that"
        ) from error


def _check(content: Json) -> None:
    if not isinstance(content, dict):
        found = "nothing" if content is None else "no mapping"
        raise ValueError(
            f"holds {found}: write the keys description, claims, arms and data, "
            "as the other studies do"
        )
    _known("", content, KEYS)
    _text("description", content)
    _claims(content)
    _arms("arms", content.get("arms", {}))
    _axes("axes", content.get("axes", {}))
    _match("match", content.get("match", "images"))
    scales = content.get("data")
    if not isinstance(scales, dict) or not scales:
        raise ValueError("data: names no data set: write data: {digits: {seeds: 3}}")
    for name, here in scales.items():
        at = f"data.{name}"
        if not isinstance(here, dict):
            raise ValueError(f"{at} is {here!r}: write {at}: {{seeds: 3}}")
        _known(f"{at}.", here, DATA_KEYS)
        if "lasts" in here:
            _text("lasts", here, f"{at}.")
        _rate(at, here.get("flops_per_second", 1.0))
        _words(f"{at}.overrides", here.get("overrides", []))
        _sizes(f"{at}.sizes", here.get("sizes", []))
        _seeds(f"{at}.seeds", here.get("seeds"), here.get("sizes", []))
        _arms(f"{at}.arms", here.get("arms", {}))
        _axes(f"{at}.axes", here.get("axes", {}))
        _match(f"{at}.match", here.get("match", "images"))
        if not any(node.get(key) for node in (content, here) for key in ("arms", "axes")):
            raise ValueError(
                f"{at} has no arms: write arms: {{vanilla: [method=vanilla]}} there or at the top"
            )
        arms = arms_of(content, here)
        _sizes_and_arms(f"{at}.sizes", here.get("sizes", []), arms)
        if "flops" in matches_of(content, here):
            _own_images(at, arms)


def _known(prefix: str, node: Json, known: set[str]) -> None:
    for key in node:
        if key not in known:
            raise ValueError(
                f"unknown key '{prefix}{key}'{nearest(str(key), known)} "
                f"(choices: {', '.join(sorted(known))})"
            )


def _text(key: str, node: Json, prefix: str = "") -> None:
    if not isinstance(node.get(key), str) or not node[key].strip():
        said = f"is {node[key]!r}" if key in node else "is missing"
        raise ValueError(f"{prefix}{key} {said}: write a few words, {key}: WORDS")


def _claims(content: Json) -> None:
    named = content.get("claims")
    if not _texts(named):
        said = f"is {named!r}" if "claims" in content else "is missing"
        raise ValueError(
            f"claims {said}: write a list of names of reports/findings/claims.yaml, "
            "claims: [] for none"
        )
    known = [claim.name for claim in load_claims()]
    for claim in named:
        if claim not in known:
            raise ValueError(
                f"claims names {claim}, "
                f"which reports/findings/claims.yaml has not{nearest(claim, known)}"
            )
        if named.count(claim) > 1:
            raise ValueError(f"claims names {claim} twice: leave one of them")


def _sizes(key: str, sizes: object) -> None:
    names = list(sizes) if isinstance(sizes, dict) else sizes
    if not _texts(names):
        raise ValueError(
            f"{key} is {sizes!r}: write a list, sizes: [nano], "
            "or words by size, sizes: {nano: [optimizer.lr=0.004]}"
        )
    for size in names:
        if size not in options("size"):
            choices = ", ".join(options("size"))
            raise ValueError(
                f"{key} names {size}, "
                f"which is unknown{nearest(size, options('size'))} (choices: {choices})"
            )
        if names.count(size) > 1:
            raise ValueError(f"{key} names {size} twice: leave one of them")
    for size, words in sizes.items() if isinstance(sizes, dict) else ():
        _words(f"{key}.{size}", words, "[optimizer.lr=0.004], or [] for the recipe's")
        for word, own in zip(words, keys_of(words), strict=True):
            if own.split(".")[0] in NOT_OF_SIZES:
                raise ValueError(
                    f"{key}.{size} has {word}, which makes another arm or run: a size may change "
                    "its recipe alone, such as optimizer.lr or images"
                )


def _sizes_and_arms(key: str, sizes: Sizes, arms: Arms) -> None:
    """A key is a size's or an arm's: which of the two wins is nothing that a reader could see."""
    for size, words in words_of_sizes(sizes).items():
        own = set(keys_of(words))
        for arm, theirs in arms.items():
            for both in keys_of(theirs):
                if both in own:
                    raise ValueError(
                        f"{key}.{size} sets {both}, and so does the arm {arm}: leave it to one of "
                        "them"
                    )


def _seeds(key: str, seeds: object, sizes: Sizes) -> None:
    if not isinstance(seeds, dict):
        _seeds_count(key, seeds, "write how many, a whole number of at least 1, seeds: 3")
        return
    for size in seeds:
        if size not in sizes:
            listed = f"not among {', '.join(sizes)}" if sizes else "and there are no sizes"
            raise ValueError(
                f"{key} names {size}, {listed}: leave it out, or add it to sizes"
                f"{nearest(str(size), sizes)}"
            )
    for size in sizes:
        _seeds_count(f"{key}.{size}", seeds.get(size), "write how many for every size, {nano: 5}")


def _seeds_count(key: str, seeds: object, remedy: str) -> None:
    if type(seeds) is not int or seeds < 1:
        said = "is missing" if seeds is None else f"is {seeds!r}"
        raise ValueError(f"{key} {said}: {remedy}")
    if seeds > FIRST_RATE_SEED:
        raise ValueError(
            f"{key} is {seeds}: at most {FIRST_RATE_SEED}, as seeds from {FIRST_RATE_SEED} on are "
            "those of the search for learning rates"
        )


def _match(key: str, match: object) -> None:
    named = [match] if isinstance(match, str) else match
    if not _texts(named) or not named or not set(named) <= set(MATCHES):
        raise ValueError(
            f"{key} is {match!r}: write match: images, match: flops, or both, "
            "match: [images, flops]"
        )
    if len(set(named)) < len(named):
        raise ValueError(f"{key} names {named[0]} twice: leave one of them")


def _own_images(at: str, arms: Arms) -> None:
    for arm, words in arms.items():
        if "images" in keys_of(words):
            raise ValueError(
                f"{at}: the arm {arm} sets images, and match: flops gives each arm its own: leave "
                "images out of the arm, or write match: images"
            )


def _rate(at: str, rate: object) -> None:
    if not isinstance(rate, float) or not 0 < rate < float("inf"):
        raise ValueError(
            f"{at}.flops_per_second is {rate!r}: write a number above 0 as YAML reads one, "
            "flops_per_second: 1.5e+14"
        )


def _arms(key: str, arms: object) -> None:
    if not isinstance(arms, dict):
        raise ValueError(f"{key} is {arms!r}: write arms: {{NAME: [method=vanilla]}}")
    for arm, words in arms.items():
        if not isinstance(arm, str):
            raise ValueError(
                f"{key} has an arm named {arm!r}: write its name as text, in quotes where need be"
            )
        _words(f"{key}.{arm}", words)


def _words(key: str, words: object, remedy: str = "[method=vanilla]") -> None:
    if not _texts(words) or not all("=" in word for word in words):
        raise ValueError(f"{key} is {words!r}: write a list of KEY=VALUE words, {remedy}")
    keys = keys_of(words)
    for one in keys:
        if keys.count(one) > 1:
            raise ValueError(f"{key} sets {one} twice: leave one of them")


def _axes(key: str, axes: object) -> None:
    if not isinstance(axes, dict) or not all(isinstance(axis, str) for axis in axes):
        raise ValueError(f"{key} is {axes!r}: write axes: {{method.weight: [0.25, 0.5]}}")
    for axis, values in axes.items():
        if axis in FORBIDDEN_AXES:
            raise ValueError(f"{key}.{axis}: {axis} is no axis here: write {FORBIDDEN_AXES[axis]}")
        if (
            not isinstance(values, list)
            or not values
            or any(isinstance(v, dict | list | type(None)) for v in values)
        ):
            raise ValueError(f"{key}.{axis} is {values!r}: write a list of values, {axis}: [A, B]")
        if len({text(value) for value in values}) < len(values):
            raise ValueError(f"{key}.{axis} has a value twice: leave one of them")


def _texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
