"""How an arm looks in every figure of a page: colour, marker and dash, chosen once from the list of
arms.

Colours are Okabe and Ito's set for colour-blind readers (yellow left out, too pale on white); the
marker and the dash tell arms apart without colour, on paper and where a list of arms is longer than
the list of colours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

INK = "#1c2024"
PAPER = "#ffffff"
MUTED = "#5f6b76"
GRID = "#dfe3e8"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("circle", "square", "triangle", "diamond", "down", "cross", "plus")
DASHES = ("", "6 3", "2 2", "8 3 2 3")


@dataclass(frozen=True)
class ArmStyle:
    """key: class name in SVG and HTML, safe whatever the arm is called; dash: SVG's
    stroke-dasharray, "" is solid.
    """

    key: str
    arm: str
    colour: str
    marker: str
    dash: str


def arm_styles(arms: Iterable[str]) -> list[ArmStyle]:
    """The looks of arms in the order of the legend.

    Vanilla, the line that everything is compared with, is drawn in ink; the others take the colours
    in turn.
    """
    styles: list[ArmStyle] = []
    taken = 0
    for index, arm in enumerate(arms):
        if arm == "vanilla":
            styles.append(ArmStyle(f"a{index}", arm, INK, "circle", "5 3"))
            continue
        # six colours and seven markers in step: 42 arms before a pair comes again
        colour, marker = COLOURS[taken % len(COLOURS)], MARKERS[(taken + 1) % len(MARKERS)]
        dash = DASHES[taken // len(COLOURS) % len(DASHES)]
        styles.append(ArmStyle(f"a{index}", arm, colour, marker, dash))
        taken += 1
    return styles
