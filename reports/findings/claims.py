"""Published findings as data (claims.yaml): what each says, what it compares, and where it was
published. How to add one: docs/adding_a_claim.md.

    for claim in load_claims():
        print(claim.name, claim.sentence, claim.source)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.core.metrics import facts_of

CLAIMS_FILE = Path(__file__).with_name("claims.yaml")
ENCODER = "{encoder}"  # in a pattern: one encoder that all patterns of the claim find
STATISTIC_NAMES = (
    "difference",
    "over_training",
    "equal_flops",
    "speed_up",
    "next_size",
    "gap_trend",
    "level_trend",
    "worst",
)
WITHIN_A_RUN = ("difference", "over_training")  # what may be read before its end
MEASURES = ("distance", "linear_probe")  # and every number of the family `SHARES`, by its name
SHARES = "share"
ENCODER_ORDERS = ("", "encoder_linear_probe", "encoder_parameters", "encoder_structure")


@dataclass(frozen=True)
class Domain:
    """Where a claim was published: patterns with *; encoders (): it involves none; images: least
    and most, None open.
    """

    data: tuple[str, ...]
    sizes: tuple[str, ...]
    images: tuple[float | None, float | None]
    encoders: tuple[str, ...] = ()

    def outside(
        self, data: str, sizes: Iterable[str], encoders: Iterable[str], images: float
    ) -> str:
        """In what the runs leave the domain, in words; "" when they are inside."""
        reasons = []
        if not _any(data, self.data):
            reasons.append(f"data {data} (published: {', '.join(self.data)})")
        strange = [size for size in sizes if not _any(size, self.sizes)]
        if strange:
            reasons.append(f"size {', '.join(strange)} (published: {', '.join(self.sizes)})")
        foreign = [encoder for encoder in encoders if not _any(encoder, self.encoders)]
        if foreign:
            reasons.append(
                f"encoder {', '.join(foreign)} (published: {', '.join(self.encoders) or 'none'})"
            )
        least, most = self.images
        if (least is not None and images < least) or (most is not None and images > most):
            limits = (
                f"{'any' if least is None else f'{least:,.0f}'} to "
                f"{'any' if most is None else f'{most:,.0f}'}"
            )
            reasons.append(f"{images:,.0f} images (published: {limits})")
        return "; ".join(reasons)


@dataclass(frozen=True)
class Claim:
    """One finding; the fields are described at the head of claims.yaml."""

    name: str
    sentence: str
    source: str
    pages: tuple[str, ...]
    statistic: str
    measure: str
    left: tuple[str, ...]
    direction: str
    domain: Domain
    elsewhere: str
    right: tuple[str, ...] = ()
    order: str = ""
    blocks: tuple[float, float] = (0.0, 1.0)
    at: float = 1.0
    margin: float = 0.0
    modality: str = ""
    every: tuple[str, ...] = ()
    needs: Mapping[str, int] = field(default_factory=dict)
    control: str = ""
    wrong_encoders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        allowed = {
            "statistic": STATISTIC_NAMES,
            "measure": (*MEASURES, *(n for n in [self.measure] if facts_of(n).family == SHARES)),
            "direction": ("lower", "higher"),
            "order": ENCODER_ORDERS,
        }
        for key, choices in allowed.items():
            if getattr(self, key) not in choices:
                raise ValueError(
                    f"claim {self.name}: "
                    f"{key} is {getattr(self, key)!r}, not one of {', '.join(choices)}"
                )
        if (self.statistic == "level_trend") != bool(self.order) or (
            self.statistic != "level_trend"
        ) != bool(self.right):
            raise ValueError(
                f"claim {self.name}: "
                "a level_trend has `order` and no `right`, every other statistic `right`"
            )

        if self.margin and (self.statistic != "difference" or not 0 < self.margin < 1):
            raise ValueError(
                f"claim {self.name}: `margin`, a share between 0 and 1, belongs to a difference"
            )
        if self.every and (self.statistic != "difference" or self.margin):
            raise ValueError(
                f"claim {self.name}: `every`, data sets of which all are meant at once, belongs to "
                "a difference without a margin"
            )
        within = self.statistic in WITHIN_A_RUN and self.measure == "distance"
        if (self.at != 1 or self.statistic == "over_training") and not (within and 0 < self.at < 1):
            raise ValueError(
                f"claim {self.name}: `at`, a share of a run's images between 0 and 1, belongs to "
                f"{' and '.join(WITHIN_A_RUN)} of a distance"
            )

    @property
    def sign(self) -> int:
        """Sign of the statistic that the sentence says."""
        return 1 if self.direction == "higher" else -1

    @property
    def needs_levels(self) -> int:
        return self.needs.get("levels", 1)

    @property
    def needs_arms(self) -> int:
        return self.needs.get("arms", self.needs_levels)

    @property
    def published(self) -> bool:
        """Whether somebody found it somewhere, and not only this project asks."""
        return "*" not in self.domain.data

    @property
    def needs_sizes(self) -> int:
        return self.needs.get("sizes", 1)


@lru_cache(maxsize=1)
def judged_shares() -> frozenset[str]:
    """The shares of samples, by name, that a claim of the project's file is about."""
    measures = {claim.measure for claim in load_claims()}
    return frozenset(name for name in measures if facts_of(name).family == SHARES)


def match(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern stands for, in their own order; the case of letters is no matter."""
    return [name for name in names if _stands_for(pattern, name)]


@lru_cache(maxsize=4096)  # a verdict asks it a hundred times, of the same few arms
def _stands_for(pattern: str, name: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(match(pattern, [name]) for pattern in patterns)


def load_claims(path: Path = CLAIMS_FILE) -> list[Claim]:
    """All claims of a file.

    Raises ValueError for unknown or missing keys, with the claim's name.
    """
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    wrong = {"wrong_encoders": content.get("wrong_encoders", [])}
    found = [_claim(entry | wrong) for entry in content["claims"]]
    names = {claim.name for claim in found}
    for claim in found:
        if claim.control and claim.control not in names:
            raise ValueError(
                f"claim {claim.name}: its control is {claim.control!r}, which is no claim of the "
                f"file: {', '.join(sorted(names))}"
            )
    return found


def _claim(entry: Mapping[str, Any]) -> Claim:
    """A claim of YAML, whose lists become tuples."""
    name = entry.get("name", "without a name")
    try:
        values = {key: _tuple(value) for key, value in entry.items()}
        values["domain"] = Domain(**{key: _tuple(one) for key, one in entry["domain"].items()})
        return Claim(**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"claim {name}: {error}; see the head of claims.yaml") from None


def _tuple(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value
