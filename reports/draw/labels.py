"""Where labels stand in a chart: on no other label and no marker, and on lines only where nothing
else is free.

    for label, spot in zip(wanted, placed(wanted, markers, lines), strict=True): ...

Each label has places of its own, the best first. All are placed at once, each in turn where it is
least in the way of the others, until none moves any more. A label that may be left out is, where
every place of it would cover something.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Spot = tuple[float, float]  # in the picture, to the right and down
ROUNDS = 6  # of moving each label once
TOUCHING = 1e6  # costs two labels on each other
HIDING = 400.0  # costs a marker under a label
CROSSING = 1.0  # costs so much of a line under it:
STEP = 4.0
UNWRITTEN = 150.0  # costs a label that is not drawn


@dataclass(frozen=True)
class Box:
    """A rectangle of the picture; top is the smaller number."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether they have a place in common."""
        beside = self.left < other.right and other.left < self.right
        return beside and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Box) -> bool:
        """Whether all of it is inside the other."""
        beside = other.left <= self.left and self.right <= other.right
        return beside and other.top <= self.top and self.bottom <= other.bottom

    def covers(self, spots: Iterable[Spot]) -> int:
        """How many of the spots it holds."""
        return sum(self.left <= x <= self.right and self.top <= y <= self.bottom for x, y in spots)


@dataclass(frozen=True)
class Wanted:
    """A label so wide and so high: where the left end of its foot may stand, and what each place
    costs, 1 for as much as `STEP` of a line under it; whether it may be left out.
    """

    wide: float
    high: float
    places: Sequence[tuple[Spot, float]]
    may_go: bool = False

    def box(self, foot: Spot) -> Box:
        """What it covers there."""
        x, y = foot
        return Box(x - 2, y - 0.85 * self.high, x + self.wide + 2, y + 0.25 * self.high)


def placed(
    wanted: Sequence[Wanted],
    markers: Sequence[Box],
    lines: Iterable[Sequence[Spot]],
    inside: Box,
) -> list[Spot | None]:
    """The place of each label, None of one that is left out. markers: what no label should hide;
    lines: what none should cross; inside: which no label that may be left out leaves.
    """
    spots = list(itertools.chain.from_iterable(map(_along, lines)))
    # what a place costs whatever the others do
    costs: list[list[tuple[float, Spot | None, Box | None]]] = []
    for label in wanted:
        of_label: list[tuple[float, Spot | None, Box | None]] = []
        for foot, dear in label.places:
            box = label.box(foot)
            if label.may_go and not box.within(inside):
                continue
            cost = dear + CROSSING * box.covers(spots)
            cost += HIDING * sum(box.meets(marker) for marker in markers)
            of_label.append((cost, foot, box))
        if label.may_go:
            of_label.append((UNWRITTEN, None, None))
        costs.append(of_label)
    # each in turn, those first that have the fewest places
    chosen: list[tuple[float, Spot | None, Box | None]] = [(0.0, None, None)] * len(wanted)
    turns = sorted(range(len(wanted)), key=lambda i: (wanted[i].may_go, len(costs[i])))
    for _ in range(ROUNDS):
        before = list(chosen)
        for index in turns:
            others = [one for i, (*_, one) in enumerate(chosen) if i != index and one]

            def in_all(
                place: tuple[float, Spot | None, Box | None], others: Sequence[Box] = others
            ) -> float:
                own, _, box = place
                return own + (TOUCHING * sum(map(box.meets, others)) if box else 0.0)

            chosen[index] = min(costs[index], key=in_all)
        if chosen == before:
            break
    return [foot for _, foot, _ in chosen]


def _along(line: Sequence[Spot]) -> list[Spot]:
    """Places of a line, one every `STEP`."""
    found = []
    for (x, y), (next_x, next_y) in itertools.pairwise(line):
        n = math.ceil(math.hypot(next_x - x, next_y - y) / STEP)
        found += [(x + (next_x - x) * i / n, y + (next_y - y) * i / n) for i in range(n)]
    return found
