"""Markers of the arms: sixteen shapes of about the same ink, each with or without a bar.

svg = draw_marker(style, x, y, "Self-Flow, 2.1")      # an ArmStyle of reports.draw.theme
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import escape

from reports.draw.colours import PAPER
from reports.draw.theme import ArmStyle

STROKES = ("cross", "plus", "asterisk")  # without an inside
WITH_BAR = 0.8  # of the size, so that both have the room of one


def marker(kind: str, x: float, y: float, size: float = 4.2) -> str:
    """A marker's path; all kinds have about the same ink."""
    s, w, h = size, size * 1.2, size * 1.3
    shapes = {
        "circle": f"m{-s:.1f} 0a{s} {s} 0 1 0 {2 * s} 0a{s} {s} 0 1 0 {-2 * s} 0Z",
        "square": f"m{-0.9 * s:.1f} {-0.9 * s:.1f}h{1.8 * s:.1f}v{1.8 * s:.1f}h{-1.8 * s:.1f}Z",
        "triangle": f"m0 {-w:.1f}l{w:.1f} {2 * s:.1f}h{-2 * w:.1f}Z",
        "down": f"m0 {w:.1f}l{w:.1f} {-2 * s:.1f}h{-2 * w:.1f}Z",
        "left": f"m{-w:.1f} 0l{2 * w:.1f} {-w:.1f}v{2 * w:.1f}Z",
        "right": f"m{w:.1f} 0l{-2 * w:.1f} {-w:.1f}v{2 * w:.1f}Z",
        "hourglass": f"m{-s:.1f} {-w:.1f}h{2 * s:.1f}l{-2 * s:.1f} {2 * w:.1f}h{2 * s:.1f}Z",
        "bowtie": f"m{-w:.1f} {-s:.1f}v{2 * s:.1f}l{2 * w:.1f} {-2 * s:.1f}v{2 * s:.1f}Z",
        "dome": f"m{-w:.1f} {0.6 * s:.1f}a{w:.1f} {w:.1f} 0 0 1 {2 * w:.1f} 0Z",
        "bowl": f"m{-w:.1f} {-0.6 * s:.1f}a{w:.1f} {w:.1f} 0 0 0 {2 * w:.1f} 0Z",
        "diamond": f"m0 {-h:.1f}l{w:.1f} {h:.1f}l{-w:.1f} {h:.1f}l{-w:.1f} {-h:.1f}Z",
        "cross": f"m{-s:.1f} {-s:.1f}l{2 * s} {2 * s}m0 {-2 * s}l{-2 * s} {2 * s}",
        "plus": f"m{-w:.1f} 0h{2 * w:.1f}m{-w:.1f} {-w:.1f}v{2 * w:.1f}",
        "asterisk": _spokes(1.15 * s),
        "star": _polygon([(1.45 * s, 0.62 * s)[i % 2] for i in range(10)]),
        "hexagon": _polygon([1.12 * s] * 6),
    }
    return f"M{x:.1f} {y:.1f}{shapes[kind]}"


def _polygon(radii: Sequence[float]) -> str:
    """A closed path around the current point, the first corner above it."""
    spots = [
        (r * math.sin(2 * math.pi * i / len(radii)), -r * math.cos(2 * math.pi * i / len(radii)))
        for i, r in enumerate(radii)
    ]
    steps = (
        f"l{x - before_x:.1f} {y - before_y:.1f}"
        for (before_x, before_y), (x, y) in itertools.pairwise(spots)
    )
    return f"m{spots[0][0]:.1f} {spots[0][1]:.1f}{''.join(steps)}Z"


def _spokes(radius: float) -> str:
    """Three lines through the current point, which is left where it was."""
    ends = [
        (radius * math.sin(turn), radius * math.cos(turn))
        for turn in (0, math.tau / 6, math.tau / 3)
    ]
    return "".join(f"m{-x:.1f} {-y:.1f}l{2 * x:.1f} {2 * y:.1f}m{-x:.1f} {-y:.1f}" for x, y in ends)


def _bars(where: str, size: float) -> str:
    """A short line above the current point, under it, or both."""
    away, half = 1.85 * size, 1.3 * size
    lines = {"under": (away,), "over": (-away,), "below and above": (-away, away)}
    return "".join(
        f"m{-half:.1f} {y:.1f}h{2 * half:.1f}m{-half:.1f} {-y:.1f}" for y in lines.get(where, ())
    )


def draw_marker(
    style: ArmStyle, x: float, y: float, tip: str, size: float = 4.2, related: bool = False
) -> str:
    """A marker with a tooltip; related: an open one, in a ring where it has no inside."""
    strokes = style.marker in STROKES
    size *= WITH_BAR if style.bar else 1.0
    names = f"stroke-{style.key}" + (
        " paper" if related else "" if strokes else f" fill-{style.key}"
    )
    colour = f'class="{names}" stroke="{style.colour}" stroke-width="1.6"'
    fill = PAPER if related else "none" if strokes else style.colour
    tip = f"<title>{escape(tip)}</title>" if tip else ""
    ring = marker("circle", x, y, size * 1.6) if related and strokes else ""
    bars = f"M{x:.1f} {y:.1f}{_bars(style.bar, size)}" if style.bar else ""
    path = f"{ring}{bars}{marker(style.marker, x, y, size)}"
    return f'<path d="{path}" {colour} fill="{fill}">{tip}</path>'
